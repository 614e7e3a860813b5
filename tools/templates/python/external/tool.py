"""{{name}}: posts a message to a channel. Class `external`: it changes something at someone
else's, and people may have read it before anybody could take it back.

Change the address, the input and the output. The key decides what counts as the same message: here
one about a ticket, of one kind, in one session.
"""

from dataclasses import dataclass
from typing import Literal

import niquests
from stoplog import Permit, audit, external, found, personal, secret

MESSAGES = "https://chat.example.com/v1/messages"

# The host puts the value in on the way out: the tool never sees it.
HEADERS = {"authorization": f"Bearer {secret('CHAT_TOKEN')}"}


@dataclass
class Message:
    channel: str = audit("The channel.", identifier="channel_id")
    ticket_id: str = audit("The ticket that it is about.", identifier="ticket_id")
    kind: Literal["started", "question", "done"] = audit("What it tells.")
    text: str = personal("Plain text.")


@dataclass
class Posted:
    message_id: str = audit("Id of the message.", identifier="message_id")


def probe(_: Message, key: str):
    """Looks up what was posted under a key. It may look and not write."""
    listed = niquests.get(MESSAGES, params={"idempotency_key": key}, headers=HEADERS)
    data = listed.raise_for_status().json()["data"]
    return found(Posted(message["id"]) for message in data)


@external(
    key="message_{ticket_id}_{kind}",
    scope="session",
    keeps_keys=True,
    settles_within_ms=1_000,
    timeout_ms=10_000,
    egress=[MESSAGES],
    secrets=["CHAT_TOKEN"],
    probe=probe,
)
def {{name}}(message: Message, permit: Permit) -> Posted:
    """Posts a message about a ticket to a channel: one of each kind."""
    posted = permit.post(MESSAGES, json=message, headers=HEADERS).raise_for_status().json()
    return Posted(posted["id"])
