// What a step was: shown for the token under the pointer, or reached by the arrow keys. The same for whole formulas.

import { make } from "./dom.js";
import { visible } from "./marks.js";

const MARGIN = 8;

export class Inspector {
  #tip;
  #shown = null; // the token, or the typeset formula, that the tip is about
  #formula = null; // the one that shows its tokens, since one of them is looked at
  #root;

  /** root: holds the texts; tip: what is shown beside a token. */
  constructor(root, tip) {
    this.#root = root;
    this.#tip = tip;
    root.addEventListener("pointerover", (event) => this.#over(event));
    root.addEventListener("pointerleave", () => this.#leave());
    root.addEventListener("focusin", (event) => { if (tokenAt(event.target)) this.#show(event.target); });
    root.addEventListener("focusout", (event) => this.#blurred(event.relatedTarget));
    root.addEventListener("keydown", (event) => this.#key(event));
    root.addEventListener("click", (event) => this.#click(event));
    root.addEventListener("scroll", () => { if (this.#shown) this.#place(); }, { passive: true });
  }

  get open() {
    return this.#shown !== null;
  }

  /** Close it; the focus goes back from the token to its text. */
  close() {
    const shown = this.#shown;
    this.hide();
    if (shown === document.activeElement) shown.closest(".text").focus();
    this.#closeFormula();
  }

  hide() {
    this.#shown?.classList.remove("looked-at");
    this.#shown?.removeAttribute("aria-describedby");
    this.#shown = null;
    this.#tip.hidden = true;
  }

  #over(event) {
    const place = tokenAt(event.target) ?? formulaAt(event.target);
    if (place) this.#show(place);
    else this.#leave();
  }

  #leave() {
    const focused = tokenAt(document.activeElement);
    if (focused) this.#show(focused);
    else this.hide();
  }

  /** The formula stays open while the focus is in its text, and while another window has it. */
  #blurred(next) {
    this.hide();
    const stays = next ? this.#formula?.closest(".text").contains(next) : !document.hasFocus();
    if (!stays) this.#closeFormula();
  }

  #click(event) {
    if (!document.getSelection().isCollapsed) return;
    const typeset = formulaAt(event.target);
    const token = typeset ? firstOf(typeset.parentElement) : tokenAt(event.target);
    if (token) this.#focusOn(token);
  }

  #key(event) {
    const text = event.target.closest?.(".text");
    if (!text || event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "BUTTON") return;
    const found = target(text, tokenAt(event.target), event.key);
    if (found === undefined) return;
    event.preventDefault();
    if (found) this.#focusOn(found);
  }

  /** A token of a formula can have the focus only while the formula shows its tokens. */
  #focusOn(token) {
    const formula = token.closest(".formula");
    if (formula !== this.#formula) {
      this.#closeFormula();
      this.#formula = formula;
      formula?.classList.add("open");
    }
    token.tabIndex = -1;
    token.focus({ preventScroll: true });
    token.scrollIntoView({ block: "nearest" });
  }

  #closeFormula() {
    this.#formula?.classList.remove("open");
    this.#formula = null;
  }

  #show(place) {
    if (place === this.#shown) return;
    this.hide();
    this.#shown = place;
    place.classList.add("looked-at");
    place.setAttribute("aria-describedby", this.#tip.id);
    this.#tip.replaceChildren(...(place.unit ? aboutUnit(place.unit) : aboutFormula(tokensOf(place.parentElement))));
    this.#tip.hidden = false;
    this.#place();
  }

  /** Below the token where there is room, else above it; within the window. */
  #place() {
    const at = this.#shown.getClientRects()[0];
    if (!at) return;
    const { offsetWidth: width, offsetHeight: height } = this.#tip;
    const left = Math.max(MARGIN, Math.min(at.left, window.innerWidth - width - MARGIN));
    const below = at.bottom + MARGIN;
    const top = below + height <= window.innerHeight ? below : Math.max(MARGIN, at.top - height - MARGIN);
    this.#tip.style.left = `${left}px`;
    this.#tip.style.top = `${top}px`;
  }
}

const tokenAt = (node) => node?.closest?.(".t") ?? null;
const formulaAt = (node) => node?.closest?.(".typeset") ?? null;
const tokensOf = (formula) => [...formula.querySelectorAll(".source .t")];

/** The token of a formula to begin with: the first one that explored. */
function firstOf(formula) {
  const tokens = tokensOf(formula);
  return tokens.find((token) => token.classList.contains("x")) ?? tokens[0];
}

/** Where a key leads: a token, null where there is none, undefined where the key is not ours. */
function target(text, current, key) {
  if (!["ArrowRight", "ArrowLeft", "ArrowUp", "ArrowDown", "Home", "End"].includes(key)) return undefined;
  if (!current && (key === "ArrowUp" || key === "Home" || key === "End")) return undefined; // these scroll
  const tokens = [...text.querySelectorAll(".t:not(.more)")];
  const own = current?.classList.contains("more") ? tokens.find((token) => token.unit === current.unit) : current;
  const at = tokens.indexOf(own);
  switch (key) {
    case "ArrowRight": return tokens[at + 1] ?? null;
    case "ArrowLeft": return tokens[at < 0 ? tokens.length - 1 : at - 1] ?? null;
    case "ArrowDown": return tokens.slice(at + 1).find((token) => token.classList.contains("x")) ?? null;
    case "ArrowUp": return tokens.slice(0, at).findLast((token) => token.classList.contains("x")) ?? null;
    case "Home": return tokens[0] ?? null;
    default: return tokens.at(-1) ?? null;
  }
}

/** The tip for a unit. */
function aboutUnit(unit) {
  const parts = [make("p", { class: "tip-token" }, visible(unit.t))];
  if (!unit.s.length) parts.push(make("p", {}, "text of the step before"));
  for (const step of unit.s) parts.push(...aboutStep(step, unit.s.length > 1));
  parts.push(make("p", { class: "small" }, "← → token, ↑ ↓ exploration step"));
  return parts;
}

/** The tip for a typeset formula: its text with the marks of its tokens, and what can be said of all of them. */
function aboutFormula(tokens) {
  const copies = tokens.map((token) => token.cloneNode(true));
  const steps = [...new Set(tokens.map((token) => token.unit))].flatMap((unit) => unit.s);
  const explored = steps.filter((step) => step.x).length;
  const facts = [counted(steps.length, "token"), counted(explored, "exploration step")];
  const entropies = steps.map((step) => step.e ?? step.h).filter((entropy) => entropy !== undefined);
  if (entropies.length) facts.push(`highest entropy ${Math.max(...entropies).toFixed(3)}`);
  return [
    make("p", { class: "tip-formula" }, ...copies),
    make("p", {}, facts.join(" · ")),
    make("p", { class: "small" }, "a click shows its tokens"),
  ];
}

const counted = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

function aboutStep(step, several) {
  const kind = step.x
    ? "exploration step: the model is fed a mix instead of it"
    : "certain step: the model is fed this token";
  const parts = [make("p", { class: step.x ? "tip-kind x" : "tip-kind" }, kind)];
  const facts = [entropyOf(step)];
  if (step.m) facts.push(`mode ${step.m}`);
  if (step.p !== undefined) facts.push(`probability ${step.p.toFixed(3)}`);
  parts.push(make("p", {}, facts.join(" · ")));
  if (step.c) parts.push(make("p", {}, `It stayed a certain step because of: ${step.c}.`));
  if (step.f && !several) parts.push(make("p", {}, `fed: ${step.f.map(fedRow).join(" · ")}`));
  if (step.a?.length && !several) parts.push(candidates(step.a));
  return parts;
}

const fedRow = ([text, weight]) => `${visible(text) || "(no text)"} ${weight.toFixed(2).replace("-", "−")}`;

function entropyOf({ e, h }) {
  if (e !== null) return `entropy ${e.toFixed(3)}`;
  return h === undefined ? "no entropy" : `entropy ${h.toFixed(3)} of the candidates (the method uses none)`;
}

function candidates(list) {
  const rows = list.map(([text, probability]) => {
    const bar = make("span", { class: "bar" });
    bar.style.inlineSize = `${(6 * probability).toFixed(2)}em`;
    const word = make("span", { class: "tip-word" }, visible(text) || "(no text)");
    return make("li", {}, word, bar, probability.toFixed(3));
  });
  return make("ul", { class: "candidates", "aria-label": "the model's most probable tokens" }, ...rows);
}
