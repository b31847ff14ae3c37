// The conversations, kept in this browser. A tab has one open; a new tab goes on with the newest.
//
// chat: {id, saved, turns}; turn: {role: "user", text} or {role: "assistant", versions: [answer, ...], shown: index}.

import { textOf, thinkingOf } from "./answer.js";
import { lasting, ofTab, storageKey } from "./memory.js";

const LIST = "chats";
const MOST = 30;
const TITLE = 300; // characters; what does not fit in a line is cut there

const keyOf = (id) => `chat.${id}`;

export function newChat() {
  const id = Date.now().toString(36) + Math.random().toString(36).slice(2, 8);
  return { id, saved: 0, turns: [] };
}

export const answerOf = (turn) => turn.versions[turn.shown];

/** [{id, title, named: whether the title was given, saved}, ...], the newest first. */
export function listed() {
  const list = lasting.get(LIST, []);
  const sound = Array.isArray(list) ? list.filter((entry) => typeof entry?.id === "string") : [];
  return sound.sort((a, b) => b.saved - a.saved);
}

/** The tab's chat: the one it had, else the newest, else a new one. */
export function currentChat() {
  const id = ofTab.get("chat") ?? listed()[0]?.id;
  const chat = (id && load(id)) || newChat();
  rememberOpen(chat);
  return chat;
}

/** The tab has this chat open. */
export const rememberOpen = (chat) => ofTab.set("chat", chat.id);

/** A stored chat; null where there is none, or nothing that can be read. */
export function load(id) {
  const chat = lasting.get(keyOf(id));
  if (!chat || !Array.isArray(chat.turns)) return null;
  return { id, saved: Number(chat.saved) || 0, turns: chat.turns.filter(isTurn) };
}

function isTurn(turn) {
  if (turn?.role === "user") return typeof turn.text === "string";
  const shown = turn?.role === "assistant" && Array.isArray(turn.versions) && turn.versions[turn.shown];
  return Boolean(shown) && turn.versions.every((answer) => Array.isArray(answer?.units) && answer.units.every(isUnit));
}

const isUnit = (unit) => typeof unit?.t === "string" && Array.isArray(unit.s);

/** Keep the chat. Old chats make room; then the steps of earlier answers. False: it is too large to be kept. */
export function save(chat) {
  chat.saved = Date.now();
  const others = listed().filter((entry) => entry.id !== chat.id);
  while (others.length >= MOST) forget(others.pop().id);
  let kept = lasting.set(keyOf(chat.id), chat);
  while (!kept && others.length) {
    forget(others.pop().id);
    kept = lasting.set(keyOf(chat.id), chat);
  }
  kept ||= lasting.set(keyOf(chat.id), slim(chat));
  return remember(chat, others) && kept;
}

function remember(chat, others) {
  const known = listed().find((entry) => entry.id === chat.id);
  const title = known?.named ? known.title : titleOf(chat);
  return lasting.set(LIST, [{ id: chat.id, title, named: Boolean(known?.named), saved: chat.saved }, ...others]);
}

/** Give a chat a title; an empty one makes it the first question again. */
export function rename(id, title) {
  const given = oneLine(title);
  const named = given !== "";
  const entry = (old) => ({ ...old, named, title: named ? given : titleOf(load(id) ?? newChat()) });
  lasting.set(LIST, listed().map((old) => (old.id === id ? entry(old) : old)));
}

function forget(id) {
  lasting.remove(keyOf(id));
}

/** Delete a chat. */
export function drop(id) {
  forget(id);
  lasting.set(LIST, listed().filter((entry) => entry.id !== id));
}

/** The chat without the facts of its steps; the last answer keeps them. */
function slim(chat) {
  const last = chat.turns.findLast((turn) => turn.role === "assistant");
  const bare = (turn) => ({ ...turn, versions: turn.versions.map((answer) => ({ ...answer, units: texts(answer) })) });
  return { ...chat, turns: chat.turns.map((turn) => (turn.role === "user" || turn === last ? turn : bare(turn))) };
}

/** Thinking and answer as a unit each. */
function texts(answer) {
  const units = [{ t: thinkingOf(answer), k: 1, s: [] }, { t: textOf(answer), s: [] }];
  return units.filter((unit) => unit.t);
}

function titleOf(chat) {
  return oneLine(chat.turns.find((turn) => turn.role === "user")?.text ?? "") || "Empty chat";
}

function oneLine(text) {
  const words = text.trim().replace(/\s+/g, " ");
  return words.length > TITLE ? `${words.slice(0, TITLE - 1)}…` : words;
}

/** Calls `then` when another tab has changed this chat. */
export function onChange(id, then) {
  window.addEventListener("storage", (event) => { if (event.key === storageKey(keyOf(id()))) then(); });
}

/** The messages for some turns, of which the last is the question; earlier questions without an answer are left out. */
export function messagesOf(turns, system) {
  const messages = system ? [{ role: "system", content: system }] : [];
  turns.forEach((turn, i) => {
    if (turn.role !== "user") return;
    const next = turns[i + 1];
    const answer = next?.role === "assistant" ? textOf(answerOf(next)) : "";
    if (answer || !next) messages.push({ role: "user", content: turn.text });
    if (answer) messages.push({ role: "assistant", content: answer });
  });
  return messages;
}
