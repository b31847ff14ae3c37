// What a step was: its token, its entropy, the candidates, and what was fed.

/** The parts of the panel for steps, `{trace, step}`, the first being the one that is looked at. */
function panelParts(shown, partings) {
  return shown.map(({ trace, step }) => stepPart(trace, step, partings.of(trace).has(step)));
}

function stepPart(trace, step, parts) {
  const token = trace.token(step);
  const explored = trace.isExplored(step);
  const text = trace.text(step);
  const spelled = trace.knows(token) || !text ? trace.spelled(token) : visible(text);
  const part = make("section", { class: "step", "aria-label": `${trace.letter}, step ${step}` },
    make("h3", {}, make("span", { class: "letter" }, trace.letter), ` step ${counted(step)} `,
      make("span", { class: "small" }, `of ${counted(trace.length)}, counted from 0`)),
    make("p", { class: "token" }, spelled),
    make("p", { class: "small" }, `token ${token}${drawnText(trace, step)}${heldText(trace, step)}`),
    make("p", { class: explored ? "kind x" : "kind" }, explored
      ? "Exploration step: the model was fed a mix instead of it."
      : "Certain step: the model was fed this token."),
    make("p", {}, entropyText(trace, step)),
  );
  if (parts) part.append(make("p", { class: "kind" }, "≠ The traces part here."));
  const kept = trace.keptBy(step);
  if (kept) part.append(make("p", { class: "small" }, `It stayed a certain step because of: ${kept}.`));
  part.append(...candidatesPart(trace, step));
  return part;
}

/** The token that was drawn, where another one is shown. */
function drawnText(trace, step) {
  const drawn = trace.drawn(step);
  return drawn === trace.token(step) ? "" : ` · drawn: ${trace.spelled(drawn)} (${drawn})`;
}

/** What the step added to the text, where that is not the token itself. */
function heldText(trace, step) {
  const text = trace.text(step);
  if (text) return visible(text) === trace.spelled(trace.token(step)) || !trace.knows(trace.token(step))
    ? "" : ` · added “${visible(text)}”`;
  const held = trace.nameOf(step) === undefined && trace.knows(trace.token(step));
  return held ? " · its text was held back" : " · adds no text";
}

function entropyText(trace, step) {
  const entropy = trace.entropy(step);
  const facts = [entropy === null ? "no entropy" : `entropy ${entropy.toFixed(3)}${trace.nats ? " nats" : ""}`];
  if (entropy !== null && trace.computed) facts.push("computed from the candidates: this method uses none");
  if (trace.mark && entropy !== null) facts.push(trace.mark.label);
  const mode = trace.mode(step);
  if (mode) facts.push(`mode ${mode}`);
  return facts.join(" · ");
}

const NOTHING_FED = "The text ended here: nothing was fed.";
const NOT_RECORDED = "The weights are not recorded: this is an older trace, or the input was no mix of tokens.";

function candidatesPart(trace, step) {
  const candidates = trace.candidates(step);
  const explored = trace.isExplored(step);
  const weighed = candidates.some(({ weight }) => weight !== null);
  const parts = [];
  if (candidates.length) parts.push(candidatesTable(trace, step, candidates, weighed));
  else parts.push(make("p", { class: "small" }, "The trace lists no candidates here."));
  const rest = trace.rest(step);
  if (rest) {
    parts.push(make("p", { class: "small" }, `and ${counted(rest.count)} more, together ${rest.probability.toFixed(4)}`));
  }
  const restFed = trace.restFed(step);
  if (restFed) {
    parts.push(make("p", { class: "small" }, `The mix has ${counted(restFed.count)} more rows, ` +
      `with weights of ${signed(restFed.weight, 4)} together.`));
  }
  if (explored && !weighed) {
    parts.push(make("p", { class: "small" }, trace.isRecorded(step) ? NOTHING_FED : NOT_RECORDED));
  }
  if (candidates.length && candidates.every(({ token }) => token !== trace.token(step))) {
    parts.push(make("p", { class: "small" }, "The token itself is none of the candidates listed."));
  }
  return parts;
}

function candidatesTable(trace, step, candidates, weighed) {
  const caption = weighed ? "Candidates, and their weights in the mix that was fed" : "Candidates";
  const heads = ["token", "probability", ...(weighed ? ["weight fed"] : [])];
  const most = Math.max(1, ...candidates.map(({ weight }) => Math.abs(weight ?? 0)));
  const rows = candidates.map(({ token, probability, weight }) => {
    const taken = token === trace.token(step);
    return make("tr", { class: taken ? "taken" : null },
      make("th", { scope: "row" },
        make("span", { class: "word" }, `${taken ? "▸ " : ""}${trace.spelled(token)}`),
        make("span", { class: "id" }, `${token}`)),
      make("td", {}, ...probabilityCell(probability)),
      weighed ? make("td", {}, ...weightCell(weight, most)) : null);
  });
  return make("table", { class: "candidates" }, make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...heads.map((head) => make("th", { scope: "col" }, head)))),
    make("tbody", {}, ...rows));
}

function probabilityCell(probability) {
  if (probability === null) return ["not listed"];
  const bar = make("span", { class: "bar", "aria-hidden": "true" });
  bar.style.inlineSize = `${(100 * Math.min(probability, 1)).toFixed(1)}%`;
  return [probability === 0 ? "0, filtered out" : probability.toFixed(4), bar];
}

/** most: the largest absolute weight, which fills two thirds of the scale on the right, or the third on the left. */
function weightCell(weight, most) {
  if (weight === null) return ["–"];
  const bar = make("span", { class: weight < 0 ? "weight minus" : "weight" });
  const share = (100 * Math.abs(weight)) / most;
  bar.style.inlineSize = `${(share * (weight < 0 ? 1 / 3 : 2 / 3)).toFixed(1)}%`;
  bar.style.insetInlineStart = `${(weight < 0 ? (100 - share) / 3 : 100 / 3).toFixed(1)}%`;
  return [signed(weight, 3), make("span", { class: "scale", "aria-hidden": "true" }, bar)];
}

/** The same in one sentence, for those who hear it. */
function spoken(trace, step) {
  const candidates = trace.candidates(step).slice(0, 3)
    .map(({ token, probability }) => `${trace.spelled(token)} ${probability === null ? "" : probability.toFixed(2)}`);
  const entropy = trace.entropy(step);
  return [`${trace.letter}, step ${step}: ${trace.spelled(trace.token(step))}`,
    entropy === null ? "no entropy" : `entropy ${entropy.toFixed(2)}`,
    trace.isExplored(step) ? "exploration step" : "certain step",
    `candidates ${candidates.join(", ")}`].join("; ");
}
