// What a tool in JavaScript needs: fields, errors, and one function for each class.
//
// Not part of your tool: `stoplog tool new` wrote it. Fields and contract are checked while the
// component is built, so a field without a disclosure or a key that names no field is an error
// of the build, not of a call.

import { Span, annotate as put, log as write } from "stoplog:tool/context@0.1.0";

/** Writes to the call's log: "debug", "info", "warn" or "error". */
export function log(message, level = "info") {
  write(level, String(message));
}

/**
 * Puts a name and a value on the call's span. Traces show it if the tool lists the name, as in
 * `annotations: ["region"]`, and hide it if not.
 */
export function annotate(name, value) {
  put(name, String(value));
}

/**
 * A part of the call, as a span of its own, which the host times: `span("lookup", (s) => ...)`, or
 * with an async function. Traces show its name if the tool lists it, as in `spans: ["lookup"]`. It
 * takes annotations: `s.annotate("rows", 3)`.
 */
export function span(name, act) {
  const part = new Span(name);
  const handle = { annotate: (name, value) => part.annotate(name, String(value)) };
  let result;
  try {
    result = act(handle);
    if (typeof result?.then === "function") return result.finally(() => part.end());
  } catch (error) {
    part.end();
    throw error;
  }
  part.end();
  return result;
}

/** A failed call, for the model to read: `throw new ToolError("not-found", "no order 4711")`. */
export class ToolError extends Error {
  /**
   * @param {string} code one of `error-code` in .stoplog/wit/tool.wit, such as "not-found"
   * @param {string} message what happened, to what; no secrets
   * @param {{hint?: string, retryAfterMs?: number, aftermath?: string}} [more]
   */
  constructor(code, message, { hint, retryAfterMs, aftermath = "untouched" } = {}) {
    super(message);
    Object.assign(this, { code, hint, retryAfterMs, aftermath });
  }
}

/** The placeholder that the host replaces by the secret's value on the way out. */
export const secret = (name) => `{{secret:${name}}}`;

/** What `probe` answers when the far side cannot be asked. */
export const unknown = { tag: "unknown" };

/** What `probe` answers for the outputs that it found under a key: none, one, or several. */
export function found(outputs) {
  if (outputs.length === 0) return { tag: "absent" };
  if (outputs.length === 1) return { tag: "once", val: outputs[0] };
  return { tag: "several", val: outputs.length };
}

// ---- Fields

class Field {
  constructor(disclosure, schema, description, { identifier, optional = false, ...keywords } = {}) {
    if (!description) throw new TypeError("a field needs a description: the model reads it");
    this.optional = optional;
    this.schema = { ...schema, description, "x-disclosure": disclosure, ...keywords };
    if (identifier) this.schema["x-identifier"] = identifier;
    if (optional) this.schema.type = [this.schema.type, "null"];
  }
}

/** Fields of one disclosure. `more` has `optional`, `identifier` and any keyword of JSON Schema. */
function fields(disclosure) {
  const of = (type) => (description, more) => new Field(disclosure, { type }, description, more);
  return {
    string: of("string"),
    integer: of("integer"),
    number: of("number"),
    boolean: of("boolean"),
    /** One of these words. */
    choice: (words, description, more) =>
      new Field(disclosure, { type: "string", enum: words }, description, more),
    /** A list; `items` is a type such as "string", or fields for a list of objects. */
    list: (items, description, more) =>
      new Field(disclosure, { type: "array", items: itemSchema(items) }, description, more),
    /** An object with fields of its own. */
    object: (parts, description, more) =>
      new Field(disclosure, objectSchema(parts), description, more),
  };
}

const itemSchema = (items) => (typeof items === "string" ? { type: items } : objectSchema(items));

/** Seen everywhere: ids and amounts that people on call need. */
export const audit = fields("audit");
/** Seen by the model and by who approves; hidden in traces, lists and exports. */
export const personal = fields("personal");
/** As personal, and hidden from who approves too. */
export const hidden = fields("secret");

function objectSchema(parts) {
  const properties = {};
  const required = [];
  for (const [name, field] of Object.entries(parts)) {
    if (!(field instanceof Field)) {
      throw new TypeError(`field "${name}": say who may see it, as audit.string("...")`);
    }
    properties[name] = field.schema;
    if (!field.optional) required.push(name);
  }
  return { type: "object", properties, required, additionalProperties: false };
}

// ---- Answers

const CODES = {
  400: "invalid-input", 422: "invalid-input", 401: "permission", 403: "permission",
  404: "not-found", 410: "not-found", 409: "conflict", 423: "conflict", 412: "precondition",
  428: "precondition", 408: "transient", 425: "transient", 429: "rate-limited",
};

/**
 * The answer itself if its status is 2xx; else throws what the model can act on. For the answer
 * of `fetch` and for that of a permit.
 */
export function success(answer) {
  const { status } = answer;
  if (status >= 200 && status < 300) return answer;
  const refused = status >= 400 && status < 500 && status !== 408;
  const seconds = Number(answer.headers.get("retry-after") ?? NaN);
  throw new ToolError(CODES[status] ?? "upstream", `${line(answer)} answered ${status}`, {
    retryAfterMs: Number.isInteger(seconds) ? seconds * 1000 : undefined,
    aftermath: answer.fromEffect && !refused ? "unknown" : "untouched",
  });
}

/** The request without its query, which may hold personal data. */
const line = (answer) => answer.line ?? String(answer.url).split(/[?#]/)[0];

// ---- Classes

/** Class 0: computes, and reaches nothing. */
export function pure(spec) {
  // Its component has no standard output.
  const say = (level) => (...words) => log(words.join(" "), level);
  globalThis.console = {
    debug: say("debug"), log: say("info"), info: say("info"), warn: say("warn"), error: say("error"),
  };
  const reading = run("internal");
  return { about: about(spec), pureTool: { call: (input) => reading(spec.call, input) } };
}

/** Class 1: looks, and changes nothing. */
export function read(spec) {
  const reading = run("internal");
  return { about: about(spec), readTool: { call: (input) => reading(spec.call, input) } };
}

/** At the root of the output schema: what an answer may say, and what traces may show. */
function lists(spec) {
  const given = ["claims", "annotations", "spans"].filter((name) => spec[name]);
  return Object.fromEntries(given.map((name) => [`x-${name}`, spec[name]]));
}

/** The export `about`. Everything in it is made now, while the component is built. */
export function about(spec, owed = []) {
  for (const name of ["name", "description", "input", "output", "call", ...owed]) {
    if (spec[name] === undefined) throw new TypeError(`a tool of this class needs \`${name}\``);
  }
  const input = objectSchema(spec.input);
  for (const [, field] of (spec.key ?? "").matchAll(/\{(\w+)\}/g)) {
    if (!input.required.includes(field)) {
      throw new TypeError(`the key names {${field}}, which is no required field of the input`);
    }
  }
  const contract = {
    name: spec.name,
    version: spec.version ?? "0.1.0",
    description: spec.description,
    inputSchema: JSON.stringify(input),
    outputSchema: JSON.stringify({ ...objectSchema(spec.output), ...lists(spec) }),
    key: spec.key && { template: spec.key, scope: spec.scope ?? "session" },
    keepsKeys: spec.keepsKeys ?? false,
    settlesWithinMs: spec.settlesWithinMs ?? 0,
    timeoutMs: spec.timeoutMs ?? 10_000,
    egress: spec.egress ?? [],
    secrets: spec.secrets ?? [],
  };
  return { describe: () => contract };
}

/**
 * Runs an author's function: JSON in, JSON out. A `ToolError` is told as it is, and so is a request
 * that got no answer. Any other exception is a mistake in the tool: with `otherwise` the model is
 * told so; without, the component traps, and the host goes by what passed its gate.
 */
export function run(otherwise) {
  return (act, input, ...rest) => {
    const fail = (error) => {
      if (error instanceof ToolError) throw told(error);
      log(error?.stack ? `${error}\n${error.stack}` : error, "error");
      if (error instanceof TypeError && /NetworkError|fetch/i.test(error.message)) {
        throw told(new ToolError("transient", `no answer: ${error.message}`));
      }
      if (otherwise) throw told(new ToolError(otherwise, String(error)));
      throw error;
    };
    try {
      const result = act(JSON.parse(input), ...rest);
      if (typeof result?.then !== "function") return written(result);
      return result.then(written).catch(fail);
    } catch (error) {
      return fail(error);
    }
  };
}

/** Texts and findings as they are, everything else as JSON. */
function written(result) {
  if (typeof result === "string") return result;
  if (result?.tag === "once") return { tag: "once", val: JSON.stringify(result.val) };
  return result?.tag ? result : JSON.stringify(result);
}

function told({ code, message, hint, retryAfterMs, aftermath }) {
  const wait = retryAfterMs === undefined ? undefined : BigInt(retryAfterMs);
  return { code, message, hint, retryAfterMs: wait, aftermath };
}
