// The dialog with the stored chats.

import { drop, listed } from "./chats.js";
import { make } from "./dom.js";

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
    const date = make("span", { class: "small" }, new Date(saved).toLocaleString());
    const open = make("button", { type: "button", class: "chat-title" }, make("span", {}, title), date);
    open.addEventListener("click", () => {
      this.#dialog.close();
      this.#tell("open", id);
    });
    const remove = make("button", { type: "button", class: "quiet", "aria-label": `Delete the chat: ${title}` });
    remove.textContent = "Delete";
    remove.addEventListener("click", () => {
      drop(id);
      this.#tell("drop", id);
      this.#draw();
      this.#dialog.querySelector("button").focus(); // the one that had the focus is gone
    });
    return make("li", { class: id === this.#current ? "current" : "" }, open, remove);
  }

  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}
