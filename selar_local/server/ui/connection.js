// Whether the server is there. When it is lost it is asked again, at first soon, then less often.

import { healthy, offered, Unreachable } from "./api.js";

const FIRST = 500; // ms until the first new try; doubled each time
const LAST = 8000;
const HEARTBEAT = 15000;

const TEXTS = {
  connecting: "connecting …",
  ready: "ready",
  locked: "needs a key",
  closing: "the server is closing",
  lost: "no connection, trying again",
};

/** state: a key of TEXTS. Changes are events: "state" (detail: the state) and "offer" (what is offered). */
export class Connection extends EventTarget {
  state = "connecting";
  #timer = null;
  #wait = FIRST;
  #checking = null;

  constructor() {
    super();
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.check(); });
    window.addEventListener("online", () => this.check());
  }

  get text() {
    return TEXTS[this.state];
  }

  /** Ask now. Several calls at once are one. */
  check() {
    this.#checking ??= this.#check().finally(() => {
      this.#checking = null;
      this.#plan();
    });
    return this.#checking;
  }

  /** Ask after what is being asked: with another key the answer is another. */
  async checkAgain() {
    await this.#checking?.catch(() => {});
    await this.check();
  }

  /** A request has failed: the server may be gone. */
  lose() {
    if (this.state !== "lost") this.#wait = FIRST;
    this.#enter("lost");
    this.#plan();
  }

  /** A request was refused for want of a key. */
  lock() {
    this.#enter("locked");
    this.#plan();
  }

  async #check() {
    try {
      if (!(await healthy())) return this.#enter("closing");
      if (this.state === "ready") return undefined;
      const offer = await offered();
      this.dispatchEvent(new CustomEvent("offer", { detail: offer }));
      return this.#enter("ready");
    } catch (error) {
      if (error.status === 401) return this.#enter("locked");
      if (!(error instanceof Unreachable) && error.status === undefined) throw error;
      return this.#enter("lost");
    }
  }

  #enter(state) {
    if (state === "ready" || state === "locked") this.#wait = FIRST;
    if (state === this.state) return;
    this.state = state;
    this.dispatchEvent(new CustomEvent("state", { detail: state }));
  }

  #plan() {
    clearTimeout(this.#timer);
    if (this.state === "locked") return; // it is the person's turn
    if (this.state === "ready") {
      this.#timer = setTimeout(() => { if (document.hidden) this.#plan(); else this.check(); }, HEARTBEAT);
      return;
    }
    this.#timer = setTimeout(() => this.check(), this.#wait * (0.8 + 0.4 * Math.random()));
    this.#wait = Math.min(LAST, 2 * this.#wait);
  }
}
