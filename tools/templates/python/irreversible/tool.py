"""{{name}}: charges a customer. Class `irreversible`: what it does cannot be changed back from
here, so a person reads `preview` and approves, unless an operator's rule clears the call.

Change the address, the input and the output. Keep three things true: the key names the payment and
nothing else, `probe` finds what was charged under a key, and `preview` says all that the person
who approves must know.
"""

from dataclasses import dataclass

import niquests
from stoplog import Permit, ToolError, audit, found, irreversible, secret

CHARGES = "https://payments.example.com/v1/charges"

# The host puts the value in on the way out: the tool never sees it.
HEADERS = {"authorization": f"Bearer {secret('PAYMENTS_KEY')}"}


@dataclass
class Payment:
    invoice_id: str = audit("The invoice that is paid.", identifier="invoice_id")
    customer_id: str = audit("The customer who pays.", identifier="customer_id")
    amount_cents: int = audit("How much, in cents.", minimum=0)
    currency: str = audit("Three letters, such as EUR.")


@dataclass
class Charged:
    charge_id: str = audit("Id of the charge.", identifier="charge_id")


def check(payment: Payment):
    if payment.amount_cents == 0:
        raise ToolError("invalid-input", "amount_cents must be more than 0")
    if len(payment.currency) != 3 or not payment.currency.isupper():
        raise ToolError("invalid-input", "currency must be three capital letters")


def preview(payment: Payment) -> str:
    """What the person reads who approves."""
    check(payment)
    amount = f"{payment.amount_cents // 100}.{payment.amount_cents % 100:02}"
    return (
        f"Charge customer {payment.customer_id} {amount} {payment.currency} "
        f"for invoice {payment.invoice_id}."
    )


def probe(_: Payment, key: str):
    """Looks up what was charged under a key. It may look and not write."""
    listed = niquests.get(CHARGES, params={"idempotency_key": key}, headers=HEADERS)
    data = listed.raise_for_status().json()["data"]
    return found(Charged(charge["id"]) for charge in data)


@irreversible(
    key="charge_{invoice_id}",
    scope="tenant",
    keeps_keys=True,
    settles_within_ms=2_000,
    timeout_ms=20_000,
    egress=[CHARGES],
    secrets=["PAYMENTS_KEY"],
    preview=preview,
    probe=probe,
)
def {{name}}(payment: Payment, permit: Permit) -> Charged:
    """Charges a customer for an invoice. Use it once, when the amount is settled."""
    check(payment)
    # No answer, 408 and 5xx become an error that says `unknown`: the host then probes.
    made = permit.post(CHARGES, json=payment, headers=HEADERS).raise_for_status().json()
    return Charged(made["id"])
