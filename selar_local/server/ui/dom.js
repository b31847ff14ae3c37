// Small helpers around the DOM. Text becomes text nodes, never markup.

export const byId = (id) => document.getElementById(id);

/** An element with properties and children; strings become text. `class`, `on*` and `aria-*` may be given as such. */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.includes("-")) element[name] = value;
    else element.setAttribute(name === "class" ? "class" : name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Tell a screen reader, without moving the focus. */
export function announce(text) {
  byId("announcer").textContent = text;
}

/** Put text into the clipboard; false where the browser does not let us. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text); // pages over plain HTTP from another machine have no clipboard
  }
}

function copyBySelection(text) {
  const holder = make("textarea", { value: text, class: "unseen", readOnly: true });
  const focused = document.activeElement;
  document.body.append(holder);
  holder.select();
  const done = document.execCommand("copy");
  holder.remove();
  focused?.focus();
  return done;
}

/** A button that copies what `text()` gives and says so. */
export function copyButton(label, text) {
  const button = make("button", { type: "button", class: "quiet" }, label);
  button.addEventListener("click", async () => {
    button.textContent = (await copyText(text())) ? "Copied" : "Not allowed";
    setTimeout(() => { button.textContent = label; }, 1500);
  });
  return button;
}

const elementOf = (node) => (node?.nodeType === Node.ELEMENT_NODE ? node : node?.parentElement);

/** What is copied from a text is the text: no buttons, and formulas as they were written, each as a whole. */
export function copyPlainly(event) {
  const selection = document.getSelection();
  if (!selection.rangeCount) return;
  const range = selection.getRangeAt(0).cloneRange();
  const typeset = (node) => elementOf(node)?.closest(".typeset")?.parentElement;
  const [first, last] = [typeset(range.startContainer), typeset(range.endContainer)];
  if (first) range.setStartBefore(first);
  if (last) range.setEndAfter(last);
  if (!elementOf(range.commonAncestorContainer)?.closest(".text")) return;
  const part = range.cloneContents();
  part.querySelectorAll("button, .typeset").forEach((element) => element.remove());
  event.clipboardData.setData("text/plain", part.textContent);
  event.preventDefault();
}

/** Calls `work` once before the next frame is drawn; in a hidden tab, which draws none, soon. */
export class Frame {
  #work;
  #waiting = null;

  constructor(work) {
    this.#work = work;
    document.addEventListener("visibilitychange", () => { if (this.#waiting) { this.#cancel(); this.request(); } });
  }

  request() {
    if (this.#waiting) return;
    const run = () => { this.#waiting = null; this.#work(); };
    this.#waiting = document.hidden
      ? { timer: setTimeout(run, 250) }
      : { frame: requestAnimationFrame(run) };
  }

  /** Do now what is waiting. */
  flush() {
    this.#cancel();
    this.#work();
  }

  #cancel() {
    if (this.#waiting?.frame) cancelAnimationFrame(this.#waiting.frame);
    if (this.#waiting?.timer) clearTimeout(this.#waiting.timer);
    this.#waiting = null;
  }
}
