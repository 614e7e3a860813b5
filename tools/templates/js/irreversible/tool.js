// {{name}}: charges a customer. Class `irreversible`: what it does cannot be changed back from
// here, so a person reads `preview` and approves, unless an operator's rule clears the call.
//
// Change the address, the input and the output. Keep three things true: the key names the payment
// and nothing else, `probe` finds what was charged under a key, and `preview` says all that the
// person who approves must know.

import { irreversible } from "./effects.js";
import { ToolError, audit, found, secret, success } from "./stoplog.js";

const CHARGES = "https://payments.example.com/v1/charges";

// The host puts the value in on the way out: the tool never sees it.
const headers = { authorization: `Bearer ${secret("PAYMENTS_KEY")}` };

function check({ amount_cents, currency }) {
  if (amount_cents === 0) throw new ToolError("invalid-input", "amount_cents must be more than 0");
  if (!/^[A-Z]{3}$/.test(currency)) {
    throw new ToolError("invalid-input", "currency must be three capital letters");
  }
}

export const { about, irreversibleTool } = irreversible({
  name: "{{name}}",
  description: "Charges a customer for an invoice. Use it once, when the amount is settled.",
  input: {
    invoice_id: audit.string("The invoice that is paid.", { identifier: "invoice_id" }),
    customer_id: audit.string("The customer who pays.", { identifier: "customer_id" }),
    amount_cents: audit.integer("How much, in cents.", { minimum: 0 }),
    currency: audit.string("Three letters, such as EUR."),
  },
  output: {
    charge_id: audit.string("Id of the charge.", { identifier: "charge_id" }),
  },
  key: "charge_{invoice_id}",
  scope: "tenant",
  keepsKeys: true,
  settlesWithinMs: 2_000,
  timeoutMs: 20_000,
  egress: [CHARGES],
  secrets: ["PAYMENTS_KEY"],

  // What the person reads who approves.
  preview(payment) {
    check(payment);
    const amount = `${Math.floor(payment.amount_cents / 100)}.${String(payment.amount_cents % 100).padStart(2, "0")}`;
    return `Charge customer ${payment.customer_id} ${amount} ${payment.currency} for invoice ${payment.invoice_id}.`;
  },

  call(payment, permit) {
    check(payment);
    // No answer, 408 and 5xx become an error that says `unknown`: the host then probes.
    const made = success(permit.post(CHARGES, payment, headers)).json();
    return { charge_id: made.id };
  },

  // Looks up what was charged under a key. It may look and not write.
  async probe(_, key) {
    const query = new URLSearchParams({ idempotency_key: key });
    const listed = await success(await fetch(`${CHARGES}?${query}`, { headers })).json();
    return found(listed.data.map(({ id }) => ({ charge_id: id })));
  },
});
