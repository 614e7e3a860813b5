// The way to change the outside world, for the three classes that write.
//
// Not part of your tool: `stoplog tool new` wrote it. A plain `fetch` with POST works too: the
// host gives it a key of its own, from method, path and count. A permit is better: one effect has
// the key of the act itself, and what `probe` finds under it can stand for the call.

import { perform } from "stoplog:tool/effects@0.1.0";
import { ToolError, about, run } from "./stoplog.js";

/** The right to change the outside world once. */
class Permit {
  #permit;

  constructor(permit) {
    this.#permit = permit;
  }

  /** The idempotency key that the host sends. */
  get key() {
    return this.#permit.key();
  }

  /** The right to one more effect, under this key with `.label` behind it. Before any `send`. */
  split(label) {
    return new Permit(this.#permit.split(label));
  }

  /** Sends a request with a body of JSON, or none. See `send`. */
  post = (url, json, headers) => this.send("POST", url, { json, headers });
  put = (url, json, headers) => this.send("PUT", url, { json, headers });
  patch = (url, json, headers) => this.send("PATCH", url, { json, headers });
  delete = (url, headers) => this.send("DELETE", url, { headers });

  /**
   * Sends the request: the host checks it, writes it down, adds the key, sends it and writes down
   * the outcome. Returns the answer whatever its status: see `success`.
   */
  send(method, url, { json, body, headers = {} } = {}) {
    const line = `${method} ${url.split(/[?#]/)[0]}`;
    const list = Object.entries(headers);
    if (json !== undefined) {
      list.push(["content-type", "application/json"]);
      body = JSON.stringify(json);
    }
    const bytes = typeof body === "string" ? new TextEncoder().encode(body) : body;
    let answer;
    try {
      answer = perform(this.#permit, { method, url, headers: list, body: bytes ?? new Uint8Array() });
    } catch (error) {
      throw unsent(line, error.payload ?? error);
    }
    return new Answer(line, answer);
  }
}

/** What the host says when there is no answer. */
function unsent(line, { tag, val }) {
  switch (tag) {
    case "denied":
      return new ToolError("permission", `the host did not let ${line} out: ${val}`);
    case "not-sent":
      return new ToolError("transient", `${line} did not leave: ${val}`);
    case "unanswered":
      return new ToolError("transient", `${line} got no answer: ${val}`, { aftermath: "unknown" });
    default:
      return new Error(`${line}: ${tag ?? "the permit was spent before"}`);
  }
}

class Answer {
  fromEffect = true;
  #body;

  constructor(line, { status, headers, body }) {
    this.line = line;
    this.status = status;
    this.headers = new Headers(headers);
    this.#body = new TextDecoder().decode(body);
  }

  text() {
    return this.#body;
  }

  json() {
    try {
      return JSON.parse(this.#body);
    } catch {
      // Not the parser's words, which quote the body: it may hold personal data.
      const message = `${this.line} answered ${this.status} with a body that is not JSON`;
      throw new ToolError("upstream", message, { aftermath: "unknown" });
    }
  }
}

// A mistake in a write tool traps: the host then goes by what it sent, and asks `probe`.
const acting = run();
const call = (spec) => (input, permit) => acting(spec.call, input, new Permit(permit));
const probe = (spec) => (input, key) => acting(spec.probe, input, key);

/** Class 2: changes what can be changed back. Owes `key`, `probe` and `undo`. */
export const reversible = (spec) => ({
  about: about(spec, ["key", "probe", "undo"]),
  reversibleTool: {
    call: call(spec),
    probe: probe(spec),
    undo: (input, output, permit) =>
      acting(spec.undo, input, output === "" ? null : JSON.parse(output), new Permit(permit)),
  },
});

/** Class 3: changes something at someone else's. Owes `key` and `probe`. */
export const external = (spec) => ({
  about: about(spec, ["key", "probe"]),
  externalTool: { call: call(spec), probe: probe(spec) },
});

/** Class 4: changes what cannot be changed back. Owes `key`, `probe` and `preview`. */
export const irreversible = (spec) => ({
  about: about(spec, ["key", "probe", "preview"]),
  irreversibleTool: {
    call: call(spec),
    probe: probe(spec),
    preview: (input) => acting(spec.preview, input),
  },
});
