// The part of the steps that the curves show, and where a step stands in it.

const FEWEST = 10; // steps at the closest

class View {
  /** length: steps of the longest trace. */
  constructor(length) {
    this.length = Math.max(length, 1);
    this.from = 0;
    this.to = this.length;
    this.left = 0;
    this.width = 1;
  }

  get span() { return this.to - this.from; }
  get whole() { return this.span >= this.length; }
  get step() { return this.width / this.span; } // pixels

  /** The middle of a step, in pixels. */
  x(step) { return this.left + (step + 0.5 - this.from) * this.step; }

  /** The place in steps, with its fraction. */
  place(x) { return this.from + (x - this.left) / this.step; }

  /** Show [from, to), as far as there is something. */
  show(from, to) {
    const span = within(to - from, Math.min(FEWEST, this.length), this.length);
    const middle = (from + to) / 2;
    this.from = within(middle - span / 2, 0, this.length - span);
    this.to = this.from + span;
  }

  /** factor above 1: closer. The place stays where it is. Whether anything changed. */
  zoom(factor, place = (this.from + this.to) / 2) {
    const before = this.span;
    const span = within(before / factor, Math.min(FEWEST, this.length), this.length);
    this.from = within(place - (place - this.from) * (span / before), 0, this.length - span);
    this.to = this.from + span;
    return span !== before;
  }

  /** Whether anything changed. */
  move(steps) {
    const before = this.from;
    const { span } = this;
    this.from = within(this.from + steps, 0, this.length - span);
    this.to = this.from + span;
    return this.from !== before;
  }

  /** Move so that a step is to be seen. */
  reveal(step) {
    if (step < this.from) this.move(step - this.from - this.span * 0.1);
    else if (step + 1 > this.to) this.move(step + 1 - this.to + this.span * 0.1);
  }

  /** Round numbers for the axis, at most about one each 90 pixels. */
  ticks() {
    const rough = Math.max(1, (this.span * 90) / this.width);
    const power = 10 ** Math.floor(Math.log10(rough));
    const distance = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= rough);
    const found = [];
    for (let at = Math.ceil(this.from / distance) * distance; at < this.to; at += distance) found.push(at);
    return found;
  }
}
