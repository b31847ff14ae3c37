// The conversation on the page: an article for each turn, with what can be done about it.

import { textOf, thinkingOf } from "./answer.js";
import { AnswerView } from "./answer-view.js";
import { answerOf } from "./chats.js";
import { copyButton, make } from "./dom.js";

const SETTLE = 300; // ms that scrolling by the wheel or a key takes
const NEAR = 60; // px from the end that count as "at the end"

export class ConversationView extends EventTarget {
  #log;
  #newest;
  #follow = true;
  #lookedBack = -Infinity;
  #current = null;

  /** log: scrolls; newest: the button that leads to the end. Events: "again" and "edit", of the last turns. */
  constructor(log, newest) {
    super();
    this.#log = log;
    this.#newest = newest;
    log.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    log.addEventListener("wheel", (event) => { if (event.deltaY < 0) this.#lookBack(); }, { passive: true });
    log.addEventListener("keydown", (event) => { if (["PageUp", "Home"].includes(event.key)) this.#lookBack(); });
    newest.addEventListener("click", () => this.toEnd());
  }

  /** Draw a chat; the turns before `from` stay as they are. running: its last answer still grows. */
  draw(chat, from = 0, running = false) {
    this.#current = null;
    while (this.#log.children.length > from) this.#log.lastChild.remove();
    this.#log.querySelectorAll("[data-last]").forEach((button) => button.remove());
    chat.turns.slice(from).forEach((turn, i) => {
      const index = from + i;
      this.#log.append(this.#turn(turn, index, chat, running && index === chat.turns.length - 1));
    });
    if (!this.#log.children.length) this.#log.append(welcome());
    this.toEnd();
  }

  /** Append units to the answer that grows. */
  grow(units) {
    this.#current?.add(units);
    this.follow();
  }

  /** Texts have become longer or shorter: the end stays in sight, unless one has looked elsewhere. */
  follow() {
    if (this.#follow) this.#log.scrollTop = this.#log.scrollHeight;
  }

  /** The answer that grew has ended. */
  finish() {
    this.#current?.finish();
    this.#current?.showActions();
    this.#current = null;
    this.follow();
  }

  /** Go to the end, and follow it from now on. */
  toEnd() {
    this.#follow = true;
    this.#newest.hidden = true;
    this.#log.scrollTop = this.#log.scrollHeight;
  }

  /** Scrolling up begins slowly, and following the text would end it at once. */
  #lookBack() {
    this.#follow = false;
    this.#lookedBack = performance.now();
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#log;
    const settled = performance.now() - this.#lookedBack > SETTLE;
    this.#follow = settled && scrollHeight - scrollTop - clientHeight < NEAR;
    this.#newest.hidden = this.#follow;
  }

  #turn(turn, index, chat, running) {
    return turn.role === "user" ? this.#question(turn, index, chat) : this.#reply(turn, index, chat, running);
  }

  #question(turn, index, chat) {
    const last = index >= chat.turns.length - 2;
    const unanswered = index < chat.turns.length - 2 && !this.#answered(chat, index);
    return make("article", { class: "turn user", "aria-label": "You" },
      make("div", { class: "said" }, turn.text),
      unanswered ? make("p", { class: "small" }, "not part of the conversation: it has no answer") : null,
      make("div", { class: "actions" },
        copyButton("Copy", () => turn.text),
        last ? this.#action("Edit", "edit") : null,
        index === chat.turns.length - 1 ? this.#action("Ask again", "again") : null));
  }

  #answered(chat, index) {
    const answer = chat.turns[index + 1];
    return answer?.role === "assistant" && textOf(answerOf(answer)) !== "";
  }

  #reply(turn, index, chat, running) {
    const answer = answerOf(turn);
    const view = new AnswerView(answer);
    const actions = make("div", { class: "actions" });
    view.showActions = () => actions.append(...this.#replyActions(turn, index, chat));
    if (running) {
      this.#current = view;
    } else {
      view.finish();
      view.showActions();
    }
    const parts = [view.element, view.note, view.hint, view.stats, actions];
    return make("article", { class: "turn assistant", "aria-label": "Model" }, ...parts);
  }

  #replyActions(turn, index, chat) {
    const answer = answerOf(turn);
    const actions = [copyButton("Copy", () => textOf(answer) || thinkingOf(answer))];
    if (index < chat.turns.length - 1) return actions;
    actions.push(this.#action(answer.error ? "Try again" : "Regenerate", "again"));
    return turn.versions.length > 1 ? [...actions, ...this.#versions(turn, index, chat)] : actions;
  }

  #action(label, event) {
    const onclick = () => this.dispatchEvent(new Event(event));
    return make("button", { type: "button", class: "quiet", "data-action": event, "data-last": "", onclick }, label);
  }

  /** The answers to the last question so far. The one that is shown is the one that counts. */
  #versions(turn, index, chat) {
    const go = (to) => () => {
      turn.shown = to;
      this.draw(chat, index - 1);
      this.dispatchEvent(new Event("version"));
      this.#log.querySelector("[data-action=again]")?.focus();
    };
    const { shown, versions } = turn;
    const step = (label, text, to) => make("button", {
      type: "button", class: "quiet", "aria-label": label, onclick: go(to), disabled: !versions[to], "data-last": "",
    }, text);
    const place = make("span", { class: "small", "data-last": "" }, `answer ${shown + 1} of ${versions.length}`);
    return [step("previous answer", "‹", shown - 1), place, step("next answer", "›", shown + 1)];
  }
}

function welcome() {
  return make("div", { class: "welcome" },
    make("p", {}, "Ask something. The stronger the shade of a token, the higher the entropy of its step."),
    make("p", {}, make("span", { class: "x" }, "Underlined"), " tokens are exploration steps: the model is fed a mix " +
      "of candidates there, not the token you read. Point at a token, or go to it by the arrow keys, to see what it " +
      "hesitated between."));
}
