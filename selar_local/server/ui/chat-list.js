// The dialog with the stored chats.

import { drop, listed, load, rename } from "./chats.js";
import { make } from "./dom.js";
import { KINDS, saveFile } from "./export.js";

const SHORT = [undefined, { dateStyle: "short", timeStyle: "short" }];

/** Events "open" and "drop"; their detail is the chat's id. */
export class ChatList extends EventTarget {
  #dialog;
  #list;
  #current = null;

  constructor(dialog) {
    super();
    this.#dialog = dialog;
    this.#list = dialog.querySelector("ul");
    dialog.querySelector("#close-chats").addEventListener("click", () => dialog.close());
  }

  /** Open it. current: the id of the chat that is shown. */
  show(current) {
    this.#current = current;
    this.#draw();
    this.#dialog.showModal();
  }

  #draw() {
    const items = listed().map((entry) => this.#item(entry));
    this.#list.replaceChildren(...(items.length ? items : [make("li", { class: "small" }, "There is none yet.")]));
  }

  #item({ id, title, saved }) {
    const open = make("button", { type: "button", class: "chat-title", title }, title);
    open.addEventListener("click", () => {
      this.#dialog.close();
      this.#tell("open", id);
    });
    const action = (label, meaning, onclick) => make("button", {
      type: "button", class: "quiet", title: meaning, "aria-label": `${meaning}: ${title}`, onclick,
    }, label);
    const files = Object.keys(KINDS).map((kind) =>
      action(`↓ ${kind}`, `Save the chat as ${kind}`, () => saveFile({ ...load(id), title }, kind)));
    const actions = make("div", { class: "chat-actions" },
      make("span", { class: "small" }, new Date(saved).toLocaleString(...SHORT)),
      action("Rename", "Rename the chat", () => this.#rename(item, id, title)),
      ...files, action("Delete", "Delete the chat", () => this.#delete(id)));
    const item = make("li", { class: id === this.#current ? "current" : "" }, open, actions);
    item.dataset.chat = id;
    return item;
  }

  /** The title becomes a field: Enter and leaving it keep what is written, Escape does not. */
  #rename(item, id, title) {
    const field = make("input", { type: "text", value: title, maxLength: 300, "aria-label": "Title of the chat" });
    let done = false;
    const end = (keep) => {
      if (done) return; // the redrawing takes the focus away, too
      done = true;
      if (keep && field.value.trim() !== title) rename(id, field.value);
      this.#draw();
      this.#list.querySelector(`[data-chat="${CSS.escape(id)}"] .chat-actions button`)?.focus();
    };
    field.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== "Escape") return;
      event.preventDefault(); // Escape would close the dialog
      end(event.key === "Enter");
    });
    field.addEventListener("blur", () => end(true));
    item.replaceChildren(field);
    field.select();
    field.focus();
  }

  #delete(id) {
    drop(id);
    this.#tell("drop", id);
    this.#draw();
    this.#dialog.querySelector("button").focus(); // the one that had the focus is gone
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
