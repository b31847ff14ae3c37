// Light formatting of text that comes in pieces: code fences, headings, **bold**, `code`, line breaks.
//
// Every piece of text stays a span of its own and nothing is left out, so that every step can be looked at: the marks
// of the formatting are shown dimmed. A line is a block of its own, which keeps the layout of long texts cheap.

import { copyButton, make } from "./dom.js";

const OPENING = /^ {0,8}(`{3,}|~{3,})/;
const HEADING = /^#{1,6} /;
const INLINE = /(?<![\w*])\*\*(?=[^\s*])([^\n]*?[^\s*])\*\*|(?<!`)`(?=[^`])([^`\n]+)`/g;
const WINDOW = 600; // longer ones are not looked for: a line may have no end

export class Formatter {
  #root;
  #place; // where lines go: the root, or a block of code
  #fence = null; // what closes the code that is open
  #line = null;
  #text = "";
  #pieces = [];
  #searched = 0;

  constructor(root) {
    this.#root = root;
    this.#place = root;
  }

  /** Append text. span(text): makes the span of a piece; asked again where a piece is cut in two. */
  add(text, span) {
    for (const piece of text.split(/(?<=\n)/)) this.#put(piece, span(piece));
  }

  #put(piece, span) {
    if (!this.#line) {
      this.#line = make("div", { class: "line" });
      this.#place.append(this.#line);
    }
    this.#line.append(span);
    this.#pieces.push({ span, start: this.#text.length });
    this.#text += piece;
    if (this.#fence) this.#inCode();
    else this.#inText(piece);
    if (piece.endsWith("\n")) this.#endLine();
  }

  #inText(piece) {
    const opening = this.#text.length < 200 && OPENING.exec(this.#text);
    if (opening) {
      this.#openCode(opening[1]);
    } else if (HEADING.test(this.#text)) {
      this.#line.classList.add("heading");
    }
    if (!opening && /[*`]/.test(piece)) this.#inline();
  }

  /** The line turns out to open a block of code: it becomes its head. */
  #openCode(mark) {
    if (this.#text.trimStart().slice(mark.length).includes("`")) { // ```code``` within a line opens nothing
      if (this.#line.classList.contains("fence")) this.#unwrap();
      return;
    }
    if (this.#line.classList.contains("fence")) return;
    const code = make("div", { class: "code-lines" });
    const block = make("div", { class: "code" });
    this.#line.replaceWith(block);
    this.#line.classList.add("fence");
    block.append(make("div", { class: "code-head" }, this.#line, copyButton("Copy", () => code.textContent)), code);
  }

  #unwrap() {
    this.#line.closest(".code").replaceWith(this.#line);
    this.#line.classList.remove("fence");
  }

  #inCode() {
    const text = this.#text.trim();
    const { mark } = this.#fence;
    if (text.length < mark.length || text.length > 40 || text !== mark[0].repeat(text.length)) return;
    this.#line.classList.add("fence");
    this.#fence.block.append(this.#line);
    this.#fence.closed = true;
  }

  #endLine() {
    if (this.#fence?.closed) {
      this.#fence = null;
      this.#place = this.#root;
    } else if (!this.#fence && this.#line.classList.contains("fence")) {
      const block = this.#line.closest(".code");
      this.#fence = { mark: OPENING.exec(this.#text)[1], block, closed: false };
      this.#place = block.querySelector(".code-lines");
    }
    this.#line = null;
    this.#text = "";
    this.#pieces = [];
    this.#searched = 0;
  }

  /** Style what has been closed by now. */
  #inline() {
    const from = Math.max(this.#searched, this.#text.length - WINDOW);
    INLINE.lastIndex = from;
    for (let found = INLINE.exec(this.#text); found; found = INLINE.exec(this.#text)) {
      const [start, end] = [found.index, found.index + found[0].length];
      const mark = found[1] === undefined ? 1 : 2;
      this.#style(start, start + mark, "mark");
      this.#style(start + mark, end - mark, mark === 2 ? "bold" : "mono");
      this.#style(end - mark, end, "mark");
      this.#searched = end;
    }
  }

  /** Give a range of the line a class, cutting the pieces at its ends. */
  #style(start, end, name) {
    this.#cut(start);
    this.#cut(end);
    for (const piece of this.#pieces) {
      if (piece.start >= start && piece.start < end) piece.span.classList.add(name);
    }
  }

  #cut(at) {
    const index = this.#pieces.findLastIndex((piece) => piece.start < at);
    const piece = this.#pieces[index];
    const length = piece ? piece.span.textContent.length : 0;
    if (!piece || at >= piece.start + length) return;
    const rest = piece.span.cloneNode(false);
    rest.unit = piece.span.unit;
    rest.classList.add("more");
    rest.textContent = piece.span.textContent.slice(at - piece.start);
    piece.span.textContent = piece.span.textContent.slice(0, at - piece.start);
    piece.span.after(rest);
    this.#pieces.splice(index + 1, 0, { span: rest, start: at });
  }
}
