// Posts twice to one path with fetch, both at once: nothing here spends a permit.

import { external } from "./effects.js";
import { audit, unknown } from "./stoplog.js";

const CHARGES = "http://api.internal/v1/charges";

export const { about, externalTool } = external({
  name: "{{name}}",
  description: "Posts twice.",
  input: { name: audit.string("Any word.") },
  output: { ids: audit.list("string", "What was done.") },
  key: "act_{name}",
  scope: "tenant",
  keepsKeys: true,
  egress: [CHARGES],

  async call({ name }) {
    const post = async (part) => {
      const headers = { "content-type": "application/json" };
      const body = JSON.stringify({ name, part });
      const answer = await fetch(CHARGES, { method: "POST", headers, body });
      return (await answer.json()).id;
    };
    return { ids: await Promise.all([post(1), post(2)]) };
  },

  async probe() {
    try {
      await fetch("http://api.internal/v1/refused", { method: "POST", body: "{}" });
    } catch {
      return unknown;
    }
    return { tag: "once", val: { ids: ["a probe posted"] } };
  },
});
