// Which step is looked at: chosen by click or key, or pointed at. Texts, curves and panel follow.

const PAGE = 50; // steps of Page Up and Page Down
const THEME = "selar-local-trace-theme";
const ADDRESS = /^#([A-Z]\d*)-(\d+)$/;

class Page {
  #at = null; // `{section, trace, step}`, as is #over
  #over = null;
  #marked = []; // tokens that have a class of ours
  #panel = document.getElementById("panel");
  #told = document.getElementById("told");
  #hint = [...this.#panel.childNodes];
  #address = 0;

  constructor(data) {
    const traces = data.traces.map((raw, place) => new Trace(raw, data.units, place));
    const place = document.getElementById("groups");
    place.append(...data.notes.map((note) => make("p", { class: "note", role: "note" }, note)));
    this.sections = data.groups.map((group) => {
      const names = group.traces.map((at) => traces[at].name);
      const title = names.length > 1 ? `${names.length} traces of one prompt` : names[0];
      return new Section(group, traces, data.columns, title, this);
    });
    place.append(...this.sections.map((section) => section.element));
    for (const section of this.sections) {
      section.begin();
      this.#listen(section);
    }
    document.addEventListener("keydown", (event) => this.#key(event));
  }

  // -- choosing and pointing ----------------------------------------------------------------

  /** Choose a step. focus: give its token the focus. scroll: "nearest" or "center". */
  choose(section, trace, step, { focus = false, scroll = "nearest" } = {}) {
    if (!trace.length) return;
    this.#at = { section, trace, step: within(step, 0, trace.length - 1) };
    this.#over = null;
    const token = section.texts.token(trace, this.#at.step);
    section.texts.stopAt(trace, this.#at.step);
    for (const other of section.beside(trace, this.#at.step)) section.texts.stopAt(other.trace, other.step);
    this.#told.textContent = spoken(trace, this.#at.step);
    section.curve.reveal(this.#at.step);
    section.curve.tell(this.#at.step, this.#told.textContent);
    this.#show();
    if (focus && document.activeElement !== token) token.focus({ preventScroll: true });
    bringIntoView(token, scroll);
    this.#writeAddress();
  }

  /** Point at a step. */
  look(section, trace, step) {
    if (this.#over?.trace === trace && this.#over.step === step) return;
    this.#over = { section, trace, step };
    this.#show();
  }

  /** Point at nothing any more. */
  leave() {
    if (!this.#over) return;
    this.#over = null;
    this.#show();
  }

  /** To the next exploration step (1), or the one before (-1). */
  jump(section, direction) {
    const own = this.#at?.section === section ? this.#at : null;
    const trace = own?.trace ?? section.members.find((one) => one.explored.length) ?? section.members[0];
    const from = own?.step ?? (direction > 0 ? -1 : trace.length);
    const step = trace.nextExplored(from, direction);
    if (step === null) return;
    this.choose(section, trace, step, { focus: !own || !inCurve(), scroll: own ? "nearest" : "center" });
  }

  #letGo() {
    this.#at = this.#over = null;
    this.#told.textContent = "";
    if (document.activeElement?.classList.contains("t")) document.activeElement.blur();
    this.#show();
  }

  /** Marks in texts and curves, and the panel. */
  #show() {
    for (const token of this.#marked) {
      token.classList.remove("at", "over", "beside");
      token.removeAttribute("aria-describedby");
    }
    this.#marked = [];
    const looked = this.#over ?? this.#at;
    const beside = looked ? looked.section.beside(looked.trace, looked.step) : [];
    if (looked) for (const one of beside) this.#mark(looked.section, one, "beside");
    if (this.#over) this.#mark(this.#over.section, this.#over, "over");
    if (this.#at) this.#mark(this.#at.section, this.#at, "at").setAttribute("aria-describedby", "told");
    for (const section of this.sections) {
      const own = (one) => new Map(one?.section === section ? [[one.trace, one.step]] : []);
      const others = looked?.section === section ? beside.map((one) => [one.trace, one.step]) : [];
      section.curve.mark(own(this.#at), own(this.#over), new Map(others));
    }
    this.#panel.replaceChildren(...(looked
      ? panelParts([looked, ...beside], looked.section.partings)
      : this.#hint));
  }

  #mark(section, { trace, step }, name) {
    const token = section.texts.token(trace, step);
    token.classList.add(name);
    this.#marked.push(token);
    return token;
  }

  // -- the texts' events, for all tokens at once --------------------------------------------

  #listen(section) {
    const { texts } = section;
    texts.element.addEventListener("pointerover", (event) => {
      const found = texts.at(event.target);
      if (found) this.look(section, found.trace, found.step);
      else this.leave();
    });
    texts.element.addEventListener("pointerleave", () => this.leave());
    texts.element.addEventListener("focusin", (event) => {
      const found = texts.at(event.target);
      const same = found && this.#at?.trace === found.trace && this.#at.step === found.step;
      if (found && !same) this.choose(section, found.trace, found.step);
    });
    texts.element.addEventListener("click", (event) => {
      const found = texts.at(event.target);
      if (found && document.getSelection().isCollapsed) this.choose(section, found.trace, found.step, { focus: true });
    });
    section.curve.canvas.addEventListener("focus", () => {
      if (!this.#at && section.members[0].length) section.curve.tell(0, spoken(section.members[0], 0));
    });
  }

  // -- keys ---------------------------------------------------------------------------------

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const { activeElement } = document;
    if (activeElement?.closest("dialog, select, input, textarea")) return;
    const walking = inCurve() || Boolean(activeElement?.classList.contains("t"));
    if (this.#act(event.key, walking)) event.preventDefault();
  }

  /** Do what a key stands for; whether it was one of ours. Those that scroll are so only within a text or a curve. */
  #act(key, walking) {
    const section = this.#section();
    if (!section) return false;
    const trace = this.#at?.section === section ? this.#at.trace : section.members.find((one) => one.length);
    switch (key) {
      case "?": document.getElementById("keys").showModal(); return true;
      case "Escape": if (!this.#at) return false; this.#letGo(); return true;
      case "+": case "=": section.curve.zoom(ZOOM); return true;
      case "-": case "_": section.curve.zoom(1 / ZOOM); return true;
      case "0": section.curve.whole(); return true;
      case "d": section.goToParting(); return true;
      case "n": this.jump(section, 1); return true;
      case "p": this.jump(section, -1); return true;
      default:
    }
    if (!walking || !trace) return false;
    const now = this.#at?.section === section ? this.#at.step : -1;
    const steps = {
      ArrowRight: now + 1, ArrowLeft: now < 0 ? trace.length - 1 : now - 1, Home: 0, End: trace.length - 1,
      PageDown: now + PAGE, PageUp: now - PAGE,
    };
    if (key === "ArrowDown" || key === "ArrowUp") {
      this.jump(section, key === "ArrowDown" ? 1 : -1);
      return true;
    }
    if (!(key in steps)) return false;
    this.choose(section, trace, steps[key], { focus: !inCurve() });
    return true;
  }

  /** The prompt that keys are about: where the focus is, else where the chosen step is, else the first one. */
  #section() {
    const focused = this.sections.find((section) => section.element.contains(document.activeElement));
    return focused ?? this.#at?.section ?? this.sections[0];
  }

  // -- the address names the chosen step, so that it can be passed on --------------------------

  /** Go to the step in the address, if it has one. */
  readAddress() {
    const [, letter, step] = ADDRESS.exec(location.hash) ?? [];
    for (const section of this.sections) {
      const trace = section.members.find((one) => one.letter === letter);
      if (trace) this.choose(section, trace, Number(step), { scroll: "center" });
    }
  }

  #writeAddress() {
    clearTimeout(this.#address); // browsers refuse many changes in a row
    this.#address = setTimeout(() => {
      if (this.#at) history.replaceState(null, "", `#${this.#at.trace.letter}-${this.#at.step}`);
    }, 500);
  }

  recolour() {
    for (const section of this.sections) section.curve.recolour();
  }
}

const inCurve = () => document.activeElement?.tagName === "CANVAS";

/** Scroll to a token. What lies between may turn out higher or lower than was thought: look again. */
function bringIntoView(token, block, tries = 3) {
  token.scrollIntoView({ block });
  if (tries) requestAnimationFrame(() => {
    const { top, bottom } = token.getBoundingClientRect();
    if (bottom < 0 || top > window.innerHeight) bringIntoView(token, block, tries - 1);
  });
}

function themed(page) {
  const choice = document.getElementById("theme");
  const apply = () => {
    document.documentElement.dataset.theme = choice.value;
    page.recolour();
  };
  try { // a browser may keep nothing for files
    choice.value = localStorage.getItem(THEME) ?? "";
  } catch { /* as the system */ }
  choice.addEventListener("change", () => {
    try {
      localStorage.setItem(THEME, choice.value);
    } catch { /* not kept */ }
    apply();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => page.recolour());
  apply();
}

const page = new Page(JSON.parse(document.getElementById("data").textContent));
document.getElementById("show-keys").addEventListener("click", () => document.getElementById("keys").showModal());
themed(page);
page.readAddress();
document.documentElement.dataset.ready = Math.round(performance.now());
