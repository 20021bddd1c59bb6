"""The plans a solver process sent, and the one that counts.

Owns what is kept of them and their check. Refuses to trust a line: a plan counts once it
was read, is of this snapshot and passed the verifier, here and not where it was made.
Invariant: few lines are kept however many come, and the newest that passes is the best.

Plans are checked when the solve has ended, newest first, usually one: at 1000 nodes and 50
deployments one check takes 1.5 s of a core (measured) that the solver needs while it works.
A wrong plan that a right one followed is not looked at.
"""

import json
import math
from collections import deque
from typing import Any, NoReturn

from controlplane.rounds.solver_fault import FaultKind, SolverFault
from planner.model import Plan, Snapshot
from planner.placement.verify import verify
from storage.codecs import from_json

PREFIX = b'{"plan": '
"""Of a plan's line; the process writes keys in this order."""

_NEWEST = 3
_SHOWN = 3  # rules shown of a refused plan


class Answers:
    """Lines that claim to be plans: the first, which repairs what runs, and the newest."""

    def __init__(self) -> None:
        self._first: bytes | None = None
        self._newest: deque[bytes] = deque(maxlen=_NEWEST)

    def add(self, line: bytes) -> None:
        """Keeps a line."""
        if self._first is None:
            self._first = line
        else:
            self._newest.append(line)

    def best(self, snapshot: Snapshot) -> tuple[Plan | None, SolverFault | None]:
        """The newest plan that passes, and what was wrong with the newest of all.

        Takes time in proportion to the fleet and the plans; not for the event loop.
        """
        fault: SolverFault | None = None
        kept = [*reversed(self._newest), *([self._first] if self._first else [])]
        for line in kept:
            plan = read_plan(line, snapshot)
            if isinstance(plan, Plan):
                return plan, fault
            fault = fault or plan
        return None, fault


def read_plan(line: bytes, snapshot: Snapshot) -> Plan | SolverFault:
    """A line's plan if it may be committed to the snapshot's state, else why not."""
    try:
        document = json.loads(line, parse_constant=_refuse_constant)
        plan = from_json(Plan, document["plan"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        message = f"a line of {len(line)} bytes is no plan: {_short(error)}"
        return SolverFault(kind=FaultKind.GARBLED, message=message)
    try:
        broken = _broken(snapshot, plan)
    except Exception as error:  # noqa: BLE001 - what the verifier cannot read, it cannot pass
        broken = [f"unreadable: {_short(error)}"]
    if not broken:
        return plan
    more = f"; and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
    return SolverFault(
        kind=FaultKind.REFUSED,
        message=f"revision {snapshot.revision}: the verifier refused a plan:"
        f" {'; '.join(broken[:_SHOWN])}{more}",
    )


def _broken(snapshot: Snapshot, plan: Plan) -> list[str]:
    if plan.base_revision != snapshot.revision:
        return [f"base_revision: {plan.base_revision}, asked for {snapshot.revision}"]
    values = (plan.objective, plan.bound, *(one.value * one.weight for one in plan.terms))
    if not all(math.isfinite(one) for one in values):
        return [f"objective: {plan.objective} with bound {plan.bound} and its terms is no value"]
    return [f"{one.rule} ({one.subject}): {one.message}" for one in verify(snapshot, plan)]


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")


def _short(error: Any) -> str:
    return f"{type(error).__name__}: {error}"[:200]
