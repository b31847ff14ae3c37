// One answer as data: what was said, step by step. No DOM here; it is stored as it is.
//
// unit: {t: text, k: 1 for thinking, s: steps}. A step's text may come later than the step (half a character, what may
// be a tag), so a unit can hold several steps, and one step's text can be cut into thinking and answer.
// step: {e: entropy or null, h: where it is null, the entropy of the candidates from 0 to 1, x: 1 where it explored,
// m: mode, p: probability, a: [[text, probability], ...], f: what it fed, [[text, weight], ...], c: why it stayed a
// certain step although it would have explored}.

const ROWS = 5; // of what a step fed

/** A new, empty answer. unit: of its entropies, "normalised" or "nats". */
export function newAnswer(method, label, unit) {
  return {
    method, label, unit, units: [], finish: null, error: null,
    tokens: 0, explored: 0, entropies: 0, sum: 0, seconds: 0,
  };
}

/** Takes the chunks of a stream into an answer. */
export class Collector {
  #answer;
  #pending = [];
  #first = 0;

  constructor(answer) {
    this.#answer = answer;
  }

  /** Take one chunk; returns the units that are new. */
  take(chunk, now) {
    const answer = this.#answer;
    if (chunk.usage) {
      answer.prompt = chunk.usage.prompt_tokens;
      answer.cached = chunk.usage.prompt_tokens_details?.cached_tokens ?? 0;
    }
    const choice = chunk.choices?.[0];
    if (!choice) return [];
    if (choice.selar && "token" in choice.selar) this.#step(choice, now);
    if (choice.finish_reason) this.#finish(choice);
    return this.#units(choice.delta ?? {});
  }

  #step(choice, now) {
    const { entropy, explored, mode, shade, fed, kept } = choice.selar;
    const step = { e: entropy === null ? null : rounded(entropy) };
    if (entropy === null && typeof shade === "number") step.h = rounded(shade);
    if (explored) step.x = 1;
    if (mode) step.m = mode;
    if (fed?.length) step.f = fed.slice(0, ROWS).map(([, weight, text]) => [text, rounded(weight)]);
    if (kept) step.c = kept;
    const known = choice.logprobs?.content?.[0];
    if (known) {
      step.p = share(known.logprob);
      step.a = known.top_logprobs.map((other) => [other.token, share(other.logprob)]);
    }
    const answer = this.#answer;
    answer.tokens += 1;
    answer.explored += explored ? 1 : 0;
    if (entropy !== null) {
      answer.entropies += 1;
      answer.sum += entropy;
    }
    this.#first ||= now;
    answer.seconds = (now - this.#first) / 1000;
    this.#pending.push(step);
  }

  #finish(choice) {
    const answer = this.#answer;
    answer.finish = choice.finish_reason;
    if (choice.selar) {
      answer.seed = choice.selar.seed;
      answer.latent = choice.selar.latent_steps;
      if (typeof choice.selar.hint === "string") answer.hint = choice.selar.hint;
    }
  }

  #units(delta) {
    const units = [];
    if (delta.reasoning_content) units.push({ t: delta.reasoning_content, k: 1, s: this.#pending });
    if (delta.content) units.push({ t: delta.content, s: this.#pending });
    if (units.length) {
      this.#pending = [];
      this.#answer.units.push(...units);
    }
    return units;
  }
}

const rounded = (value) => Math.round(value * 1e4) / 1e4;
const share = (logprob) => rounded(Math.exp(logprob));

export const textOf = (answer) => answer.units.filter((unit) => !unit.k).map((unit) => unit.t).join("");
export const thinkingOf = (answer) => answer.units.filter((unit) => unit.k).map((unit) => unit.t).join("");

/** Whether any step of a unit explored. */
export const explored = (unit) => unit.s.some((step) => step.x);

/** How strongly a unit is shaded, from 0 to 1 and more: by the largest entropy of its steps; null where none is known. */
export function shadeOf(unit, scale) {
  const known = unit.s.map((step) => (step.e === null ? step.h : step.e / scale)).filter((shade) => shade !== undefined);
  return known.length ? Math.max(...known) : null;
}

/** The statistics as people read them. */
export function statistics(answer) {
  const parts = [`${answer.tokens} token${answer.tokens === 1 ? "" : "s"}`];
  if (answer.tokens > 1 && answer.seconds > 0) {
    parts.push(`${((answer.tokens - 1) / answer.seconds).toFixed(1)} tokens/s`);
  }
  if (answer.entropies || answer.explored) {
    parts.push(`${percent(answer.tokens ? answer.explored / answer.tokens : 0)} exploration steps`);
  }
  if (answer.entropies) {
    const unit = answer.unit === "normalised" ? "" : ` ${answer.unit}`;
    parts.push(`mean entropy ${(answer.sum / answer.entropies).toFixed(3)}${unit}`);
  }
  if (answer.latent) parts.push(`${answer.latent} latent steps`);
  if (answer.prompt) parts.push(`prompt ${answer.prompt} tokens${answer.cached ? ` (${answer.cached} cached)` : ""}`);
  if (answer.seed !== undefined) parts.push(`seed ${answer.seed}`);
  return [...parts, answer.label].join(" · ");
}

export const percent = (part) => `${(100 * part).toFixed(1)} %`;

const ENDINGS = {
  length: "It was cut off: the length limit, or the end of the context, was reached.",
  cancelled: "The server was stopped meanwhile.",
  stopped: "Stopped.",
};

/** Why an answer ended, where that is worth a line. */
export function ending(answer) {
  if (answer.error) return answer.error;
  if (answer.finish === null) return "It was not finished: the page was left meanwhile.";
  if (answer.finish === "stop" && !answer.units.length) return "The model ended the text at once.";
  return ENDINGS[answer.finish] ?? "";
}
