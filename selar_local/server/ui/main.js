// The chat page: ties conversation, settings and connection together.

import { ApiError, chat as chatStream, Unreachable } from "./api.js";
import { Collector, newAnswer, percent, textOf } from "./answer.js";
import { ChatList } from "./chat-list.js";
import { answerOf, currentChat, load, messagesOf, newChat, onChange, rememberOpen, save } from "./chats.js";
import { Connection } from "./connection.js";
import { showConnection } from "./connection-view.js";
import { ConversationView } from "./conversation.js";
import { announce, byId, copyPlainly, Frame } from "./dom.js";
import { onTypeset } from "./formula.js";
import { Inspector } from "./inspect.js";
import { Settings } from "./settings.js";

const SAVE_EVERY = 3000; // ms, while an answer grows

const connection = new Connection();
const settings = new Settings(byId("settings"));
const conversation = new ConversationView(byId("log"), byId("newest"));
const inspector = new Inspector(byId("log"), byId("tip"));
const chatList = new ChatList(byId("chats"));
const input = byId("input");

let chat = currentChat();
let running = null; // {controller, answer, chat}
let editing = false;
let arrived = []; // units that wait for the next frame
let saved = 0;

const frame = new Frame(() => {
  const units = arrived;
  arrived = [];
  conversation.grow(units);
});

// ---- asking

function send() {
  const text = input.value.trim();
  if (!text || running) return;
  if (editing) removeLastExchange();
  chat.turns.push({ role: "user", text: input.value.trimEnd() });
  input.value = "";
  stopEditing();
  resize();
  ask();
}

/** Ask for an answer to the last question; one that is there already stays as another version. */
async function ask() {
  if (running || !chat.turns.length) return;
  if (chat.turns.at(-1).role === "user") chat.turns.push({ role: "assistant", versions: [], shown: 0 });
  const { name, entropy_unit: unit } = settings.method;
  const turn = chat.turns.at(-1);
  const answer = newAnswer(name, settings.label, unit);
  turn.versions = [...turn.versions.filter((version) => version.units.length), answer];
  turn.shown = turn.versions.length - 1;
  running = { controller: new AbortController(), answer, chat };
  conversation.draw(chat, firstToDraw(), true);
  keep(chat);
  busy();
  announce("The model answers.");
  const messages = messagesOf(chat.turns.slice(0, -1), settings.system);
  await receive({ ...settings.request(), messages, stream: true, stream_options: { include_usage: true } });
  end();
}

/** The last exchange, and one before it that has no answer: the page tells so only now. */
function firstToDraw() {
  const last = chat.turns.length - 2;
  const before = chat.turns[last - 1];
  return before?.role === "assistant" && !textOf(answerOf(before)) ? last - 2 : last;
}

/** Take the stream into the answer; whatever goes wrong is shown there. */
async function receive(body) {
  const { controller, answer, chat: asked } = running;
  const collector = new Collector(answer);
  try {
    for await (const chunks of chatStream(body, controller.signal)) {
      const now = performance.now();
      for (const chunk of chunks) arrived.push(...collector.take(chunk, now));
      if (asked === chat) frame.request();
      if (now - saved > SAVE_EVERY) keep(asked);
    }
    answer.finish ??= "stop";
  } catch (error) {
    if (controller.signal.aborted) answer.finish = "stopped";
    else fail(answer, error);
  }
}

function fail(answer, error) {
  answer.finish = "error";
  answer.error = error.message;
  if (error instanceof Unreachable) {
    connection.lose();
  } else if (error instanceof ApiError) {
    if (error.status === 401) connection.lock();
    if (error.status === 503) connection.check();
    if (error.status === 429) answer.error += ": try again in a moment";
    if (settings.point(error.param, error.message) && window.innerWidth > 900) showSettings(true, false);
  } else {
    answer.error = "The page could not read the server's answer.";
    console.error(error);
  }
}

function end() {
  const { answer, chat: asked } = running;
  running = null;
  if (asked === chat) {
    frame.flush();
    conversation.finish();
    const share = answer.tokens ? `, ${percent(answer.explored / answer.tokens)} exploration steps` : "";
    announce(answer.error ?? `The answer has ended: ${answer.tokens} tokens${share}.`);
  }
  arrived = [];
  keep(asked);
  busy();
}

function stop() {
  running?.controller.abort();
}

function busy() {
  const focused = document.activeElement === byId("send") || document.activeElement === byId("stop");
  byId("send").hidden = running !== null;
  byId("stop").hidden = running === null;
  byId("log").classList.toggle("busy", running !== null);
  if (focused) input.focus();
}

/** Store a chat, unless it was deleted meanwhile. */
function keep(which) {
  saved = performance.now();
  if (!which.turns.length || which.deleted) return;
  byId("not-kept").hidden = save(which);
}

// ---- turns

function removeLastExchange() {
  const index = chat.turns.findLastIndex((turn) => turn.role === "user");
  chat.turns.length = index;
  conversation.draw(chat, index);
}

function edit() {
  const turn = chat.turns.findLast(({ role }) => role === "user");
  if (!turn || running) return;
  editing = true;
  byId("editing").hidden = false;
  input.value = turn.text;
  resize();
  input.focus();
}

function stopEditing() {
  editing = false;
  byId("editing").hidden = true;
}

function cancelEdit() {
  stopEditing();
  input.value = "";
  resize();
  input.focus();
}

function openChat(next) {
  stop();
  arrived = [];
  if (editing) cancelEdit();
  chat = next;
  rememberOpen(chat);
  conversation.draw(chat);
  focusInput();
}

function resize() {
  input.style.blockSize = "auto";
  input.style.blockSize = `${input.scrollHeight + 2}px`;
}

/** Another tab has this chat open as well. */
function changedElsewhere() {
  const stored = load(chat.id);
  if (running || editing || !stored) return;
  chat = stored;
  conversation.draw(chat);
}

function focusInput() {
  if (matchMedia("(pointer: fine)").matches) input.focus(); // elsewhere it would bring up the keyboard
}

// ---- panels

function showSettings(open, focus = true) {
  const button = byId("toggle-settings");
  byId("settings").hidden = !open;
  button.setAttribute("aria-expanded", String(open));
  if (!focus) return;
  const panel = byId("settings");
  if (open) (panel.querySelector("select") ?? panel.querySelector("button"))?.focus();
  else button.focus();
}


// ---- keys

function onKey(event) {
  if (event.key !== "Escape" || event.defaultPrevented || byId("chats").open) return;
  if (running) stop();
  else if (inspector.open) inspector.close();
  else if (editing) cancelEdit();
  else if (!byId("settings").hidden) showSettings(false);
}

function onInputKey(event) {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    send();
  } else if (event.key === "ArrowUp" && input.value === "" && !editing) {
    event.preventDefault();
    edit();
  }
}

// ---- wiring

const clicks = {
  "open-chats": () => chatList.show(chat.id), "new-chat": () => openChat(newChat()),
  "toggle-settings": () => showSettings(byId("settings").hidden), "cancel-edit": cancelEdit, stop,
};
for (const [id, action] of Object.entries(clicks)) byId(id).addEventListener("click", action);
byId("settings").addEventListener("click", ({ target }) => {
  if (target.id === "close-settings") showSettings(false);
});
byId("composer").addEventListener("submit", (event) => { event.preventDefault(); send(); });
showConnection(connection, (taken) => {
  settings.draw();
  (taken ? input : byId("key")).focus();
});
input.addEventListener("keydown", onInputKey);
input.addEventListener("input", resize);
document.addEventListener("keydown", onKey);
document.addEventListener("copy", copyPlainly);
window.addEventListener("pagehide", () => { if (running) keep(running.chat); });
conversation.addEventListener("again", ask);
conversation.addEventListener("edit", edit);
chatList.addEventListener("open", ({ detail }) => { if (detail !== chat.id) openChat(load(detail) ?? newChat()); });
chatList.addEventListener("drop", ({ detail }) => {
  if (detail !== chat.id) return;
  chat.deleted = true;
  openChat(newChat());
});
conversation.addEventListener("version", () => keep(chat));
onChange(() => chat.id, changedElsewhere);

function showAsSet() {
  document.body.classList.toggle("no-marks", !settings.marks);
  document.body.classList.toggle("no-formulas", !settings.formulas);
}
settings.addEventListener("change", showAsSet);
onTypeset(() => conversation.follow());
connection.addEventListener("offer", ({ detail }) => {
  byId("model").textContent = detail.model;
  document.title = `${detail.model} - selar-local`;
  settings.setOffer(detail);
});

showAsSet();
settings.draw();
conversation.draw(chat);
connection.check();
focusInput();
