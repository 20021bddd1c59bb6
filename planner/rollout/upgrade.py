"""The order of a rolling upgrade.

Owns which process is replaced next, and by which actions. Refuses to remember: the steps
follow from what is seen now, so a walk that stopped anywhere goes on from there by asking
again. Invariants: control planes before gateways before agents (a control plane speaks
the protocol of the release before it, not of the one after); one agent at a time, so
that its replicas can run on the others; no agent is replaced before its node is empty.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class ProcessKind(Enum):
    """Kinds of processes, in the order an upgrade replaces them."""

    CONTROL_PLANE = "control-plane"
    GATEWAY = "gateway"
    AGENT = "agent"


class Action(Enum):
    """What is done to a process, or to its node."""

    DRAIN = "drain"
    REPLACE = "replace"
    UNCORDON = "uncordon"


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenProcess:
    """A process as the upgrade finds it.

    `is_held` says that its node is cordoned or drained by an upgrade: by this walk, or by
    one that stopped before its end. A cordon of an operator does not count.
    """

    kind: ProcessKind
    id: str
    version: str
    is_running: bool = True
    is_held: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """All that is done to one process."""

    kind: ProcessKind
    id: str
    from_version: str
    actions: tuple[Action, ...]


def plan_upgrade(processes: Iterable[SeenProcess], *, target: str) -> tuple[Step, ...]:
    """The steps that are left until every process runs `target`, in order.

    Within a kind, a process an earlier walk has begun with comes first, then those that
    do not run, then by id, numbers in ids taken as numbers.
    """
    steps = [
        Step(kind=seen.kind, id=seen.id, from_version=seen.version, actions=actions)
        for seen in sorted(processes, key=_order)
        if (actions := _actions(seen, target))
    ]
    return tuple(steps)


def _actions(seen: SeenProcess, target: str) -> tuple[Action, ...]:
    is_done = seen.version == target and seen.is_running
    if seen.kind is not ProcessKind.AGENT:
        return () if is_done else (Action.REPLACE,)
    if is_done:
        return (Action.UNCORDON,) if seen.is_held else ()
    if not seen.is_running:  # nothing runs there that could be drained
        return (Action.REPLACE, Action.UNCORDON) if seen.is_held else (Action.REPLACE,)
    return (Action.DRAIN, Action.REPLACE, Action.UNCORDON)


def _order(seen: SeenProcess) -> tuple[int, bool, bool, list[tuple[int, str]]]:
    kinds = list(ProcessKind)
    parts = [(int(p) if p.isdigit() else -1, p) for p in re.split(r"(\d+)", seen.id)]
    return kinds.index(seen.kind), not seen.is_held, seen.is_running, parts
