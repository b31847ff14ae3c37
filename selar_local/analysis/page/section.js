// One prompt with its traces: what they are, their curves, their texts.

class Section {
  /** group: of the data; page: has `look`, `leave` and `choose`. */
  constructor(group, traces, columns, title, page) {
    this.group = group;
    this.page = page;
    this.partings = new Partings(group, traces);
    this.members = group.traces.map((place) => traces[place]);
    this.texts = new Texts(this.members, this.partings, group.first);
    this.curve = new Curve(this.members, this.partings, {
      look: (trace, step) => page.look(this, trace, step),
      leave: () => page.leave(),
      choose: (trace, step) => page.choose(this, trace, step, { scroll: "center" }),
    });
    this.#addTools(traces);
    this.element = make("section", { class: "group", "aria-label": title },
      make("h2", {}, title), this.#prompt(), this.#table(columns), this.#facts(),
      this.curve.element, this.texts.element);
  }

  /** To be called when the section stands on the page. */
  begin() {
    this.texts.begin();
    const stays = this.curve.element.classList.contains("stays");
    if (stays) this.texts.element.style.setProperty("--above", `${this.curve.element.offsetHeight + 8}px`);
  }

  /** The steps of other traces beside one, as `{trace, step}`: as long as they have not parted. */
  beside(trace, step) {
    return this.members
      .filter((other) => other !== trace && step < other.length && this.partings.agree(trace, other, step))
      .map((other) => ({ trace: other, step }));
  }

  /** The longest trace that has the step, which is the first one that can be shown. */
  withStep(step) {
    return this.members.find((trace) => step < trace.length) ?? null;
  }

  /** Go to where the traces part: the first such step, or that of a pair. */
  goToParting(step = this.group.first) {
    const trace = step === null ? null : this.withStep(step);
    if (trace) this.page.choose(this, trace, step, { focus: true, scroll: "center" });
  }

  #addTools(traces) {
    const { tools } = this.curve;
    tools.append(
      button("◂ exploration", () => this.page.jump(this, -1),
        { title: "The exploration step before (↑)", "aria-label": "Previous exploration step" }),
      button("exploration ▸", () => this.page.jump(this, 1),
        { title: "The next exploration step (↓)", "aria-label": "Next exploration step" }),
    );
    if (this.members.length < 2) return;
    if (this.group.first === null) {
      tools.append(make("span", { class: "same" }, "The traces are the same at every step."));
      return;
    }
    tools.append(button(`≠ Where they part: step ${counted(this.group.first)}`, () => this.goToParting(),
      { class: "primary to-parting", title: "Go there (d)" }));
    if (this.members.length === 2) return;
    const [first] = this.group.traces;
    for (const [a, b, step] of this.group.partings) {
      const pair = `${traces[a].letter} and ${traces[b].letter}`;
      if (a !== first || step === this.group.first) continue;
      tools.append(step === null
        ? make("span", { class: "same" }, `${pair} are the same.`)
        : button(`≠ ${pair}: step ${counted(step)}`, () => this.goToParting(step)));
    }
  }

  #prompt() {
    const { prompt, prompt_tokens: count } = this.group;
    const title = `Prompt, ${counted(count)} ${count === 1 ? "token" : "tokens"}`;
    if (prompt === null) return make("p", { class: "small" }, title);
    return make("details", { class: "prompt" }, make("summary", {}, title), make("pre", {}, prompt));
  }

  #table(columns) {
    const rows = this.members.map((trace) => make("tr", {},
      make("th", { scope: "row" }, make("span", { class: "letter" }, trace.letter), ` ${trace.name}`),
      ...trace.line.map((cell) => make("td", {}, cell))));
    return make("div", { class: "wide", tabindex: 0, role: "region", "aria-label": "The traces" },
      make("table", { class: "table" },
        make("thead", {}, make("tr", {}, ...["trace", ...columns].map((head) => make("th", { scope: "col" }, head)))),
        make("tbody", {}, ...rows)));
  }

  #facts() {
    const title = this.members.length > 1 ? "All about these traces" : "All about this trace";
    return make("details", { class: "facts" }, make("summary", {}, title), ...this.members.flatMap((trace) => [
      make("h3", {}, make("span", { class: "letter" }, trace.letter), ` ${trace.name}`),
      make("dl", {}, ...trace.facts.map(([name, value]) => (
        make("div", {}, make("dt", {}, name), make("dd", {}, value))))),
    ]));
  }
}
