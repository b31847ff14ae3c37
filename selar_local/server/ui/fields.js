// A control for an option, made from its description by the server. A value that is the default is no value: undefined.

import { make } from "./dom.js";

const TEXTS_NOTE = "; one a line, \\n for a new line";

/** The words for a value, as the command line has them. */
export function shown(value) {
  if (value === null || value === undefined || (Array.isArray(value) && !value.length)) return "none";
  if (typeof value === "boolean") return value ? "on" : "off";
  return Array.isArray(value) ? value.map((text) => JSON.stringify(text)).join(", ") : String(value);
}

/** A row for an option {name, type, help, choices, default}. changed(value): undefined where it is the default. */
export function field(option, value, changed) {
  const id = `option-${option.name}`;
  const meaning = option.help + (option.type === "texts" ? TEXTS_NOTE : "");
  const help = make("p", { class: "small", id: `${id}-help` }, meaning);
  const error = make("p", { class: "small error", id: `${id}-error`, hidden: true });
  const control = controlOf(option, value, (found, problem) => {
    error.textContent = problem ?? "";
    error.hidden = !problem;
    if (problem) control.setAttribute("aria-invalid", "true");
    else control.removeAttribute("aria-invalid");
    row.classList.toggle("changed", !problem && found !== undefined);
    if (!problem) changed(found);
  });
  control.id = id;
  control.setAttribute("aria-describedby", `${id}-help ${id}-error`);
  const label = make("label", { htmlFor: id }, option.label ?? option.name.replaceAll("_", " "));
  const row = make("div", { class: `field ${option.type === "texts" ? "wide" : ""}` }, label, control, help, error);
  row.classList.toggle("changed", value !== undefined);
  row.dataset.option = option.name;
  return row;
}

function controlOf(option, value, tell) {
  if (option.type === "boolean") return checkbox(option, value, tell);
  if (option.type === "choice") return choice(option, value, tell);
  return typed(option, value, tell);
}

const unless = (value, usual) => (value === usual ? undefined : value);

function checkbox(option, value, tell) {
  const control = make("input", { type: "checkbox", checked: value ?? option.default });
  control.addEventListener("change", () => tell(unless(control.checked, option.default)));
  return control;
}

/** An item of a list to choose from. */
export const choiceItem = (name, usual) => make("option", { value: name }, name === usual ? `${name} (default)` : name);

function choice(option, value, tell) {
  const items = option.choices.map((name) => choiceItem(name, option.default));
  const control = make("select", {}, ...items);
  control.value = value ?? option.default;
  control.addEventListener("change", () => tell(unless(control.value, option.default)));
  return control;
}

function typed(option, value, tell) {
  const list = option.type === "texts";
  const numeric = option.type === "integer" || option.type === "float";
  const control = list
    ? make("textarea", { rows: 2 })
    : make("input", { type: "text", inputMode: numeric ? "decimal" : "text", autocomplete: "off", spellcheck: false });
  control.placeholder = shown(option.default);
  if (value !== undefined) control.value = list ? value.map(escaped).join("\n") : String(value);
  control.addEventListener("input", () => {
    const [found, problem] = read(option.type, control.value);
    tell(unless(found, option.default), problem);
  });
  return control;
}

const escaped = (text) => text.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
const plain = (text) => text.replace(/\\([n\\])/g, (_, sign) => (sign === "n" ? "\n" : "\\"));

/** [value] or [undefined, problem]. */
function read(type, text) {
  if (type === "texts") {
    const lines = text.split("\n").filter((line) => line !== "").map(plain);
    return [lines.length ? lines : undefined];
  }
  const trimmed = text.trim();
  if (trimmed === "") return [undefined];
  if (type === "text") return [trimmed];
  const number = Number(trimmed.replace(",", "."));
  if (type === "number|text") return [Number.isFinite(number) ? number : trimmed];
  if (!Number.isFinite(number)) return [undefined, "This is not a number."];
  if (type === "integer" && !Number.isSafeInteger(number)) return [undefined, "This is not a whole number."];
  return [number];
}
