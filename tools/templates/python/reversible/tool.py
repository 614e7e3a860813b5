"""{{name}}: reserves stock for an order. Class `reversible`: what it does can be taken back, and
`undo` does that.

Change the address, the input and the output. Keep three things true: the key names the act and
nothing else, `probe` finds what was done under a key, and `undo` succeeds also when nothing was
done.
"""

from dataclasses import dataclass
from urllib.parse import urlencode

import niquests
from stoplog import Permit, audit, found, reversible

RESERVATIONS = "https://stock.example.com/v1/reservations"


@dataclass
class Wish:
    order_id: str = audit("The order that it is for.", identifier="order_id")
    sku: str = audit("Article number.", identifier="sku")
    quantity: int = audit("How many.", minimum=0)


@dataclass
class Reserved:
    reservation_id: str = audit("Id of the reservation.", identifier="reservation_id")


def probe(_: Wish, key: str):
    """Looks up what was done under a key. It may look and not write."""
    listed = niquests.get(RESERVATIONS, params={"idempotency_key": key})
    data = listed.raise_for_status().json()["data"]
    return found(Reserved(reservation["id"]) for reservation in data)


def undo(_: Wish, reserved: Reserved | None, permit: Permit) -> str:
    """Takes it back, by its key: nobody may know its id. What is not there counts as taken back."""
    key = permit.key
    answer = permit.delete(f"{RESERVATIONS}?{urlencode({'idempotency_key': key})}")
    if answer.status_code != 404:
        answer.raise_for_status()
    return f"released what was reserved under {key}"


@reversible(
    key="reserve_{order_id}_{sku}",
    scope="tenant",
    keeps_keys=True,
    settles_within_ms=1_000,
    timeout_ms=10_000,
    egress=[RESERVATIONS],
    probe=probe,
    undo=undo,
)
def {{name}}(wish: Wish, permit: Permit) -> Reserved:
    """Reserves articles for an order. Use it before the order is confirmed."""
    made = permit.post(RESERVATIONS, json=wish).raise_for_status().json()
    return Reserved(made["id"])
