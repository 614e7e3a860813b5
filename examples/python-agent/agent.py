"""Priya's refund, by an agent in Python that speaks MCP to stoplog.

The plan is written down here; in an agent of yours a model makes it. What matters is `call`: each call
has a key, and a call whose answer does not come is asked for again under the same key. Whatever died in
between, the refund is made once, and this program is told its id.
"""

import asyncio
import os
import sys

from mcp import Client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

URL = os.environ.get("STOPLOG_URL", "http://127.0.0.1:8080") + "/mcp"
KEY = os.environ["STOPLOG_KEY"]
TASK = os.environ.get("TASK", "ticket-1")  # one refund of one ticket: its calls have their keys from it
ORDER = "448100"

ATTEMPTS = 60
PAUSE_S = 1.0


async def call(tool, arguments):
    """Has a tool called once, however often it has to be asked for."""
    key = f"{TASK}-{tool}"
    for attempt in range(1, ATTEMPTS + 1):
        try:
            http = create_mcp_http_client(headers={"Authorization": f"Bearer {KEY}"})
            async with Client(streamable_http_client(URL, http_client=http), mode="legacy") as client:
                meta = {"stoplog/idempotency-key": key}
                answer = await client.call_tool(tool, arguments, meta=meta)
        except Exception as error:  # no answer: nobody here knows whether it was done
            print(f"{tool}: no answer ({type(error).__name__}), asked again under {key}", file=sys.stderr)
            await asyncio.sleep(PAUSE_S)
            continue
        told = answer.meta or {}
        error = told.get("stoplog/error")
        if error and error.get("reason") in ("key_in_flight", "host_busy", "shutting_down"):
            await asyncio.sleep(error.get("retry_after_ms", 1000) / 1000)
            continue
        if answer.is_error:
            raise SystemExit(f"{tool}: {answer.content[0].text}")
        print(f"{tool}: {told.get('stoplog/disposition')}")
        return answer.structured_content
    raise SystemExit(f"{tool}: no answer after {ATTEMPTS} attempts")


async def main():
    customer = await call("find_customer_by_email", {"email": "priya@example.com"})
    # Looking costs nothing: both at once.
    orders, policy = await asyncio.gather(
        call("list_orders", {"customer_id": customer["customer_id"]}),
        call("retrieve_policy", {"topic": "refunds"}),
    )
    order = next(o for o in orders["orders"] if o["order_id"] == ORDER)
    refund = await call(
        "issue_refund",
        {"order_id": ORDER, "amount_inr": order["amount_inr"], "reason": "delay"},
    )
    await call(
        "send_customer_email",
        {
            "to": customer["email"],
            "order_id": ORDER,
            "kind": "refund_done",
            "subject": f"Your refund for order {ORDER}",
            "body": f"We have paid back Rs {order['amount_inr']}; the refund is {refund['refund_id']}.",
        },
    )
    print(f"refunded {ORDER}: {refund['refund_id']}")


asyncio.run(main())
