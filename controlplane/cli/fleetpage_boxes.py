"""Nodes and replicas, as the wire tells of them, made into tiles and boxes.

Owns which state of a replica is drawn how, and what sets a node apart. Refuses to drop
anything that runs: a replica whose node is not listed stands on a node of its own, marked lost.
"""

from collections.abc import Mapping

from slacktide.v1.node_pb2 import (
    NODE_STATE_DRAINED,
    NODE_STATE_DRAINING,
    NODE_STATE_LOST,
    Node,
)
from slacktide.v1.placement_pb2 import Placement
from slacktide.v1.placement_service_pb2 import FrontierShare
from slacktide.v1.replica_pb2 import (
    DESIRED_STATE_STOPPED,
    REPLICA_STATE_DRAINING,
    REPLICA_STATE_FAILED,
    REPLICA_STATE_LOST,
    REPLICA_STATE_RUNNING,
    REPLICA_STATE_STARTING,
    REPLICA_STATE_STOPPED,
    Replica,
)

from controlplane.cli.fleetpage_picture import Box, BoxState, Host, Mark
from controlplane.cli.wording import bare

_UNKNOWN_TYPE = "not known"


def is_gone(replica: Replica) -> bool:
    """Whether it is over and nobody wants it back."""
    is_over = replica.state in (REPLICA_STATE_STOPPED, REPLICA_STATE_LOST)
    return is_over and replica.desired == DESIRED_STATE_STOPPED


def _state(replica: Replica) -> BoxState:
    match replica.state:
        case x if x == REPLICA_STATE_FAILED:
            return BoxState.FAILED
        case x if x == REPLICA_STATE_LOST:
            return BoxState.LOST
        case x if x == REPLICA_STATE_DRAINING or replica.desired == DESIRED_STATE_STOPPED:
            return BoxState.LEAVING
        case x if x == REPLICA_STATE_RUNNING:
            return BoxState.RUNNING
        case x if x == REPLICA_STATE_STARTING:
            return BoxState.STARTING
        case _:
            return BoxState.PLANNED


def box_of(
    replica: Replica, *, number: int, is_pinned: bool, share: FrontierShare | None = None
) -> Box:
    """A replica that exists; `share` is what its planned work takes, None: not known."""
    load = replica.report.load if replica.report.HasField("load") else None
    return Box(
        replica=bare(replica.name),
        deployment=bare(replica.deployment),
        number=number,
        state=_state(replica),
        devices=tuple(sorted(replica.device_indices)),
        online_share=replica.online_share,
        offline_work=replica.offline_share,
        budget_ms=replica.latency_budget_ms,
        online_ratio=share.online_ratio if share else None,
        offline_ratio=share.offline_ratio if share else None,
        online_now=load.online_work if load else None,
        offline_now=load.offline_work if load else None,
        is_pinned=is_pinned,
        note=replica.report.message,
        slo_class=replica.slo_class,
    )


def planned_box(place: Placement, *, number: int, is_pinned: bool) -> Box:
    """One that is decided and waits for its devices."""
    return Box(
        replica="",
        deployment=bare(place.deployment),
        number=number,
        state=BoxState.PLANNED,
        devices=tuple(sorted(place.device_indices)),
        online_share=place.online_share,
        offline_work=place.offline_share,
        budget_ms=place.latency_budget_ms,
        is_pinned=is_pinned,
        note="waits for devices that others still hold",
        slo_class=place.slo_class,
    )


def host_of(
    id_: str,
    node: Node | None,
    *,
    boxes: list[Box],
    pins: Mapping[str, int],
    freeze: str | None,
) -> Host:
    """A node with what is on it.

    Args:
        id_: Of the node.
        node: As listed; None where it is not.
        boxes: On it, in any order.
        pins: Replicas pinned to it, by deployment.
        freeze: Why an operator froze it, "" where they did not say; None: they did not.
    """
    own = tuple(sorted(boxes, key=lambda box: (box.devices, box.replica)))
    pinned = tuple(sorted(pins.items()))
    types = {device.index: device.device_type for device in node.devices} if node else {}
    width = max((*types, *(index for box in own for index in box.devices)), default=-1) + 1
    kinds = tuple(types.get(index, _UNKNOWN_TYPE) for index in range(width))
    if node is None:
        return Host(
            id=id_,
            domain=id_,
            group="",
            device_types=kinds,
            marks=(Mark.LOST,),
            reason="the fleet lists no such node",
            boxes=own,
            pins=pinned,
        )
    return Host(
        id=id_,
        domain=node.failure_domain,
        group=node.group,
        device_types=kinds,
        marks=_marks(node, is_frozen=freeze is not None),
        reason="; ".join(words for words in (node.reason or node.message, freeze or "") if words),
        boxes=own,
        pins=pinned,
    )


def _marks(node: Node, *, is_frozen: bool) -> tuple[Mark, ...]:
    marks = []
    if node.state == NODE_STATE_LOST:
        marks.append(Mark.LOST)
    if node.state == NODE_STATE_DRAINING:
        marks.append(Mark.DRAINING)
    elif node.state == NODE_STATE_DRAINED:
        marks.append(Mark.DRAINED)
    elif node.cordoned:
        marks.append(Mark.CORDONED)
    if node.frozen or is_frozen:
        marks.append(Mark.FROZEN)
    return tuple(marks)
