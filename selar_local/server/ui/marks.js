// The marks of a token: its shade is the entropy of its step, its underline tells exploration.

import { explored, shadeOf } from "./answer.js";
import { make } from "./dom.js";

const LEVELS = 8;
const SIGNS = { " ": "␣", "\n": "⏎", "\r": "␍", "\t": "⇥" };
const BLANK = "·"; // any other white space

/** White space at the ends of a text, and line breaks and tabs anywhere, made visible; in a blank text all of it. */
export function visible(text) {
  const sign = (space) => SIGNS[space] ?? BLANK;
  return text.replace(/\S/.test(text) ? /^ | $|[\n\r\t]/g : /\s/g, sign);
}

/** The span of a piece of a unit's text. scale: the entropy of the darkest shade. more: the unit has a span before it. */
export function tokenSpan(text, unit, scale, more) {
  const shade = shadeOf(unit, scale);
  const level = shade === null ? 0 : Math.min(LEVELS, Math.ceil(shade * LEVELS - 0.5));
  const span = make("span", { class: `t${level > 0 ? ` e${level}` : ""}${explored(unit) ? " x" : ""}` });
  if (more) span.classList.add("more");
  span.unit = unit;
  return withText(span, text);
}

/** Cut a span in two after so many characters; returns the second part, which follows the first one in the page. */
export function cutSpan(span, length) {
  const rest = span.cloneNode(false);
  const text = span.textContent;
  rest.unit = span.unit;
  rest.classList.add("more");
  span.after(withText(rest, text.slice(length)));
  withText(span, text.slice(0, length));
  return rest;
}

/** The underline is seen below a space, but a line break has no width: where it explored, a sign shows it. */
function withText(span, text) {
  span.textContent = text;
  const breaks = span.classList.contains("x") && !/\S/.test(text) ? text.replace(/[^\n\r]/g, "") : "";
  if (breaks) span.dataset.sign = visible(breaks);
  else delete span.dataset.sign;
  return span;
}

/** The marks of some spans side by side, as a background image. Each has the share that its text has. */
export function stripe(spans) {
  const length = spans.reduce((sum, span) => sum + span.textContent.length, 0);
  let at = 0;
  const parts = spans.map((span) => {
    const from = at;
    at += span.textContent.length;
    return `${colour(span.classList)} ${percent(from / length)} ${percent(at / length)}`;
  });
  return `linear-gradient(to right, ${parts.join(", ")})`;
}

const percent = (share) => `${(100 * share).toFixed(2)}%`;

function colour(names) {
  if (names.contains("x")) return "var(--mark)";
  const level = [...names].find((name) => /^e\d$/.test(name));
  return level ? `var(--${level})` : "transparent";
}
