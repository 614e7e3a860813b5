"""Posts twice to one path with niquests, as any program would: nothing here spends a permit."""

from dataclasses import dataclass

import niquests
from stoplog import Permit, Unknown, audit, external

CHARGES = "http://api.internal/v1/charges"


@dataclass
class Act:
    name: str = audit("Any word.")


@dataclass
class Done:
    ids: list[str] = audit("What was done.")


def probe(_: Act, key: str):
    try:
        niquests.post("http://api.internal/v1/refused", json={})
    except Exception:
        return Unknown()
    return [Done(["a probe posted"])]


@external(key="act_{name}", scope="tenant", keeps_keys=True, egress=[CHARGES], probe=probe)
def {{name}}(act: Act, _: Permit) -> Done:
    """Posts twice."""
    with niquests.Session() as session:
        answers = [session.post(CHARGES, json={"name": act.name, "part": part}) for part in (1, 2)]
    return Done([answer.raise_for_status().json()["id"] for answer in answers])
