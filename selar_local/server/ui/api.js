// The server's API: what is offered, health, and streamed answers. Addresses are relative, for servers behind a path.

import { ofTab } from "./memory.js";

const QUICK = 5000; // ms for what needs no generation

/** What the server answered instead. status: of HTTP; 0 where the error came within a stream. */
export class ApiError extends Error {
  constructor(message, { status = 0, param = null, retryAfter = null } = {}) {
    super(message);
    this.status = status;
    this.param = param;
    this.retryAfter = retryAfter;
  }
}

/** Nothing, or no more, came from the server. */
export class Unreachable extends Error {}

export const apiKey = {
  get: () => ofTab.get("key", ""),
  set: (key) => ofTab.set("key", key),
};

function headers(more = {}) {
  const key = apiKey.get();
  return key ? { ...more, Authorization: `Bearer ${key}` } : more;
}

async function call(path, options = {}) {
  try {
    return await fetch(path, { cache: "no-store", credentials: "omit", ...options });
  } catch (error) {
    if (options.signal?.aborted && error.name === "AbortError") throw error;
    throw new Unreachable("The server cannot be reached.");
  }
}

/** The error of an answer that is none; text that is not the API's is not shown. */
async function refusal(response) {
  const text = await response.text().catch(() => "");
  let error = null;
  try {
    error = JSON.parse(text).error;
  } catch { /* a proxy's page, or half an answer */ }
  return apiError(error, response.status, response.headers.get("Retry-After"));
}

function apiError(error, status = 0, retryAfter = null) {
  const message = typeof error?.message === "string" ? error.message : `The server answered with status ${status}.`;
  return new ApiError(message, { status, param: error?.param ?? null, retryAfter });
}

/** Whether the server takes requests. Throws Unreachable. */
export async function healthy() {
  const response = await call("health", { signal: AbortSignal.timeout(QUICK) });
  return response.ok;
}

/** What requests may set: the body of GET v1/selar. Throws ApiError, Unreachable. */
export async function offered() {
  const response = await call("v1/selar", { headers: headers(), signal: AbortSignal.timeout(QUICK) });
  if (!response.ok) throw await refusal(response);
  return response.json();
}

/** The chunks of a streamed chat completion, as lists of those that came together. Throws ApiError, Unreachable. */
export async function* chat(body, signal) {
  const response = await call("v1/chat/completions", {
    method: "POST", headers: headers({ "Content-Type": "application/json" }), body: JSON.stringify(body), signal,
  });
  if (!response.ok) throw await refusal(response);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  try {
    for (;;) {
      const { done, value } = await read(reader, signal);
      if (done) throw new Unreachable("The connection to the server was lost.");
      const blocks = (held + value).split("\n\n");
      held = blocks.pop();
      const { chunks, error, complete } = parse(blocks);
      if (chunks.length) yield chunks;
      if (error) throw apiError(error);
      if (complete) return;
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function read(reader, signal) {
  try {
    return await reader.read();
  } catch (error) {
    if (signal.aborted) throw error;
    throw new Unreachable("The connection to the server was lost.");
  }
}

/** The events in some blocks of the stream; comments are skipped. */
function parse(blocks) {
  const found = { chunks: [], error: null, complete: false };
  for (const block of blocks) {
    if (!block.startsWith("data: ")) continue;
    const data = block.slice("data: ".length);
    if (data === "[DONE]") {
      found.complete = true;
    } else {
      const chunk = JSON.parse(data);
      if (chunk.error) found.error = chunk.error;
      else found.chunks.push(chunk);
    }
  }
  return found;
}
