// {{name}}: posts a message to a channel. Class `external`: it changes something at someone
// else's, and people may have read it before anybody could take it back.
//
// Change the address, the input and the output. The key decides what counts as the same message:
// here one about a ticket, of one kind, in one session.

import { external } from "./effects.js";
import { audit, found, personal, secret, success } from "./stoplog.js";

const MESSAGES = "https://chat.example.com/v1/messages";

// The host puts the value in on the way out: the tool never sees it.
const headers = { authorization: `Bearer ${secret("CHAT_TOKEN")}` };

export const { about, externalTool } = external({
  name: "{{name}}",
  description: "Posts a message about a ticket to a channel: one of each kind.",
  input: {
    channel: audit.string("The channel.", { identifier: "channel_id" }),
    ticket_id: audit.string("The ticket that it is about.", { identifier: "ticket_id" }),
    kind: audit.choice(["started", "question", "done"], "What it tells."),
    text: personal.string("Plain text."),
  },
  output: {
    message_id: audit.string("Id of the message.", { identifier: "message_id" }),
  },
  key: "message_{ticket_id}_{kind}",
  scope: "session",
  keepsKeys: true,
  settlesWithinMs: 1_000,
  timeoutMs: 10_000,
  egress: [MESSAGES],
  secrets: ["CHAT_TOKEN"],

  call(message, permit) {
    const posted = success(permit.post(MESSAGES, message, headers)).json();
    return { message_id: posted.id };
  },

  // Looks up what was posted under a key. It may look and not write.
  async probe(_, key) {
    const query = new URLSearchParams({ idempotency_key: key });
    const listed = await success(await fetch(`${MESSAGES}?${query}`, { headers })).json();
    return found(listed.data.map(({ id }) => ({ message_id: id })));
  },
});
