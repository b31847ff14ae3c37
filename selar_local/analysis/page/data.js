// The traces, unpacked from the data in the page.

const LEVELS = 8; // shades of the entropy

class Trace {
  #raw;
  #units;
  #starts; // of each step's candidates; null where all have as many
  #nth; // which of the exploration steps one is

  /** raw: as in payload.py; units: what its whole numbers are multiples of. */
  constructor(raw, units, place) {
    this.#raw = raw;
    this.#units = units;
    this.place = place;
    this.letter = raw.letter;
    this.name = raw.name;
    this.line = raw.line;
    this.facts = raw.facts;
    this.method = raw.line[0];
    this.top = raw.top;
    this.mark = raw.mark;
    this.computed = raw.computed;
    this.nats = raw.unit !== "normalised";
    this.length = raw.tokens.length;
    this.explored = raw.explored;
    this.entropies = Float32Array.from(raw.entropies, (value) => (value === null ? NaN : value * units.entropy));
    this.#nth = new Map(raw.explored.map((step, n) => [step, n]));
    this.#starts = Array.isArray(raw.counts) ? starts(raw.counts) : null;
  }

  text(step) { return this.#raw.texts[step]; }
  token(step) { return this.#raw.tokens[step]; }
  isExplored(step) { return this.#nth.has(step); }

  /** What a step without text is called: a control token, a tag; undefined where its text is only held back. */
  nameOf(step) { return this.#raw.names[step]; }

  /** The entropy of a step, or null. */
  entropy(step) {
    const value = this.entropies[step];
    return Number.isNaN(value) ? null : value;
  }

  /** Its shade: 0 for none, else 1 to LEVELS. */
  level(step) {
    const share = this.entropies[step] / this.top;
    return share >= 0.02 ? Math.min(LEVELS, Math.ceil(share * LEVELS)) : 0;
  }

  mode(step) {
    return this.#raw.modes.findLast(([from]) => from <= step)?.[1] ?? null;
  }

  /** What kept a step a certain one, or null. */
  keptBy(step) { return this.#raw.kept[step] ?? null; }

  /** The token that was drawn. */
  drawn(step) { return this.#raw.drawn[step] ?? this.token(step); }

  /** The next exploration step in a direction (1 or -1), or null. */
  nextExplored(step, direction) {
    const found = direction > 0
      ? this.explored.find((other) => other > step)
      : this.explored.findLast((other) => other < step);
    return found ?? null;
  }

  /** The candidates of a step, and other rows that it fed: token, probability or null, weight or null. */
  candidates(step) {
    const { counts, ids, probabilities } = this.#raw;
    const from = this.#starts ? this.#starts[step] : step * counts;
    const to = this.#starts ? this.#starts[step + 1] : from + counts;
    const fed = this.#fed(step);
    const list = [];
    for (let i = from; i < to; i++) {
      const weight = this.#weight(fed?.weights[i - from] ?? null);
      list.push({ token: ids[i], probability: probabilities[i] * this.#units.probability, weight });
    }
    const others = (fed?.others ?? [])
      .map(([token, weight]) => ({ token, probability: null, weight: this.#weight(weight) }));
    return [...list, ...others];
  }

  #fed(step) { return this.#raw.fed[this.#nth.get(step)] ?? null; }

  #weight(value) { return value === null ? null : value * this.#units.weight; }

  /** Whether the trace says what an exploration step fed. */
  isRecorded(step) { return this.#fed(step) !== null; }

  /** How many of the rows that were fed are not shown, and their weight; or null. */
  restFed(step) {
    const rest = this.#fed(step)?.rest;
    return rest ? { count: rest[0], weight: this.#weight(rest[1]) } : null;
  }

  /** How many candidates are not shown, and their probability; or null. */
  rest(step) {
    const found = this.#raw.rest[step];
    return found ? { count: found[0], probability: found[1] * this.#units.probability } : null;
  }

  /** What a token spells, as shown. */
  spelled(token) {
    const piece = this.#raw.pieces[token];
    if (piece === undefined) return `token ${token}`;
    if (typeof piece === "string") return visible(piece) || "(no text)";
    return piece[0] === "bytes" ? `‹${piece[1]}›` : piece[1];
  }

  /** Whether a token's text is known. */
  knows(token) { return this.#raw.pieces[token] !== undefined; }
}

/** Where each list begins when lists of these lengths stand in a row, and where the last one ends. */
function starts(counts) {
  const found = new Int32Array(counts.length + 1);
  counts.forEach((count, i) => { found[i + 1] = found[i] + count; });
  return found;
}

/** Where the traces of a group part from each other. */
class Partings {
  #pairs = new Map();
  #steps = new Map(); // by trace

  constructor(group, traces) {
    for (const place of group.traces) this.#steps.set(traces[place], new Set());
    for (const [a, b, step] of group.partings) {
      for (const [one, other] of [[a, b], [b, a]]) {
        this.#pairs.set(`${one} ${other}`, step);
        if (step !== null) this.#steps.get(traces[one]).add(step);
      }
    }
  }

  /** The steps at which a trace parts from another one. */
  of(trace) { return this.#steps.get(trace); }

  /** Whether two traces agree before this step. */
  agree(one, other, step) {
    const parting = this.#pairs.get(`${one.place} ${other.place}`);
    return parting === null || step <= parting;
  }
}
