// What the next message is asked with: the panel, and the part of the request that comes from it.
//
// Only what differs from the server's defaults is kept and sent, so that those of another server are its own.

import { apiKey } from "./api.js";
import { make } from "./dom.js";
import { choiceItem, field, shown } from "./fields.js";
import { lasting } from "./memory.js";

const KEY = "settings";
const NONE = {
  method: null, options: {}, plain: {}, thinking: null, system: "", marks: true, formulas: true, candidates: 3,
};
const MOST_CANDIDATES = 10;
const IN_SELAR = new Set(["greedy"]); // what the request has in its selar object

export class Settings extends EventTarget {
  #panel;
  #offer = null;
  #kept;
  #showPreset = () => {};

  constructor(panel) {
    super();
    this.#panel = panel;
    this.#kept = sound(lasting.get(KEY, {}));
  }

  get system() {
    return this.#kept.system.trim();
  }

  get marks() {
    return this.#kept.marks;
  }

  get formulas() {
    return this.#kept.formulas;
  }

  /** The method's description, as far as the server has sent it. */
  get method() {
    const name = this.#kept.method ?? this.#offer?.method;
    const known = this.#offer?.methods.find((method) => method.name === name);
    return known ?? { name: name ?? "", entropy_unit: "normalised" };
  }

  /** Method and what was changed, for the statistics of an answer. */
  get label() {
    const changed = { ...this.#options, ...this.#kept.plain };
    delete changed.seed; // the answer has it
    return [this.method.name, ...Object.entries(changed).map(([name, value]) => `${name} ${shown(value)}`)].join(", ");
  }

  get #options() {
    return this.#kept.options[this.method.name] ?? {};
  }

  /** Fields of the request's body. */
  request() {
    const plain = Object.entries(this.#kept.plain);
    const own = plain.filter(([name]) => IN_SELAR.has(name));
    const selar = { ...this.#options, ...Object.fromEntries(own), events: true };
    if (this.#kept.method !== null) selar.method = this.#kept.method;
    if (this.#kept.thinking !== null) selar.thinking = this.#kept.thinking;
    const body = { ...Object.fromEntries(plain.filter(([name]) => !IN_SELAR.has(name))), selar };
    if (this.#kept.candidates) Object.assign(body, { logprobs: true, top_logprobs: this.#kept.candidates });
    return body;
  }

  /** What the server offers; what it does not know is dropped. */
  setOffer(offer) {
    this.#offer = offer;
    if (!offer.methods.some((method) => method.name === this.#kept.method)) this.#kept.method = null;
    for (const method of offer.methods) {
      const known = new Set(method.options.map((option) => option.name));
      const options = Object.entries(this.#kept.options[method.name] ?? {});
      this.#kept.options[method.name] = Object.fromEntries(options.filter(([name]) => known.has(name)));
    }
    this.draw();
  }

  /** Mark the option that the server has refused; whether there is one. */
  point(param, message) {
    const name = param?.split(".").at(-1);
    const row = name && this.#panel.querySelector(`[data-option="${CSS.escape(name)}"]`);
    if (!row) return false;
    const error = row.querySelector(".error");
    error.textContent = message;
    error.hidden = false;
    row.querySelector("input, select, textarea").setAttribute("aria-invalid", "true");
    return true;
  }

  draw() {
    const focused = document.activeElement?.id;
    const inside = this.#panel.contains(document.activeElement);
    const groups = [...this.#panel.querySelectorAll("details")];
    const open = new Map(groups.map((details) => [details.firstChild.textContent, details.open]));
    this.#panel.replaceChildren(
      make("div", { class: "row" }, make("h2", {}, "Settings"),
        make("button", { type: "button", id: "close-settings" }, "Close")),
      make("p", { class: "small" }, "They hold from the next message on. Empty fields are the server's defaults."),
      ...this.#groups(this.#offer),
      this.#conversation(), this.#page(), this.#buttons(),
    );
    for (const details of this.#panel.querySelectorAll("details")) {
      details.open = open.get(details.firstChild.textContent) ?? details.open;
    }
    if (inside && focused) document.getElementById(focused)?.focus();
  }

  #groups(offer) {
    if (!offer) return [make("p", { class: "note" }, "The server has not sent its options yet.")];
    const method = this.method;
    const items = offer.methods.map(({ name }) => choiceItem(name, offer.method));
    const select = make("select", { id: "method", "aria-describedby": "method-help" }, ...items);
    select.value = method.name;
    select.addEventListener("change", () => {
      this.#kept.method = select.value === offer.method ? null : select.value;
      this.#keep();
      this.draw();
    });
    const chosen = make("div", { class: "field" }, make("label", { htmlFor: "method" }, "method"), select,
      make("p", { class: "small", id: "method-help" }, method.summary));
    const usual = ({ name, default: own }) => own ?? method.sampling[name] ?? null;
    const plain = (option) => this.#plain({ ...option, default: usual(option) });
    const groups = [group("Method", true, ...this.#presets(offer), chosen)];
    const own = method.options.map((option) => this.#option(option));
    if (own.length) groups.push(group(`Options of ${method.name}`, true, ...own));
    groups.push(group("Sampling and length", false, ...offer.sampling.map(plain), ...offer.generation.map(plain)));
    return groups;
  }

  /** Method and options at once. */
  #presets({ presets, method: usual }) {
    const own = make("option", { value: "", hidden: true, disabled: true }, "your own options");
    const select = make("select", { id: "preset", "aria-describedby": "preset-help" },
      own, ...presets.map(({ name }) => make("option", { value: name }, name)));
    const help = make("p", { class: "small", id: "preset-help" });
    this.#showPreset = () => {
      const now = presets.find((one) => one.method === this.method.name && same(one.options, this.#options));
      select.value = now?.name ?? "";
      help.textContent = now?.help ?? "a method and its options at once";
    };
    this.#showPreset();
    select.addEventListener("change", () => {
      const { method, options } = presets.find(({ name }) => name === select.value);
      this.#kept.method = method === usual ? null : method;
      this.#kept.options[method] = { ...options };
      this.#keep();
      this.draw();
    });
    return [make("div", { class: "field" }, make("label", { htmlFor: "preset" }, "preset"), select, help)];
  }

  #option(option) {
    const name = this.method.name;
    return field(option, this.#options[option.name], (value) => {
      this.#kept.options[name] = changed(this.#options, option.name, value);
      this.#keep();
    });
  }

  #plain(option) {
    return field(option, this.#kept.plain[option.name], (value) => {
      this.#kept.plain = changed(this.#kept.plain, option.name, value);
      this.#keep();
    });
  }

  #conversation() {
    const system = make("textarea", { id: "system", rows: 3, placeholder: "none" });
    system.value = this.#kept.system;
    system.addEventListener("input", () => { this.#kept.system = system.value; this.#keep(); });
    const usual = this.#offer?.thinking;
    const byDefault = usual === null || usual === undefined ? "as the model does" : shown(usual);
    const items = [["null", `default (${byDefault})`], ["true", "on"], ["false", "off"]];
    const thinking = make("select", { id: "thinking", "aria-describedby": "thinking-help" },
      ...items.map(([value, text]) => make("option", { value }, text)));
    thinking.value = String(this.#kept.thinking);
    thinking.addEventListener("change", () => { this.#kept.thinking = JSON.parse(thinking.value); this.#keep(); });
    return group("Conversation", true,
      make("div", { class: "field wide" }, make("label", { htmlFor: "system" }, "system prompt"), system),
      make("div", { class: "field" }, make("label", { htmlFor: "thinking" }, "thinking"), thinking,
        make("p", { class: "small", id: "thinking-help" }, "ask the chat template for it, where it knows the switch")));
  }

  #page() {
    const onOff = (name, help) => field({ name, type: "boolean", default: true, help },
      this.#kept[name] ? undefined : false, (value) => {
        this.#kept[name] = value ?? true;
        this.#keep();
      });
    const candidates = {
      name: "candidates", type: "choice", default: "3", choices: [...Array(MOST_CANDIDATES + 1).keys()].map(String),
      help: "of the model's most probable tokens, shown for the token you look at",
    };
    const kept = this.#kept.candidates === NONE.candidates ? undefined : String(this.#kept.candidates);
    return group("This page", true,
      onOff("marks", "shade tokens by entropy, underline exploration steps"),
      onOff("formulas", "typeset formulas; a click on one shows its tokens"),
      field(candidates, kept, (value) => {
        this.#kept.candidates = Number(value ?? NONE.candidates);
        this.#keep();
      }));
  }

  #buttons() {
    const reset = make("button", { type: "button", id: "reset" }, "Back to the defaults");
    reset.addEventListener("click", () => { this.#kept = sound({}); this.#keep(); this.draw(); });
    const forget = make("button", { type: "button", id: "forget-key", hidden: !apiKey.get() }, "Forget the API key");
    forget.addEventListener("click", () => { apiKey.set(""); this.draw(); });
    return make("div", { class: "row" }, reset, forget);
  }

  #keep() {
    lasting.set(KEY, this.#kept);
    this.#showPreset();
    this.dispatchEvent(new Event("change"));
  }
}

function group(title, open, ...rows) {
  return make("details", { class: "group", open }, make("summary", {}, title), ...rows);
}

/** The object with the name's value, or without it. */
function changed(values, name, value) {
  const { [name]: _, ...rest } = values;
  return value === undefined ? rest : { ...rest, [name]: value };
}

/** Whether two objects have the same names and values. */
function same(one, other) {
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => one[name] === other[name]);
}

/** What was stored, as far as it is of use. */
function sound(stored) {
  const kept = structuredClone(NONE);
  const object = (value) => value !== null && typeof value === "object" && !Array.isArray(value);
  if (!object(stored)) return kept;
  for (const name of ["options", "plain"]) if (object(stored[name])) kept[name] = stored[name];
  for (const name of ["system", "method"]) if (typeof stored[name] === "string") kept[name] = stored[name];
  for (const name of ["thinking", "marks", "formulas"]) if (typeof stored[name] === "boolean") kept[name] = stored[name];
  const { candidates } = stored;
  if (Number.isInteger(candidates) && candidates >= 0) kept.candidates = Math.min(MOST_CANDIDATES, candidates);
  return kept;
}
