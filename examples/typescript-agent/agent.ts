// Priya's refund, by an agent in TypeScript that speaks MCP to stoplog.
//
// The plan is written down here; in an agent of yours a model makes it. What matters is `call`: each call
// has a key, and a call whose answer does not come is asked for again under the same key. Whatever died in
// between, the refund is made once, and this program is told its id.

import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import { setTimeout as pause } from "node:timers/promises";

const url = new URL("/mcp", process.env.STOPLOG_URL ?? "http://127.0.0.1:8080");
const headers = { Authorization: `Bearer ${process.env.STOPLOG_KEY}` };
// One refund of one ticket: its calls have their keys from it.
const task = process.env.TASK ?? "ticket-1";
const order_id = "448100";

const ATTEMPTS = 60;
const PAUSE_MS = 1000;

type Told = Record<string, unknown>;
type Refusal = { reason?: string; retry_after_ms?: number };

async function ask(tool: string, args: Told, key: string) {
  const client = new Client({ name: "refund-agent", version: "1.0.0" });
  try {
    await client.connect(new StreamableHTTPClientTransport(url, { requestInit: { headers } }));
    const _meta = { "stoplog/idempotency-key": key };
    return await client.callTool({ name: tool, arguments: args, _meta });
  } finally {
    await client.close();
  }
}

/** Has a tool called once, however often it has to be asked for. */
async function call(tool: string, args: Told): Promise<any> {
  const key = `${task}-${tool}`;
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    let answer;
    try {
      answer = await ask(tool, args, key);
    } catch (error) {
      // No answer: nobody here knows whether it was done.
      console.error(`${tool}: no answer (${(error as Error).name}), asked again under ${key}`);
      await pause(PAUSE_MS);
      continue;
    }
    const told = (answer._meta ?? {}) as Told;
    const refusal = told["stoplog/error"] as Refusal | undefined;
    if (refusal && ["key_in_flight", "host_busy", "shutting_down"].includes(refusal.reason ?? "")) {
      await pause(refusal.retry_after_ms ?? PAUSE_MS);
      continue;
    }
    if (answer.isError) throw new Error(`${tool}: ${JSON.stringify(answer.content)}`);
    console.log(`${tool}: ${told["stoplog/disposition"]}`);
    return answer.structuredContent;
  }
  throw new Error(`${tool}: no answer after ${ATTEMPTS} attempts`);
}

const customer = await call("find_customer_by_email", { email: "priya@example.com" });
// Looking costs nothing: both at once.
const [{ orders }] = await Promise.all([
  call("list_orders", { customer_id: customer.customer_id }),
  call("retrieve_policy", { topic: "refunds" }),
]);
const { amount_inr } = orders.find((order: Told) => order.order_id === order_id);
const refund = await call("issue_refund", { order_id, amount_inr, reason: "delay" });
await call("send_customer_email", {
  to: customer.email,
  order_id,
  kind: "refund_done",
  subject: `Your refund for order ${order_id}`,
  body: `We have paid back Rs ${amount_inr}; the refund is ${refund.refund_id}.`,
});
console.log(`refunded ${order_id}: ${refund.refund_id}`);
