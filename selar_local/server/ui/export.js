// A chat as a file: Markdown to read, JSON to work with.

import { textOf, thinkingOf } from "./answer.js";
import { answerOf } from "./chats.js";
import { make } from "./dom.js";

/** Kinds of files by name: the ending, the type, and what makes the text of a chat {title, saved, turns}. */
export const KINDS = {
  Markdown: { ending: "md", type: "text/markdown", write: markdown },
  JSON: { ending: "json", type: "application/json", write: json },
};

/** The conversation as it is shown: of several answers the one that counts. */
function markdown({ title, turns }) {
  const parts = [`# ${title}`];
  for (const turn of turns) {
    if (turn.role === "user") {
      parts.push("## Question", turn.text);
      continue;
    }
    const answer = answerOf(turn);
    const thinking = thinkingOf(answer).trim();
    parts.push(`## Answer (${answer.label})`);
    if (thinking) parts.push(thinking.replace(/^/gm, "> ").replace(/ +$/gm, ""));
    parts.push(textOf(answer).trim() || "(no text)");
  }
  return `${parts.join("\n\n")}\n`;
}

/** Everything that the page keeps of the chat: all answers, with every step. */
function json({ title, saved, turns }) {
  const messages = turns.map((turn) => (turn.role === "user"
    ? { role: "user", content: turn.text }
    : { role: "assistant", shown: turn.shown, answers: turn.versions.map(described) }));
  return `${JSON.stringify({ title, saved: new Date(saved).toISOString(), messages }, null, 1)}\n`;
}

function described(answer) {
  const { method, label, seed, finish, error, tokens, explored, entropies, sum, unit, seconds, units } = answer;
  return {
    content: textOf(answer), reasoning_content: thinkingOf(answer), method, settings: label, seed,
    finish_reason: finish, error, tokens, explored_steps: explored, seconds,
    mean_entropy: entropies ? sum / entropies : null, entropy_unit: unit,
    pieces: units.map(({ t, k, s }) => ({ text: t, thinking: Boolean(k), steps: s.map(stepOf) })),
  };
}

function stepOf({ e, h, x, m, p, a, f, c }) {
  const candidates = a?.map(([text, probability]) => ({ text, probability }));
  const fed = f?.map(([text, weight]) => ({ text, weight }));
  return { entropy: e, shade: h, explored: Boolean(x), mode: m ?? null, probability: p, candidates, fed, kept: c };
}

/** Let the browser save the chat. kind: a name in KINDS. */
export function saveFile(chat, kind) {
  const { ending, type, write } = KINDS[kind];
  const url = URL.createObjectURL(new Blob([write(chat)], { type }));
  make("a", { href: url, download: `${fileName(chat.title)}.${ending}` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the download has begun by then
}

/** The title's letters and digits, with hyphens between. */
function fileName(title) {
  return title.match(/[\p{L}\p{N}]+/gu)?.join("-").slice(0, 60) ?? "chat";
}
