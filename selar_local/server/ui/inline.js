// Finds what is formatted within a line: **bold**, `code` and formulas. No DOM here.
//
// A line comes in pieces. A range is reported when no later text can change it, so the result does not depend on the
// pieces. An opening mark whose end has not come yet stops the search; where none comes, the mark is plain text.

const SPECIAL = /[\\`$*]/g;
const MOST = { bold: 600, code: 600, formula: 2000 }; // characters; a longer range is plain text
const ENVIRONMENTS = /^(?:equation|align|alignat|gather|multline|CD)\*?$/;
const LONGEST_BEGIN = "\\begin{equation*}".length;
/** What stands between two dollar signs and is no formula: "$5 to 10$", "$5 for tea and 7$". */
const PRICE = /^[\d.,]+\s+[A-Za-z]{2,}/;
const PROSE = /(?:^|\s)[A-Za-z]{3,}\s+[A-Za-z]{2,}(?:\s|$)/;

const WAIT = null; // more text is needed

/** Where `closing` begins, at or after `from`; -1 where it does not. A backslash takes the next character with it. */
export function findClosing(text, closing, from = 0) {
  for (let at = from; at < text.length; at += text[at] === "\\" ? 2 : 1) {
    if (text.startsWith(closing, at)) return at;
  }
  return -1;
}

/** The end of the group that opens at `from` with a brace; -1 where it is open. */
function endOfGroup(text, from) {
  let depth = 0;
  for (let at = from; at < text.length; at += text[at] === "\\" ? 2 : 1) {
    if (text[at] === "{") depth += 1;
    else if (text[at] === "}") depth -= 1;
    if (depth === 0) return at + 1;
  }
  return -1;
}

const plain = (end) => ({ end });

export class InlineScanner {
  #at = 0;
  #bold = -1; // where a bold range has opened
  #text = "";
  #ended = false;

  /** Whether an opening mark waits for its end. */
  waiting = false;

  /**
   * The ranges that are certain by now, each once: {kind: "bold" | "mono", start, end, mark: length of each mark},
   * {kind: "formula", start, end, tex, display} and, last in a line, {kind: "block", start, mark, closing, whole}: a
   * displayed formula that goes on in the next lines. whole: the marks are part of the formula.
   * text: the line so far. ended: nothing more comes in this line.
   */
  scan(text, ended) {
    this.#text = text;
    this.#ended = ended;
    const found = [];
    for (;;) {
      SPECIAL.lastIndex = this.#at;
      const special = SPECIAL.exec(text);
      this.#at = special ? special.index : text.length;
      const range = special && this.#read(special.index);
      this.waiting = Boolean(special) && range === WAIT;
      if (!range) return found;
      if (range.kind) found.push(range);
      if (range.kind === "block") return found;
      this.#at = range.end;
    }
  }

  /** Go on at this place: behind a block that ends in this line, or behind the opening mark of one that never ends. */
  goOn(at) {
    this.#at = at;
  }

  #read(at) {
    const sign = this.#text[at];
    if (sign === "\\") return this.#command(at);
    let end = at + 1;
    while (this.#text[end] === sign) end += 1;
    if (end === this.#text.length && !this.#ended) return WAIT; // it may become longer
    if (sign === "*") return this.#stars(at, end);
    if (sign === "`") return end - at > 1 ? plain(end) : this.#code(at);
    if (end - at === 2) return this.#closed(at, { mark: 2, closing: "$$", block: true, display: true });
    return end - at > 2 ? plain(end) : this.#dollar(at);
  }

  #command(at) {
    const text = this.#text;
    const next = text[at + 1];
    if (next === undefined) return this.#ended ? plain(at + 1) : WAIT;
    if (next === "(") return this.#closed(at, { mark: 2, closing: "\\)" });
    if (next === "[") return this.#closed(at, { mark: 2, closing: "\\]", block: true, display: true });
    const name = /^\\(?:[A-Za-z]+|[^])/.exec(text.slice(at, at + LONGEST_BEGIN))[0];
    const end = at + name.length;
    if (end === text.length && !this.#ended) return WAIT;
    if (text[end] !== "{") return plain(end);
    if (name === "\\boxed") return this.#boxed(at, end);
    return name === "\\begin" ? this.#begin(at, end) : plain(end);
  }

  #boxed(at, brace) {
    const end = endOfGroup(this.#text, brace);
    if (end < 0) return this.#open(at) ? WAIT : plain(brace);
    return this.#formula(at, end, this.#text.slice(at, end), false) ?? plain(brace);
  }

  #begin(at, brace) {
    const close = this.#text.indexOf("}", brace);
    if (close < 0 && this.#text.length - at < LONGEST_BEGIN && !this.#ended) return WAIT;
    const name = close < 0 ? "" : this.#text.slice(brace + 1, close);
    if (!ENVIRONMENTS.test(name)) return plain(brace);
    const mark = close + 1 - at;
    return this.#closed(at, { mark, closing: `\\end{${name}}`, block: true, display: true, whole: true });
  }

  /** What ends with a mark of its own, in this line or, where it may be a block, in a later one. */
  #closed(at, { mark, closing, block = false, display = false, whole = false }) {
    const close = findClosing(this.#text, closing, at + mark);
    if (close < 0) {
      if (this.#open(at)) return WAIT;
      const goesOn = block && this.#text.length - at <= MOST.formula;
      return goesOn ? { kind: "block", start: at, mark, closing, whole } : plain(at + mark);
    }
    const end = close + closing.length;
    const tex = whole ? this.#text.slice(at, end) : this.#text.slice(at + mark, close);
    return this.#formula(at, end, tex, display) ?? plain(at + mark);
  }

  /** $x$: the marks stand close to the formula, and neither a digit nor a letter is next to them outside. */
  #dollar(at) {
    const text = this.#text;
    if (/\s/.test(text[at + 1] ?? " ") || /[A-Za-z0-9]/.test(text[at - 1] ?? "")) return plain(at + 1);
    const close = findClosing(text, "$", at + 1);
    if (close < 0) return this.#open(at) ? WAIT : plain(at + 1);
    if (close + 1 === text.length && !this.#ended) return WAIT;
    const tex = text.slice(at + 1, close);
    const words = tex.replace(/\\[A-Za-z]+\s*\{[^{}]*\}/g, "");
    const fits = !/\s/.test(text[close - 1]) && !/[\w$]/.test(text[close + 1] ?? "");
    if (!fits || PRICE.test(words) || PROSE.test(words)) return plain(at + 1);
    return this.#formula(at, close + 1, tex, false) ?? plain(at + 1);
  }

  #formula(start, end, tex, display) {
    if (end - start > MOST.formula || !tex.trim()) return undefined;
    return { kind: "formula", start, end, tex, display };
  }

  /** Whether the end of what opens here may still come. */
  #open(at, most = MOST.formula) {
    return !this.#ended && this.#text.length - at <= most;
  }

  #code(at) {
    const close = this.#text.indexOf("`", at + 1);
    if (close < 0) return this.#open(at, MOST.code) ? WAIT : plain(at + 1);
    if (close + 1 - at > MOST.code) return plain(at + 1);
    return { kind: "mono", start: at, end: close + 1, mark: 1 };
  }

  /** Code and formulas may be within a bold range, so it opens and closes by itself. */
  #stars(at, end) {
    const text = this.#text;
    const start = this.#bold;
    const near = start >= 0 && at + 2 - start <= MOST.bold;
    if (end - at > 1 && near && at > start + 2 && !/\s/.test(text[at - 1])) {
      this.#bold = -1;
      return { kind: "bold", start, end: at + 2, mark: 2 };
    }
    const opens = end - at === 2 && !/\w/.test(text[at - 1] ?? "") && /\S/.test(text[end] ?? " ");
    if (opens && !near) this.#bold = at;
    return plain(end);
  }
}
