// Draws the curves of a group into their canvas, one lane for each trace.

const STRIP = 7; // height of the ticks below a curve
const AXIS = 18;
const DENSE = 0.5; // pixels a step below which columns are drawn instead of a line
const ROOM = 8; // pixels that a diamond wants

/** The colours in force, resolved for a canvas. */
function coloursOf(element) {
  const probe = make("span", { class: "unseen" });
  element.append(probe);
  const found = {};
  for (const name of ["card", "sunk", "text", "dim", "line", "accent", "mark", "heat", "curve", "tau"]) {
    probe.style.color = `var(--${name})`;
    found[name] = getComputedStyle(probe).color;
  }
  probe.remove();
  return found;
}

class Drawing {
  /** canvas: its 2D context; view: what part of the steps; lanes: `{trace, top, height}`; colours: see `coloursOf`. */
  constructor(context, view, lanes, colours, size) {
    Object.assign(this, { context, view, lanes, colours, size });
  }

  /** marks: `{at, over, beside, partings, selected}`; the first three are steps by trace. */
  draw(marks) {
    const { context, size } = this;
    context.clearRect(0, 0, size.width, size.height);
    context.font = "11px system-ui, sans-serif";
    context.textBaseline = "middle";
    for (const lane of this.lanes) this.#lane(lane, marks);
    this.#axis();
    if (marks.selected) {
      context.globalAlpha = 0.18;
      context.fillStyle = this.colours.accent;
      const [from, to] = marks.selected;
      context.fillRect(Math.min(from, to), 0, Math.abs(to - from), size.height - AXIS);
      context.globalAlpha = 1;
    }
  }

  #lane(lane, marks) {
    const { context, colours, view } = this;
    const { trace } = lane;
    lane.low = lane.top + lane.height - STRIP - 5;
    lane.high = lane.top + 8;
    this.#line(lane.low, colours.line);
    this.#line(lane.high, colours.line);
    context.save();
    context.beginPath();
    context.rect(view.left, lane.top, view.width, lane.height);
    context.clip();
    if (view.step < DENSE) this.#columns(lane);
    else this.#polyline(lane);
    this.#explored(lane);
    this.#threshold(lane);
    for (const step of marks.partings.of(trace)) this.#upright(lane, step, colours.tau, [3, 3]);
    this.#upright(lane, marks.beside.get(trace), colours.accent, [2, 3]);
    this.#upright(lane, marks.over.get(trace), colours.dim, [], true);
    this.#upright(lane, marks.at.get(trace), colours.accent, [], true);
    context.restore();
    this.#labels(lane);
  }

  #y(lane, entropy) {
    return lane.low - Math.min(entropy / lane.trace.top, 1) * (lane.low - lane.high);
  }

  #line(y, colour) {
    this.context.fillStyle = colour;
    this.context.fillRect(this.view.left, y, this.view.width, 1);
  }

  /** What each column of pixels spans, and its mean. */
  #columns(lane) {
    const { context, view, colours } = this;
    const { entropies } = lane.trace;
    context.fillStyle = context.strokeStyle = colours.curve;
    context.globalAlpha = 0.35;
    const means = [];
    for (const { column, from, to } of columnsOf(view, entropies.length)) {
      let [low, high, sum, count] = [Infinity, -Infinity, 0, 0];
      for (let step = from; step < to; step++) {
        const entropy = entropies[step];
        if (Number.isNaN(entropy)) continue;
        if (entropy < low) low = entropy;
        if (entropy > high) high = entropy;
        sum += entropy;
        count++;
      }
      if (!count) continue;
      const y = this.#y(lane, high);
      context.fillRect(view.left + column, y, 1, Math.max(1, this.#y(lane, low) - y));
      means.push([view.left + column + 0.5, this.#y(lane, sum / count)]);
    }
    context.globalAlpha = 1;
    context.lineWidth = 1.5;
    context.beginPath();
    for (const [x, y] of means) context.lineTo(x, y);
    context.stroke();
  }

  #polyline(lane) {
    const { context, view, colours } = this;
    const { trace } = lane;
    const from = Math.max(0, Math.floor(view.from) - 1);
    const to = Math.min(trace.length, Math.ceil(view.to) + 1);
    context.strokeStyle = colours.curve;
    context.lineWidth = 1.2;
    context.beginPath();
    let open = false;
    for (let step = from; step < to; step++) {
      const entropy = trace.entropy(step);
      if (entropy !== null) context[open ? "lineTo" : "moveTo"](view.x(step), this.#y(lane, entropy));
      open = entropy !== null;
    }
    context.stroke();
    if (view.step < ROOM) return;
    for (let step = from; step < to; step++) {
      const entropy = trace.entropy(step);
      if (entropy !== null && !trace.isExplored(step)) this.#dot(view.x(step), this.#y(lane, entropy), 2);
    }
  }

  #diamond(x, y) {
    const { context } = this;
    context.fillStyle = this.colours.mark;
    context.beginPath();
    context.moveTo(x, y - 4.5);
    context.lineTo(x + 4, y);
    context.lineTo(x, y + 4.5);
    context.lineTo(x - 4, y);
    context.fill();
  }

  #dot(x, y, radius, colour = this.colours.curve) {
    this.context.fillStyle = colour;
    this.context.beginPath();
    this.context.arc(x, y, radius, 0, 7);
    this.context.fill();
  }

  /** The exploration steps: ticks below the curve, and diamonds on it where there is room for them. */
  #explored(lane) {
    const { context, view } = this;
    const { trace } = lane;
    const shown = trace.explored.filter((step) => step + 1 >= view.from && step <= view.to);
    const counts = new Map(); // by column
    for (const step of shown) counts.set(Math.floor(view.x(step)), (counts.get(Math.floor(view.x(step))) ?? 0) + 1);
    const most = Math.max(1, ...counts.values());
    const width = within(view.step - 1, 1, 4);
    context.fillStyle = this.colours.mark;
    for (const [x, count] of counts) {
      const height = most === 1 ? STRIP - 1 : 1 + ((STRIP - 2) * count) / most;
      context.fillRect(x + 0.5 - width / 2, lane.low + 3 + STRIP - height, width, height);
    }
    if (shown.length * ROOM > view.width) return;
    for (const step of shown) this.#diamond(view.x(step), this.#y(lane, trace.entropy(step) ?? 0));
  }

  #threshold(lane) {
    const { mark, top } = lane.trace;
    if (!mark || mark.at > top) return;
    const { context, view } = this;
    const y = Math.round(this.#y(lane, mark.at)) + 0.5;
    context.strokeStyle = this.colours.tau;
    context.lineWidth = 1.3;
    context.setLineDash([5, 4]);
    context.beginPath();
    context.moveTo(view.left, y);
    context.lineTo(view.left + view.width, y);
    context.stroke();
    context.setLineDash([]);
  }

  #upright(lane, step, colour, dashes, dot = false) {
    if (step === undefined) return;
    const { context, view } = this;
    const x = view.x(step);
    context.strokeStyle = colour;
    context.lineWidth = 1.5;
    context.setLineDash(dashes);
    context.beginPath();
    context.moveTo(x, lane.top + 2);
    context.lineTo(x, lane.top + lane.height - 1);
    context.stroke();
    context.setLineDash([]);
    const entropy = lane.trace.entropy(step);
    if (dot && entropy !== null) this.#dot(x, this.#y(lane, entropy), 3.5, colour);
  }

  #labels(lane) {
    const { context, colours, view } = this;
    const { trace } = lane;
    context.fillStyle = colours.dim;
    context.textAlign = "right";
    context.fillText(`${trace.top}`, view.left - 5, lane.high);
    context.fillText("0", view.left - 5, lane.low);
    context.textAlign = "left";
    const unit = trace.nats ? " · nats" : trace.computed && trace.length ? " · computed from the candidates" : "";
    this.#tag(`${trace.letter} · ${trace.method}${unit}`, view.left + 6, lane.high + 1, colours.text);
    if (trace.mark) {
      const beyond = trace.mark.at > trace.top;
      const text = beyond ? `${trace.mark.label}: beyond the picture` : trace.mark.label;
      const width = context.measureText(text).width;
      const y = within(beyond ? lane.high : this.#y(lane, trace.mark.at) - 8, lane.high + 1, lane.low - 7);
      this.#tag(text, view.left + view.width - width - 8, y, colours.tau);
    }
  }

  /** Text on a patch of the background. */
  #tag(text, x, y, colour) {
    const { context } = this;
    context.globalAlpha = 0.8;
    context.fillStyle = this.colours.card;
    context.fillRect(x - 3, y - 7, context.measureText(text).width + 6, 14);
    context.globalAlpha = 1;
    context.fillStyle = colour;
    context.fillText(text, x, y);
  }

  #axis() {
    const { context, view, colours, size } = this;
    const y = size.height - AXIS;
    context.fillStyle = colours.dim;
    context.textAlign = "center";
    for (const step of view.ticks()) {
      const x = view.x(step);
      context.fillRect(x, y, 1, 4);
      context.fillText(counted(step), within(x, 14, size.width - 20), y + 11);
    }
    if (!view.whole) { // where the part lies in the whole
      context.fillStyle = colours.line;
      context.fillRect(view.left, size.height - 2, view.width, 2);
      context.fillStyle = colours.accent;
      const share = view.width / view.length;
      context.fillRect(view.left + view.from * share, size.height - 2, Math.max(3, view.span * share), 2);
    }
  }
}

/** The steps that each column of pixels shows. */
function* columnsOf(view, length) {
  for (let column = 0; column < view.width; column++) {
    const from = Math.max(0, Math.floor(view.place(view.left + column)));
    const to = Math.min(length, Math.max(from + 1, Math.floor(view.place(view.left + column + 1))));
    if (from < to) yield { column, from, to };
  }
}
