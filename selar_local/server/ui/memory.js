// What is kept in the browser. Where it keeps nothing (private windows, full disks), memory serves until the reload.

const PREFIX = "selar-local.";

/** localStorage or sessionStorage with a fallback; values are JSON. */
class Memory {
  #store;
  #own = new Map();

  constructor(name) {
    try {
      this.#store = window[name];
      this.#store.getItem(PREFIX); // some browsers refuse only here
    } catch {
      this.#store = null;
    }
  }

  get(key, otherwise = null) {
    try {
      const text = this.#own.get(key) ?? this.#store?.getItem(PREFIX + key);
      return text === null || text === undefined ? otherwise : JSON.parse(text);
    } catch {
      return otherwise;
    }
  }

  /** True where it will be there after a reload. */
  set(key, value) {
    const text = JSON.stringify(value);
    try {
      this.#store.setItem(PREFIX + key, text);
      this.#own.delete(key);
      return true;
    } catch {
      this.#own.set(key, text);
      return false;
    }
  }

  remove(key) {
    this.#own.delete(key);
    try {
      this.#store.removeItem(PREFIX + key);
    } catch { /* nothing was kept */ }
  }
}

export const lasting = new Memory("localStorage");
export const ofTab = new Memory("sessionStorage");

export const storageKey = (key) => PREFIX + key;
