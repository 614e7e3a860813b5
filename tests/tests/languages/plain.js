// Posts twice to one path with fetch, both at once: nothing here spends a permit. It keeps count of its
// calls in its state, and tells the far side.

import { open } from "wasi:keyvalue/store@0.2.0-draft";
import { external } from "./effects.js";
import { audit, unknown } from "./stoplog.js";

const CHARGES = "http://api.internal/v1/charges";

export const { about, externalTool } = external({
  name: "{{name}}",
  description: "Posts twice.",
  input: { name: audit.string("Any word.") },
  output: {
    ids: audit.list("string", "What was done."),
    before: audit.integer("Calls before this one."),
  },
  key: "act_{name}",
  scope: "tenant",
  keepsKeys: true,
  egress: [CHARGES],

  async call({ name }) {
    const kept = open("");
    const count = kept.get("count");
    const before = count ? Number(new TextDecoder().decode(count)) : 0;
    kept.set("count", new TextEncoder().encode(String(before + 1)));
    const post = async (part) => {
      const headers = { "content-type": "application/json" };
      const body = JSON.stringify({ name, before, part });
      const answer = await fetch(CHARGES, { method: "POST", headers, body });
      return (await answer.json()).id;
    };
    return { ids: await Promise.all([post(1), post(2)]), before };
  },

  async probe() {
    try {
      await fetch("http://api.internal/v1/refused", { method: "POST", body: "{}" });
    } catch {
      return unknown;
    }
    return { tag: "once", val: { ids: ["a probe posted"], before: 0 } };
  },
});
