// One answer on the page. Text is only ever appended: what is there is not drawn again.

import { ending, percent, statistics } from "./answer.js";
import { make } from "./dom.js";
import { Formatter } from "./format.js";
import { tokenSpan } from "./marks.js";

const NATS = 2.5; // entropies in nats: from here on the darkest shade

/** One of the two texts of an answer. */
class TextView {
  constructor(label, scale) {
    this.element = make("div", { class: "text", tabIndex: 0, role: "group", "aria-label": label });
    this.empty = true;
    this.#scale = scale;
    this.#formatter = new Formatter(this.element);
  }

  #scale;
  #formatter;

  add(unit) {
    this.empty = false;
    let more = false;
    this.#formatter.add(unit.t, (piece) => {
      const span = tokenSpan(piece, unit, this.#scale, more);
      more = true;
      return span;
    });
  }

  /** Nothing more comes. */
  finish() {
    this.#formatter.finish();
  }
}

export class AnswerView {
  #answer;
  #thinking = null;
  #text;
  #thoughts = 0;
  #thoughtsExplored = 0;
  #scale;
  #waiting = make("p", { class: "waiting" }, "Waiting for the first token …");

  /** answer: drawn as far as it is there. */
  constructor(answer) {
    this.#answer = answer;
    this.#scale = answer.unit === "nats" ? NATS : 1;
    this.#text = new TextView("Answer. Arrow keys go through its tokens", this.#scale);
    this.element = make("div", { class: "answer" }, this.#waiting, this.#text.element);
    this.stats = make("p", { class: "stats" });
    this.note = make("p", { class: "note", hidden: true });
    this.hint = make("p", { class: "hint", hidden: true });
    this.add(answer.units);
  }

  /** Append what is new. */
  add(units) {
    if (units.length && this.#waiting) {
      this.#waiting.remove();
      this.#waiting = null;
    }
    for (const unit of units) {
      if (unit.k) this.#think(unit);
      else this.#say(unit);
    }
    this.tell();
  }

  /** Bring the statistics up to date. */
  tell() {
    const { tokens } = this.#answer;
    this.stats.textContent = tokens ? statistics(this.#answer) : "";
    if (this.#thinking && this.#text.empty) this.#summarise("Thinking");
  }

  /** The answer has ended: say why, where that is worth a line. */
  finish() {
    this.#waiting?.remove();
    this.#waiting = null;
    this.tell();
    if (this.#thinking) this.#summarise("Thought");
    const reason = ending(this.#answer);
    this.note.textContent = reason;
    this.note.hidden = !reason;
    this.note.classList.toggle("error", Boolean(this.#answer.error));
    this.hint.textContent = this.#answer.hint ?? "";
    this.hint.hidden = !this.#answer.hint;
    this.#text.element.hidden = this.#text.empty;
    for (const text of [this.#thinking?.text, this.#text]) text?.finish();
  }

  #think(unit) {
    if (!this.#thinking) {
      const text = new TextView("Thinking. Arrow keys go through its tokens", this.#scale);
      const summary = make("summary");
      const fold = make("details", { class: "thinking", open: true }, summary, text.element);
      summary.addEventListener("click", () => { this.#thinking.touched = true; });
      this.element.prepend(fold);
      this.#thinking = { text, summary, fold, touched: false };
    }
    this.#thoughts += unit.s.length;
    this.#thoughtsExplored += unit.s.filter((step) => step.x).length;
    this.#thinking.text.add(unit);
  }

  #say(unit) {
    if (this.#text.empty && this.#thinking) {
      this.#summarise("Thought");
      if (!this.#thinking.touched) this.#thinking.fold.open = false;
    }
    this.#text.add(unit);
  }

  #summarise(word) {
    const share = this.#thoughts ? ` · ${percent(this.#thoughtsExplored / this.#thoughts)} exploration steps` : "";
    this.#thinking.summary.textContent = `${word} · ${this.#thoughts} tokens${share}`;
  }
}
