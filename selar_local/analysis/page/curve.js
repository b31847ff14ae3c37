// The entropy curves of a group: to be zoomed, moved, pointed at and reached by the keyboard.

const HEIGHTS = [124, 88, 70]; // of a lane, by the number of traces
const LOWEST = 50;
const TALLEST = 300; // higher ones do not stay at the top of the window
const LEFT = 30;
const RIGHT = 8;
const MOVED = 4; // pixels after which a press is a drag
const ZOOM = 1.6;

class Curve {
  #context;
  #colours = null;
  #view;
  #lanes;
  #size;
  #marks = { at: new Map(), over: new Map(), beside: new Map(), partings: null, selected: null };
  #press = null;
  #frame = 0;
  #range = make("span", { class: "range" });
  #zoomed;

  /** members: the traces of the group; partings: where they part; host: has `look`, `leave` and `choose`. */
  constructor(members, partings, host) {
    this.members = members;
    this.host = host;
    const height = HEIGHTS[members.length - 1] ?? LOWEST;
    this.#lanes = members.map((trace, i) => ({ trace, top: i * height, height }));
    this.#size = { width: 0, height: members.length * height + AXIS };
    this.#view = new View(Math.max(...members.map((trace) => trace.length)));
    this.#marks.partings = partings;
    this.canvas = make("canvas", {
      tabindex: 0, role: "slider", "aria-label": "Entropy curve: arrow keys move along the steps", "aria-valuemin": 0,
      "aria-valuemax": this.#view.length - 1, "aria-valuenow": 0, "aria-valuetext": "no step chosen",
    });
    this.canvas.style.blockSize = `${this.#size.height}px`;
    this.#context = this.canvas.getContext("2d");
    this.#zoomed = [
      button("−", () => this.zoom(1 / ZOOM), { "aria-label": "Zoom out", title: "Zoom out (-)" }),
      button("+", () => this.zoom(ZOOM), { "aria-label": "Zoom in", title: "Zoom in (+)" }),
      button("whole", () => this.whole(), { title: "Show all steps (0)" }),
    ];
    this.element = make("div", { class: `curve${this.#size.height <= TALLEST ? " stays" : ""}` }, this.canvas);
    this.tools = make("div", { class: "tools" }, ...this.#zoomed, this.#range);
    this.element.append(this.tools);
    this.#listen();
  }

  get view() { return this.#view; }

  /** The steps that are marked, by trace: chosen, pointed at, and those beside them in other traces. */
  mark(at, over, beside) {
    Object.assign(this.#marks, { at, over, beside });
    this.redraw();
  }

  /** What a screen reader reads out. */
  tell(step, text) {
    this.canvas.setAttribute("aria-valuenow", step);
    this.canvas.setAttribute("aria-valuetext", text);
  }

  reveal(step) {
    this.#view.reveal(step);
    this.redraw();
  }

  /** Closer, around the chosen step where it is to be seen. */
  zoom(factor) {
    const [step] = this.#marks.at.values();
    const seen = step !== undefined && step >= this.#view.from && step < this.#view.to;
    this.#view.zoom(factor, seen ? step + 0.5 : undefined);
    this.redraw();
  }

  whole() {
    this.#view.show(0, this.#view.length);
    this.redraw();
  }

  /** The colours have changed. */
  recolour() {
    this.#colours = null;
    this.redraw();
  }

  redraw() {
    if (!this.#frame) this.#frame = requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    this.#frame = 0;
    const { width, height } = this.#size;
    if (!width) return;
    this.#colours ??= coloursOf(this.element);
    const ratio = window.devicePixelRatio || 1;
    if (this.canvas.width !== Math.round(width * ratio) || this.canvas.height !== Math.round(height * ratio)) {
      this.canvas.width = Math.round(width * ratio);
      this.canvas.height = Math.round(height * ratio);
    }
    this.#context.setTransform(ratio, 0, 0, ratio, 0, 0);
    new Drawing(this.#context, this.#view, this.#lanes, this.#colours, this.#size).draw(this.#marks);
    const { from, to, length, whole } = this.#view;
    this.#range.textContent = whole
      ? `${counted(length)} steps`
      : `steps ${counted(Math.floor(from))} to ${counted(Math.ceil(to) - 1)} of ${counted(length)}`;
    this.#zoomed[0].disabled = this.#zoomed[2].disabled = whole;
    this.#zoomed[1].disabled = this.#view.span <= FEWEST;
  }

  /** The step at a point: of those that share its column the one of the highest entropy. */
  #at(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const lane = this.#lanes.find(({ top, height }) => y < top + height) ?? this.#lanes.at(-1);
    const { trace } = lane;
    if (!trace.length) return null;
    const first = Math.floor(this.#view.place(Math.floor(x)));
    const last = Math.max(first + 1, Math.floor(this.#view.place(Math.floor(x) + 1)));
    let best = within(first, 0, trace.length - 1);
    for (let step = best + 1; step < Math.min(last, trace.length); step++) {
      if ((trace.entropy(step) ?? -1) > (trace.entropy(best) ?? -1)) best = step;
    }
    return { trace, step: best, x };
  }

  #listen() {
    const { canvas } = this;
    new ResizeObserver(() => {
      this.#size.width = canvas.clientWidth;
      this.#view.left = LEFT;
      this.#view.width = Math.max(1, canvas.clientWidth - LEFT - RIGHT);
      this.redraw();
    }).observe(canvas);
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    canvas.addEventListener("pointerup", (event) => this.#up(event));
    canvas.addEventListener("pointercancel", () => this.#letGo());
    canvas.addEventListener("pointerleave", () => { if (!this.#press) this.host.leave(); });
  }

  /** Zoom, or move where the wheel turns sideways. At the end of either the page scrolls on. */
  #wheel(event) {
    const unit = event.deltaMode === 1 ? 20 : event.deltaMode === 2 ? 200 : 1;
    const { deltaX, deltaY } = event;
    const sideways = event.shiftKey ? deltaX || deltaY : Math.abs(deltaX) > Math.abs(deltaY) ? deltaX : 0;
    const box = this.canvas.getBoundingClientRect();
    const changed = sideways
      ? this.#view.move((sideways * unit) / this.#view.step)
      : this.#view.zoom(Math.exp(-deltaY * unit * 0.0022), this.#view.place(event.clientX - box.left));
    if (!changed) return;
    event.preventDefault();
    this.redraw();
  }

  #down(event) {
    if (event.button !== 0) return;
    const at = this.#at(event);
    if (!at) return;
    this.#press = { x: at.x, from: this.#view.from, moved: false, selects: event.shiftKey || this.#view.whole };
    this.canvas.setPointerCapture(event.pointerId);
  }

  #move(event) {
    const at = this.#at(event);
    if (!at) return;
    const press = this.#press;
    if (!press) {
      this.host.look(at.trace, at.step);
      return;
    }
    if (!press.moved && Math.abs(at.x - press.x) < MOVED) return;
    press.moved = true;
    if (press.selects) {
      const { left, width } = this.#view;
      this.#marks.selected = [press.x, at.x].map((x) => within(x, left, left + width));
    } else {
      this.canvas.classList.add("moving");
      this.#view.move(press.from - this.#view.from - (at.x - press.x) / this.#view.step);
    }
    this.redraw();
  }

  #up(event) {
    const press = this.#press;
    const at = this.#at(event);
    const selected = this.#marks.selected;
    this.#letGo();
    if (press?.moved && press.selects && selected) {
      const [from, to] = selected.map((x) => this.#view.place(x)).sort((a, b) => a - b);
      this.#view.show(from, to);
    } else if (press && !press.moved && at) {
      this.host.choose(at.trace, at.step);
    }
    this.redraw();
  }

  #letGo() {
    this.#press = null;
    this.#marks.selected = null;
    this.canvas.classList.remove("moving");
    this.redraw();
  }
}
