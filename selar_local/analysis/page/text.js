// The texts of a group in columns. Blocks are filled when they come near the window, the others when there is time.

const NEAR = "1200px";
const SLICE = 8; // milliseconds of filling before others get their turn
const pending = new Set();
let filling = false;

class Texts {
  #blocks = new Map(); // by trace: its blocks in order
  #tokens = new Map(); // by trace: the elements of its steps
  #observer;
  #stops = new Map(); // by trace: the one token that Tab leads to

  /** members: the traces; partings: where they part; first: the first such step, or null. */
  constructor(members, partings, first) {
    this.members = members;
    this.partings = partings;
    this.first = first;
    this.element = make("div", { class: `texts${members.length === 1 ? " single" : members.length > 2 ? " many" : ""}` });
    this.element.style.setProperty("--traces", members.length);
    this.#observer = new IntersectionObserver((entries) => {
      for (const entry of entries) if (entry.isIntersecting) this.fill(entry.target.block);
    }, { rootMargin: NEAR });
    for (const trace of members) {
      this.#blocks.set(trace, []);
      this.#tokens.set(trace, new Array(trace.length));
    }
    this.#lay();
  }

  #lay() {
    const rows = [];
    if (this.members.length > 1) {
      rows.push(this.#row(this.members.map((trace) => make("div", { class: "head" },
        make("span", { class: "letter" }, trace.letter), ` ${trace.name} · ${trace.method}`))));
    }
    const longest = Math.max(...this.members.map((trace) => trace.length));
    const common = this.first ?? longest;
    for (const [from, to] of blocksOf(this.members[0], 0, Math.min(common, this.members[0].length))) {
      rows.push(this.#row(this.members.map((trace) => this.#block(trace, from, to))));
    }
    if (this.first !== null) {
      rows.push(make("p", { class: "parting" }, make("span", {}, partingText(this.members, common))));
      rows.push(this.#row(this.members.map((trace) => make("div", {},
        ...blocksOf(trace, common, trace.length).map(([from, to]) => this.#block(trace, from, to))))));
    }
    this.element.append(...rows);
    for (const trace of this.members.filter((one) => !one.length)) {
      this.element.append(make("p", { class: "hint" }, `${trace.name} has no steps.`));
    }
  }

  #row(cells) {
    return make("div", { class: "row" }, ...cells);
  }

  #block(trace, from, to) {
    const element = make("div", { class: "chunk" });
    element.block = { owner: this, element, trace, from, to, filled: false };
    this.#blocks.get(trace).push(element.block);
    pending.add(element.block);
    return element;
  }

  /** To be called when the texts stand on the page: give the blocks their likely heights, and fill those that are near. */
  begin() {
    const widths = new Map();
    for (const trace of this.members) {
      const first = this.#blocks.get(trace)[0];
      widths.set(trace, first ? Math.max(10, first.element.clientWidth / 8.2) : 80);
    }
    for (const trace of this.members) {
      for (const block of this.#blocks.get(trace)) {
        const lines = linesOf(trace, block.from, block.to, widths.get(trace));
        block.element.style.containIntrinsicBlockSize = `auto ${(lines * 1.75).toFixed(1)}em`;
        this.#observer.observe(block.element);
      }
      const [first] = this.#blocks.get(trace);
      if (first) {
        this.fill(first);
        this.#stop(trace, this.#tokens.get(trace)[0]);
      }
    }
    fillInTime();
  }

  /** The element of a step. */
  token(trace, step) {
    const tokens = this.#tokens.get(trace);
    if (!tokens[step]) this.fill(this.#blocks.get(trace).find((block) => step < block.to));
    return tokens[step];
  }

  /** The step that an element of the page belongs to: `{trace, step}`, or null. */
  at(node) {
    const token = node instanceof Element ? node.closest(".t") : null;
    if (!token) return null;
    return { trace: token.parentElement.block.trace, step: token.step };
  }

  /** Have Tab lead to this step of the trace. */
  stopAt(trace, step) {
    this.#stop(trace, this.token(trace, step));
  }

  #stop(trace, token) {
    const before = this.#stops.get(trace);
    if (before === token) return; // taking it away for a moment would take the focus, too
    before?.removeAttribute("tabindex");
    token.tabIndex = 0;
    this.#stops.set(trace, token);
  }

  /** Put the tokens into a block. */
  fill(block) {
    if (block.filled) return;
    block.filled = true;
    pending.delete(block);
    const { trace, from, to, element } = block;
    const tokens = this.#tokens.get(trace);
    const marked = this.partings.of(trace);
    const made = [];
    for (let step = from; step < to; step++) made.push(tokens[step] = tokenElement(trace, step, marked.has(step)));
    element.append(...made);
    this.#observer.unobserve(element);
  }
}

const BLANK = document.createElement("span");
const BREAK = /^\s*\n\s*$/;

function tokenElement(trace, step, parts) {
  const token = BLANK.cloneNode();
  const text = trace.text(step);
  const name = text ? undefined : trace.nameOf(step);
  const level = trace.level(step);
  const classes = ["t"];
  if (level) classes.push(`e${level}`);
  if (trace.isExplored(step)) classes.push("x");
  if (!text) classes.push(name === undefined ? "held" : "name");
  if (BREAK.test(text)) classes.push("break");
  if (parts) classes.push("parts");
  token.className = classes.join(" ");
  token.textContent = name ?? text;
  token.step = step;
  return token;
}

/** Fill the blocks that nobody looks at yet, a few at a time: then the browser's own search finds all of the text. */
function fillInTime() {
  if (filling) return;
  filling = true;
  const later = window.requestIdleCallback ?? ((act) => setTimeout(act, 16));
  const turn = () => {
    const end = performance.now() + SLICE;
    for (const block of pending) {
      block.owner.fill(block);
      if (performance.now() > end) break;
    }
    if (pending.size) later(turn);
    else {
      filling = false;
      document.documentElement.dataset.whole = "";
    }
  };
  later(turn);
}

/** One sentence on what happens where traces part. */
function partingText(members, step) {
  const ways = members.map((trace) => {
    if (step >= trace.length) return `${trace.letter} has ended`;
    const token = trace.text(step) ? `“${visible(trace.text(step))}”` : trace.spelled(trace.token(step));
    return `${trace.letter} ${trace.isExplored(step) ? "explores" : "goes on"} with ${token}`;
  });
  return `They part at step ${counted(step)}: ${ways.join(", ")}`;
}
