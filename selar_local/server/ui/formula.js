// Formulas, typeset by KaTeX, which is loaded when the first one comes. One that KaTeX cannot read stays text.

import { make } from "./dom.js";
import { stripe } from "./marks.js";

/** trust: no links, images or HTML. The rest keeps a formula within bounds of time and room. */
const OPTIONS = { throwOnError: true, strict: "ignore", trust: false, maxExpand: 1000, maxSize: 20 };
/** Commands that KaTeX writes with style attributes in MathML, which the page's policy does not allow. */
const MACROS = { "\\pmb": "\\boldsymbol{#1}", "\\fcolorbox": "\\@secondoftwo{#1#2}{\\fbox{#3}}" };
const FONTS = ["1em KaTeX_Main", "italic 1em KaTeX_Math"]; // nearly every formula needs them

let loading = null;
let ready = false;
const waiting = [];
let whenTypeset = () => {};

/** `then` is called when formulas that had to wait for KaTeX were typeset. */
export function onTypeset(then) {
  whenTypeset = then;
}

async function load() {
  await Promise.all([import("./vendor/katex/katex.min.js"), ...FONTS.map((font) => document.fonts.load(font))]);
  avoidStyleAttributes(window.katex.__domTree.SvgNode);
  ready = true;
  for (const formula of waiting.splice(0)) formula.typeset();
  whenTypeset();
}

/** KaTeX gives drawings (roots, arrows) a style attribute. The policy allows the same style when a script sets it. */
function avoidStyleAttributes({ prototype }) {
  const { toNode } = prototype;
  prototype.toNode = function toStyledNode() {
    const { style = "", ...attributes } = this.attributes;
    this.attributes = attributes;
    const node = toNode.call(this);
    node.style.cssText = style;
    return node;
  };
}

/** A formula in the page: typeset, and the tokens it was made of, of which one of both is shown. */
export class Formula {
  #spans;
  #tex;
  #display;
  #element;
  #typeset = null;

  /** spans: neighbours in the page, or of lines that follow each other. tex: without the marks around it. */
  constructor(spans, tex, display) {
    this.#spans = spans;
    this.#tex = tex;
    this.#display = display;
    const source = make("span", { class: "source" });
    const focused = spans.find((span) => span === document.activeElement);
    this.#element = make("span", { class: `formula${display ? " display" : ""}${focused ? " open" : ""}` }, source);
    spans[0].before(this.#element);
    source.append(...spans);
    this.#element.closest(".line").classList.add("with-formula");
    focused?.focus({ preventScroll: true }); // moving it has taken the focus away
    if (ready) this.typeset();
    else this.#wait();
  }

  #wait() {
    waiting.push(this);
    loading ??= load().catch((error) => {
      loading = null; // the next formula tries again
      console.warn("formulas stay text:", error);
    });
  }

  /** More spans that belong to it: the line break after a displayed one. */
  add(spans) {
    this.#element.lastChild.append(...spans);
    this.#spans.push(...spans);
    this.#drawStripe();
  }

  typeset() {
    const place = make("span", { class: "typeset" });
    try {
      window.katex.render(this.#tex, place, { ...OPTIONS, macros: { ...MACROS }, displayMode: this.#display });
    } catch {
      return; // not TeX, or not yet known to KaTeX
    }
    this.#typeset = place;
    this.#drawStripe();
    this.#element.prepend(place);
    this.#element.classList.add("set");
  }

  #drawStripe() {
    if (this.#typeset) this.#typeset.style.backgroundImage = stripe(this.#spans);
  }
}
