// Light formatting of text that comes in pieces: code fences, headings, lists, **bold**, `code`, formulas.
//
// Every piece of text stays a span of its own and nothing is left out, so that every step can be looked at: the marks
// of the formatting are shown dimmed, and a typeset formula keeps the spans it was made of. A line is a block of its
// own, which keeps the layout of long texts cheap.

import { copyButton, make } from "./dom.js";
import { Formula } from "./formula.js";
import { findClosing } from "./inline.js";
import { Line } from "./line.js";

const OPENING = /^ {0,8}(`{3,}|~{3,})/;
const HEADING = /^#{1,6} /;
const ITEM = /^\s*(?:[-*+]|\d{1,3}[.)]) /;
const HEAD = 200; // characters in which a line shows what it is
const SPECIAL = /[\\`$*]/;
const MOST_LINES = 60; // of a formula; a longer one is none

export class Formatter {
  #root;
  #place; // where lines go: the root, or a block of code
  #fence = null; // what closes the code that is open
  #formula = null; // a displayed formula that is open: {lines, start, mark, closing, whole}
  #line = null;

  constructor(root) {
    this.#root = root;
    this.#place = root;
  }

  /** Append text. span(text): makes the span of a piece; asked again where a text has several lines. */
  add(text, span) {
    for (const piece of text.split(/(?<=\n)/)) this.#put(span(piece), piece.endsWith("\n"));
  }

  /** The text has ended: what has opened and was not closed is plain text. */
  finish() {
    if (this.#line) this.#endLine();
    while (this.#formula) this.#giveUp();
  }

  #put(span, last) {
    if (!this.#line) {
      this.#line = new Line();
      this.#place.append(this.#line.element);
    }
    this.#line.append(span);
    this.#look(SPECIAL.test(span.textContent));
    if (last) this.#endLine();
  }

  /** Format the line as far as it is there. special: a mark has come. */
  #look(special) {
    if (this.#fence) this.#inCode();
    else if (this.#formula) this.#inFormula();
    else this.#inText(special);
  }

  #inText(special) {
    const { text, element, scanner, moved } = this.#line;
    if (text.length < HEAD && !moved) {
      const opening = OPENING.exec(text);
      if (opening && this.#opensCode(opening[1])) return;
      element.classList.toggle("heading", HEADING.test(text));
      element.classList.toggle("item", ITEM.test(text));
    }
    if (special || scanner.waiting) this.#inline(false);
  }

  /** Whether the line opens a block of code; then it becomes its head. */
  #opensCode(mark) {
    const { element, text } = this.#line;
    const open = element.classList.contains("fence");
    if (text.trimStart().slice(mark.length).includes("`")) { // ```code``` within a line opens nothing
      if (open) element.closest(".code").replaceWith(element);
      element.classList.remove("fence");
      return false;
    }
    if (open) return true;
    const code = make("div", { class: "code-lines" });
    const block = make("div", { class: "code" });
    element.replaceWith(block);
    element.classList.add("fence");
    block.append(make("div", { class: "code-head" }, element, copyButton("Copy", () => code.textContent)), code);
    return true;
  }

  #inCode() {
    const text = this.#line.text.trim();
    const { mark, block, closed } = this.#fence;
    const closes = text.length >= mark.length && text.length <= 40 && text === mark[0].repeat(text.length);
    if (closes === closed) return;
    this.#fence.closed = closes;
    this.#line.element.classList.toggle("fence", closes);
    (closes ? block : this.#place).append(this.#line.element);
  }

  #endLine() {
    const line = this.#line;
    if (this.#fence) {
      if (this.#fence.closed) this.#leaveCode();
    } else if (this.#formula) {
      this.#formula.lines.push(line);
      const over = this.#formula.lines.length > MOST_LINES || !line.text.trim() || OPENING.test(line.text);
      if (over) this.#giveUp();
    } else if (line.element.classList.contains("fence")) {
      const block = line.element.closest(".code");
      this.#fence = { mark: OPENING.exec(line.text)[1], block, closed: false };
      this.#place = block.querySelector(".code-lines");
    } else {
      this.#inline(true);
      line.tidy();
    }
    this.#line = null;
  }

  #leaveCode() {
    this.#fence = null;
    this.#place = this.#root;
  }

  /** Style what is certain by now. */
  #inline(ended) {
    const line = this.#line;
    for (const range of line.scanner.scan(line.text, ended)) {
      const { kind, start, end, mark } = range;
      if (kind === "formula") {
        this.#typeset(line.take(range.display ? line.indent(start) : start, end), range, end);
      } else if (kind === "block") {
        this.#formula = { ...range, lines: [line] };
      } else {
        line.style(start, start + mark, "mark");
        line.style(start + mark, end - mark, kind);
        line.style(end - mark, end, "mark");
      }
    }
  }

  #typeset(spans, { tex, display }, end) {
    const formula = new Formula(spans, tex, display);
    this.#line.displayed = display ? { formula, end } : null;
  }

  /** Whether the formula that is open ends in this line: then its lines become one. */
  #inFormula() {
    const { lines, start, mark, closing, whole } = this.#formula;
    const line = this.#line;
    const close = findClosing(line.text, closing);
    if (close < 0) return;
    const end = close + closing.length;
    const [first, ...others] = lines;
    const spans = first.take(first.indent(start), first.text.length);
    for (const { element } of others) {
      spans.push(...element.children);
      element.remove();
    }
    spans.push(...line.take(0, end));
    const tex = [first.text.slice(start), ...others.map(({ text }) => text), line.text.slice(0, end)].join("");
    line.moveRest(end, first);
    this.#typeset(spans, { tex: whole ? tex : tex.slice(mark, -closing.length), display: true }, end);
    line.scanner.goOn(end);
    this.#formula = null;
    this.#inline(false);
  }

  /** The formula that is open has no end: its lines are text. */
  #giveUp() {
    const { lines, start, mark } = this.#formula;
    this.#formula = null;
    lines[0].scanner.goOn(start + mark);
    for (const line of lines) {
      this.#line = line;
      this.#look(true);
      this.#endLine();
    }
    this.#line = null;
  }
}
