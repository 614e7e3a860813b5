// {{name}}: shares a bill among people. Class `pure`: it computes, and reaches nothing.
//
// Change the input, the output and the sum. What is here needs no network and no key: the same
// input gives the same output, so the host may run it as often as it likes.

import { ToolError, audit, pure } from "./stoplog.js";

export const { about, pureTool } = pure({
  name: "{{name}}",
  description: "Shares a bill among people, to the cent. Use it instead of dividing by hand.",
  input: {
    amount_cents: audit.integer("What is to be paid, in cents.", { minimum: 0 }),
    people: audit.integer("Among how many people.", { minimum: 0 }),
    tip_percent: audit.integer("Tip on top, in percent; none if it is left out.", {
      minimum: 0,
      maximum: 255,
      optional: true,
    }),
  },
  output: {
    shares_cents: audit.list("integer", "What each person pays, in cents, to within one cent."),
    total_cents: audit.integer("The sum of all shares."),
  },

  call({ amount_cents, people, tip_percent }) {
    if (people === 0 || people > 1000) {
      throw new ToolError("invalid-input", "people must be 1 to 1,000", {
        hint: "ask how many people share the bill",
      });
    }
    const total_cents = Math.ceil((amount_cents * (100 + (tip_percent ?? 0))) / 100);
    if (!Number.isSafeInteger(total_cents)) {
      throw new ToolError("invalid-input", "amount_cents is too large");
    }
    const each = Math.floor(total_cents / people);
    const left = total_cents % people;
    const shares_cents = Array.from({ length: people }, (_, i) => each + (i < left ? 1 : 0));
    return { shares_cents, total_cents };
  },
});
