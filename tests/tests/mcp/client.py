"""The official Python SDK, told what to do on the command line: a plan in JSON, answers in JSON lines.

{"command": [...]} or {"url": ..., "headers": {...}}; "mode"; "elicit"; "steps": [{"op": ..., ...}]
"""

import asyncio
import json
import sys

from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client
from mcp_types import ElicitResult


def say(value):
    print(json.dumps(value), flush=True)


def plain(model):
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


async def step(client, plan, told):
    op = plan["op"]
    if op == "list":
        return plain(await client.list_tools())
    if op == "call":
        async def progress(done, total, message):
            told.append({"progress": done, "message": message})

        asks = {"progress_callback": progress} if plan.get("progress") else {}
        call = client.call_tool(plan["tool"], plan["arguments"], meta=plan.get("meta"), **asks)
        if "give_up_after" in plan:
            try:
                return plain(await asyncio.wait_for(call, plan["give_up_after"]))
            except asyncio.TimeoutError:
                return {"gave_up": True}
        return plain(await call)
    if op == "templates":
        return plain(await client.list_resource_templates())
    if op == "read":
        return plain(await client.read_resource(plan["uri"]))
    if op == "prompt":
        return plain(await client.get_prompt(plan["name"], plan["arguments"]))
    raise ValueError(op)


async def main():
    plan = json.loads(sys.argv[1])
    told = []

    async def elicit(context, params):
        told.append({"asked": params.message})
        answer = plan.get("elicit")
        if answer is None:
            return ElicitResult(action="decline")
        return ElicitResult(action="accept", content=answer)

    if "command" in plan:
        server = StdioServerParameters(command=plan["command"][0], args=plan["command"][1:], env=plan.get("env"))
    else:
        http = create_mcp_http_client(headers=plan.get("headers"))
        server = streamable_http_client(plan["url"], http_client=http)
    asks = {"elicitation_callback": elicit} if "elicit" in plan else {}
    async with Client(server, mode=plan.get("mode", "legacy"), **asks) as client:
        say({"protocol": client.protocol_version})
        for one in plan["steps"]:
            try:
                answer = await step(client, one, told)
            except Exception as error:  # the test reads what it was
                answer = {"failed": f"{type(error).__name__}: {error}"}
            say({"answer": answer, "told": list(told)})
            told.clear()


asyncio.run(main())
