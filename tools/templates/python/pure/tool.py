"""{{name}}: shares a bill among people. Class `pure`: it computes, and reaches nothing.

Change the input, the output and the sum. What is here needs no network and no key: the same input
gives the same output, so the host may run it as often as it likes.
"""

from dataclasses import dataclass

from stoplog import ToolError, audit, pure


@dataclass
class Bill:
    amount_cents: int = audit("What is to be paid, in cents.", minimum=0)
    people: int = audit("Among how many people.", minimum=0)
    tip_percent: int | None = audit(
        "Tip on top, in percent; none if it is left out.", default=None, minimum=0, maximum=255
    )


@dataclass
class Shares:
    shares_cents: list[int] = audit("What each person pays, in cents, to within one cent.")
    total_cents: int = audit("The sum of all shares.")


@pure()
def {{name}}(bill: Bill) -> Shares:
    """Shares a bill among people, to the cent. Use it instead of dividing by hand."""
    if not 1 <= bill.people <= 1_000:
        raise ToolError(
            "invalid-input",
            "people must be 1 to 1,000",
            hint="ask how many people share the bill",
        )
    total_cents = -(-bill.amount_cents * (100 + (bill.tip_percent or 0)) // 100)
    each, left = divmod(total_cents, bill.people)
    return Shares([each + (i < left) for i in range(bill.people)], total_cents)
