"""Fleets that are not there: nodes lost, added or cordoned, load scaled.

Pure. Owns how a what-if changes a view and a snapshot. Refuses what names nothing, with
the remedy. Invariants: nothing is stored; a lost node is as the keeper marks it, so that
the plan is the one a real loss would get.
"""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from planner.model import Device, ReplicaState, Snapshot
from storage.records import GROUP_LABEL, FleetView, NodeRecord

PREFIX = "whatif-"
"""Of the ids of supposed nodes; a number follows."""

_EXAMPLE_DEVICES, _EXAMPLE_MEMORY = 8, "80GiB"  # of a node that a remedy shows


@dataclass(frozen=True, slots=True, kw_only=True)
class Addition:
    """Nodes to suppose; 0 stands for what most nodes of that device type have."""

    count: int
    device_type: str
    devices: int = 0
    memory_bytes: int = 0
    group: str = ""


def with_lost(view: FleetView, nodes: Sequence[str]) -> FleetView:
    """The view as it would be once the leases of these nodes lapsed."""
    lost = set(nodes)
    return replace(
        view,
        nodes=tuple(replace(one, is_ready=False) if one.id in lost else one for one in view.nodes),
        allocations=tuple(
            replace(one, allocation=replace(one.allocation, state=ReplicaState.LOST))
            if one.allocation.node in lost and one.allocation.state is not ReplicaState.STOPPED
            else one
            for one in view.allocations
        ),
    )


def with_cordoned(view: FleetView, nodes: Sequence[str]) -> FleetView:
    """The view with these nodes cordoned."""
    closed = set(nodes)
    return replace(
        view,
        nodes=tuple(
            replace(one, is_cordoned=True) if one.id in closed else one for one in view.nodes
        ),
    )


def with_added(view: FleetView, additions: Sequence[Addition]) -> FleetView:
    """The view with more nodes, ready and empty, each a failure domain of its own.

    Raises:
        ValueError: A type is not the fleet's, or several are meant; or its devices or
            memory are not known.
    """
    taken = {one.id for one in view.nodes}
    added: list[NodeRecord] = []
    number = 0
    for addition in additions:
        shape = _shape(view, addition)
        for _ in range(addition.count):
            number += 1
            while (id_ := f"{PREFIX}{number}") in taken:
                number += 1
            added.append(
                NodeRecord(
                    id=id_,
                    devices=shape,
                    failure_domain=id_,
                    labels=((GROUP_LABEL, addition.group),) if addition.group else (),
                )
            )
    nodes = sorted((*view.nodes, *added), key=lambda one: one.id)
    return replace(view, nodes=tuple(nodes))


def _shape(view: FleetView, addition: Addition) -> tuple[Device, ...]:
    """The devices of one such node."""
    known = [one.devices for one in view.nodes]
    kinds = sorted({device.device_type for devices in known for device in devices})
    meant = [one for one in kinds if one == addition.device_type] or [
        one for one in kinds if addition.device_type.lower() in one.lower()
    ]
    is_whole = addition.devices > 0 and addition.memory_bytes > 0
    if len(meant) != 1 and not is_whole:
        raise ValueError(_unknown(addition, kinds=kinds, meant=meant))
    kind = meant[0] if len(meant) == 1 else addition.device_type
    own = [[one for one in devices if one.device_type == kind] for devices in known]
    counts = Counter(len(devices) for devices in own if devices)
    sizes = Counter(one.memory_bytes for devices in own for one in devices)
    devices = addition.devices or _most_common(counts)
    memory_bytes = addition.memory_bytes or _most_common(sizes)
    return tuple(
        Device(index=index, device_type=kind, memory_bytes=memory_bytes) for index in range(devices)
    )


def _unknown(addition: Addition, *, kinds: Sequence[str], meant: Sequence[str]) -> str:
    """Why nothing is known of the type, and what to say instead."""
    which = f"is part of {', '.join(meant)}" if meant else "is no type of this fleet"
    there = ", ".join(kinds) or "no devices"
    devices = addition.devices or _EXAMPLE_DEVICES
    whole = f"{addition.count}x{addition.device_type}:{devices}x{_EXAMPLE_MEMORY}"
    return (
        f"device type {addition.device_type!r} {which}, which has {there};"
        f" {'name one of them, or ' if kinds else ''}say devices and memory_bytes, too, as"
        f" `--add-nodes {shlex.quote(whole)}` does"
    )


def _most_common(counts: Counter[int]) -> int:
    """The value seen most, the largest of several."""
    return max(counts, key=lambda value: (counts[value], value))


def with_scaled_load(snapshot: Snapshot, factors: Mapping[str, float]) -> Snapshot:
    """The snapshot with online demand of these deployments times a factor."""
    return replace(
        snapshot,
        deployments=tuple(
            replace(
                one,
                online_work=one.online_work * factors[one.id],
                slo_classes=tuple(
                    replace(each, online_work=each.online_work * factors[one.id])
                    for each in one.slo_classes
                ),
            )
            if one.id in factors
            else one
            for one in snapshot.deployments
        ),
    )


def without_move_bound(snapshot: Snapshot) -> Snapshot:
    """The snapshot with as many moves as it takes: a what-if asks where rounds end up."""
    return replace(snapshot, max_moves=None)
