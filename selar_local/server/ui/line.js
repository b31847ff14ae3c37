// A line of a text as it grows: its spans, and where each begins.

import { make } from "./dom.js";
import { InlineScanner } from "./inline.js";
import { cutSpan } from "./marks.js";

export class Line {
  element = make("div", { class: "line" });
  scanner = new InlineScanner();
  text = "";
  moved = false; // it goes on in an earlier line's element
  displayed = null; // {formula, end}: the last displayed formula that ends in it
  #pieces = []; // {span, start}

  /** Append a span. */
  append(span) {
    this.element.append(span);
    this.#pieces.push({ span, start: this.text.length });
    this.text += span.textContent;
  }

  /** Give a range a class. */
  style(start, end, name) {
    for (const span of this.take(start, end)) span.classList.add(name);
  }

  /** The spans of a range; those that reach beyond it are cut. */
  take(start, end) {
    this.#cut(start);
    this.#cut(end);
    return this.#pieces.filter((piece) => piece.start >= start && piece.start < end).map((piece) => piece.span);
  }

  /** Where what is at `start` begins, with the white space that a line begins with. */
  indent(start) {
    return this.moved || this.text.slice(0, start).trim() ? start : 0;
  }

  /** White space around a displayed formula would be a line of its own: it belongs to the formula. */
  tidy() {
    if (!this.displayed || this.text.slice(this.displayed.end).trim()) return;
    this.displayed.formula.add(this.take(this.displayed.end, this.text.length));
  }

  /** The rest of the line, from `start` on, goes on in the element of another line. */
  moveRest(start, other) {
    const rest = this.take(start, this.text.length);
    this.element.remove();
    this.element = other.element;
    this.moved = true;
    this.element.append(...rest);
  }

  #cut(at) {
    const index = this.#pieces.findLastIndex((piece) => piece.start < at);
    const piece = this.#pieces[index];
    if (!piece || at >= piece.start + piece.span.textContent.length) return;
    this.#pieces.splice(index + 1, 0, { span: cutSpan(piece.span, at - piece.start), start: at });
  }
}
