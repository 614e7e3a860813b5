// {{name}}: reserves stock for an order. Class `reversible`: what it does can be taken back, and
// `undo` does that.
//
// Change the address, the input and the output. Keep three things true: the key names the act and
// nothing else, `probe` finds what was done under a key, and `undo` succeeds also when nothing
// was done.

import { reversible } from "./effects.js";
import { audit, found, success } from "./stoplog.js";

const RESERVATIONS = "https://stock.example.com/v1/reservations";

const under = (key) => `${RESERVATIONS}?${new URLSearchParams({ idempotency_key: key })}`;

export const { about, reversibleTool } = reversible({
  name: "{{name}}",
  description: "Reserves articles for an order. Use it before the order is confirmed.",
  input: {
    order_id: audit.string("The order that it is for.", { identifier: "order_id" }),
    sku: audit.string("Article number.", { identifier: "sku" }),
    quantity: audit.integer("How many.", { minimum: 0 }),
  },
  output: {
    reservation_id: audit.string("Id of the reservation.", { identifier: "reservation_id" }),
  },
  key: "reserve_{order_id}_{sku}",
  scope: "tenant",
  keepsKeys: true,
  settlesWithinMs: 1_000,
  timeoutMs: 10_000,
  egress: [RESERVATIONS],

  call(wish, permit) {
    const made = success(permit.post(RESERVATIONS, wish)).json();
    return { reservation_id: made.id };
  },

  // Looks up what was done under a key. It may look and not write.
  async probe(_, key) {
    const listed = await success(await fetch(under(key))).json();
    return found(listed.data.map(({ id }) => ({ reservation_id: id })));
  },

  // Takes it back, by its key: nobody may know its id. What is not there counts as taken back.
  undo(_wish, _reserved, permit) {
    const { key } = permit;
    const answer = permit.delete(under(key));
    if (answer.status !== 404) success(answer);
    return `released what was reserved under ${key}`;
  },
});
