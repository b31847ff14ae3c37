// What a step was: told for the token under the pointer, or reached by the arrow keys.

import { make } from "./dom.js";

const MARGIN = 8;

export class Inspector {
  #tip;
  #token = null;
  #root;

  /** root: holds the texts; tip: what is shown beside a token. */
  constructor(root, tip) {
    this.#root = root;
    this.#tip = tip;
    root.addEventListener("pointerover", (event) => this.#over(event));
    root.addEventListener("pointerleave", () => this.#leave());
    root.addEventListener("focusin", (event) => { if (tokenAt(event.target)) this.#show(event.target); });
    root.addEventListener("focusout", () => this.hide());
    root.addEventListener("keydown", (event) => this.#key(event));
    root.addEventListener("click", (event) => this.#click(event));
    root.addEventListener("scroll", () => { if (this.#token) this.#place(); }, { passive: true });
  }

  get open() {
    return this.#token !== null;
  }

  /** Close it; the focus goes back from the token to its text. */
  close() {
    const token = this.#token;
    this.hide();
    if (token === document.activeElement) token.closest(".text").focus();
  }

  hide() {
    this.#token?.classList.remove("looked-at");
    this.#token?.removeAttribute("aria-describedby");
    this.#token = null;
    this.#tip.hidden = true;
  }

  #over(event) {
    const token = tokenAt(event.target);
    if (token) this.#show(token);
    else this.#leave();
  }

  #leave() {
    const focused = tokenAt(document.activeElement);
    if (focused) this.#show(focused);
    else this.hide();
  }

  #click(event) {
    const token = tokenAt(event.target);
    if (token && document.getSelection().isCollapsed) focusOn(token);
  }

  #key(event) {
    const text = event.target.closest?.(".text");
    if (!text || event.ctrlKey || event.metaKey || event.altKey || event.target.tagName === "BUTTON") return;
    const found = target(text, tokenAt(event.target), event.key);
    if (found === undefined) return;
    event.preventDefault();
    if (found) focusOn(found);
  }

  #show(token) {
    if (token === this.#token) return;
    this.hide();
    this.#token = token;
    token.classList.add("looked-at");
    token.setAttribute("aria-describedby", this.#tip.id);
    this.#tip.replaceChildren(...told(token.unit));
    this.#tip.hidden = false;
    this.#place();
  }

  /** Below the token where there is room, else above it; within the window. */
  #place() {
    const at = this.#token.getClientRects()[0];
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

function focusOn(token) {
  token.tabIndex = -1;
  token.focus({ preventScroll: true });
  token.scrollIntoView({ block: "nearest" });
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

/** White space made visible. */
export const visible = (text) => text.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replace(/^ | $/g, "␣");

/** What there is to tell of a unit. */
function told(unit) {
  const parts = [make("p", { class: "tip-token" }, visible(unit.t))];
  if (!unit.s.length) parts.push(make("p", {}, "text of the step before"));
  for (const step of unit.s) parts.push(...toldStep(step, unit.s.length > 1));
  parts.push(make("p", { class: "small" }, "← → token, ↑ ↓ exploration step"));
  return parts;
}

function toldStep(step, several) {
  const kind = step.x
    ? "exploration step: the model is fed a mix instead of it"
    : "certain step: the model is fed this token";
  const parts = [make("p", { class: step.x ? "tip-kind x" : "tip-kind" }, kind)];
  const facts = [step.e === null ? "no entropy" : `entropy ${step.e.toFixed(3)}`];
  if (step.m) facts.push(`mode ${step.m}`);
  if (step.p !== undefined) facts.push(`probability ${step.p.toFixed(3)}`);
  parts.push(make("p", {}, facts.join(" · ")));
  if (step.a?.length && !several) parts.push(candidates(step.a));
  return parts;
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
