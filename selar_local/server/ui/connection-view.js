// The line about the connection at the top of the page, and the form for the API key.

import { apiKey } from "./api.js";
import { byId } from "./dom.js";

/** Show the connection's states from now on. keyGiven: called after a try with a key; true: the server takes it. */
export function showConnection(connection, keyGiven) {
  connection.addEventListener("state", () => showState(connection));
  byId("retry").addEventListener("click", () => connection.check());
  byId("key-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    keyGiven(await tryKey(connection));
  });
}

function showState({ state, text }) {
  byId("status").dataset.state = state;
  byId("status-text").textContent = text;
  byId("retry").hidden = state !== "lost";
  const form = byId("key-form");
  if (form.hidden === (state === "locked")) {
    form.hidden = state !== "locked";
    if (state === "locked") byId("key").focus();
  }
}

/** Whether the server takes the key that was written. */
async function tryKey(connection) {
  const key = byId("key").value.trim();
  byId("key").value = ""; // now: what is written during the try is the next key
  byId("key-refused").hidden = true;
  apiKey.set(/^[\x21-\x7e]*$/.test(key) ? key : ""); // no header can carry anything else
  await connection.checkAgain();
  const refused = connection.state === "locked";
  byId("key-refused").hidden = !refused;
  return !refused;
}
