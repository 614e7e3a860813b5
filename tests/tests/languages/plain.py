"""Posts twice to one path with niquests, as any program would: nothing here spends a permit. It keeps
count of its calls in its state, and tells the far side."""

from dataclasses import dataclass

import niquests
from stoplog import Permit, Unknown, audit, external
from wit_world.imports import store

CHARGES = "http://api.internal/v1/charges"


@dataclass
class Act:
    name: str = audit("Any word.")


@dataclass
class Done:
    ids: list[str] = audit("What was done.")
    before: int = audit("Calls before this one.")


def probe(_: Act, key: str):
    try:
        niquests.post("http://api.internal/v1/refused", json={})
    except Exception:
        return Unknown()
    return [Done(["a probe posted"], 0)]


@external(key="act_{name}", scope="tenant", keeps_keys=True, egress=[CHARGES], probe=probe)
def {{name}}(act: Act, _: Permit) -> Done:
    """Posts twice."""
    kept = store.open("")
    before = int(kept.get("count") or b"0")
    kept.set("count", str(before + 1).encode())
    with niquests.Session() as session:
        told = [{"name": act.name, "before": before, "part": part} for part in (1, 2)]
        answers = [session.post(CHARGES, json=body) for body in told]
    return Done([answer.raise_for_status().json()["id"] for answer in answers], before)
