// The official TypeScript SDK, told what to do on the command line: the plan of client.py.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { ElicitRequestSchema } from "@modelcontextprotocol/sdk/types.js";

const plan = JSON.parse(process.argv[2]);
const say = (value) => console.log(JSON.stringify(value));
const told = [];

const capabilities = "elicit" in plan ? { elicitation: {} } : {};
const client = new Client({ name: "ts-test", version: "1.0.0" }, { capabilities });
if ("elicit" in plan) {
  client.setRequestHandler(ElicitRequestSchema, async (request) => {
    told.push({ asked: request.params.message });
    return plan.elicit === null ? { action: "decline" } : { action: "accept", content: plan.elicit };
  });
}
const transport = plan.command
  ? new StdioClientTransport({ command: plan.command[0], args: plan.command.slice(1), env: plan.env })
  : new StreamableHTTPClientTransport(new URL(plan.url), { requestInit: { headers: plan.headers } });

async function step(one) {
  if (one.op === "list") return client.listTools();
  if (one.op === "call") {
    const options = one.progress ? { onprogress: (p) => told.push(p) } : {};
    const params = { name: one.tool, arguments: one.arguments, _meta: one.meta };
    if (one.give_up_after !== undefined) {
      const abort = new AbortController();
      setTimeout(() => abort.abort(), one.give_up_after * 1000);
      options.signal = abort.signal;
      try {
        return await client.callTool(params, undefined, options);
      } catch (error) {
        return { gave_up: true };
      }
    }
    return client.callTool(params, undefined, options);
  }
  if (one.op === "templates") return client.listResourceTemplates();
  if (one.op === "read") return client.readResource({ uri: one.uri });
  if (one.op === "prompt") return client.getPrompt({ name: one.name, arguments: one.arguments });
  throw new Error(one.op);
}

await client.connect(transport);
say({ protocol: transport.protocolVersion ?? client.getServerVersion()?.version });
for (const one of plan.steps) {
  let answer;
  try {
    answer = await step(one);
  } catch (error) {
    answer = { failed: String(error) };
  }
  say({ answer, told: [...told] });
  told.length = 0;
}
await client.close();
process.exit(0);
