"""The route table gateways watch.

Invariant: only replicas of nodes that hold their lease are routes, and one whose stop
may begin is DRAINING from the commit that says so.
"""

from collections.abc import Mapping

from slacktide.v1 import replica_pb2, routing_service_pb2
from slacktide.wire.names import resource_name

from controlplane.messages.replicas import STATE_VALUES
from controlplane.messages.slo import to_slo
from planner.model import ReplicaState
from storage.records import AllocationRecord, FleetView

_ROUTED = (ReplicaState.RUNNING, ReplicaState.DRAINING)


def route_table(
    view: FleetView, *, loads: Mapping[str, replica_pb2.ReplicaLoad]
) -> routing_service_pb2.WatchRoutesResponse:
    """The whole table at the view's revision, sorted by replica.

    Args:
        view: the committed state.
        loads: last fresh load by replica id.
    """
    return routing_service_pb2.WatchRoutesResponse(
        revision=view.state.revision,
        epoch=view.state.epoch,
        routes=[
            route
            for one in view.allocations
            if one.allocation.state in _ROUTED
            and (route := _route(view, one, loads=loads)) is not None
        ],
        deployments=[
            resource_name("deployments", one.id) for one in view.deployments if not one.is_deleted
        ],
        slo_classes=[
            routing_service_pb2.DeploymentClasses(
                deployment=resource_name("deployments", one.id),
                slo_classes=[each.id for each in one.spec.slo_classes],
            )
            for one in view.deployments
            if one.spec.slo_classes and not one.is_deleted
        ],
    )


def content_of(table: routing_service_pb2.WatchRoutesResponse) -> bytes:
    """What makes two tables differ: all but the revision and the loads."""
    content = routing_service_pb2.WatchRoutesResponse()
    content.CopyFrom(table)
    content.revision = 0
    for route in content.routes:
        route.ClearField("load")
    return content.SerializeToString(deterministic=True)


def _route(
    view: FleetView,
    record: AllocationRecord,
    *,
    loads: Mapping[str, replica_pb2.ReplicaLoad],
) -> routing_service_pb2.Route | None:
    one = record.allocation
    node = view.node(one.node)
    deployment = view.deployment(one.deployment)
    if node is None or not node.is_ready or deployment is None:
        return None
    state = ReplicaState.DRAINING if record.is_released else one.state
    return routing_service_pb2.Route(
        replica=resource_name("replicas", one.replica),
        deployment=resource_name("deployments", one.deployment),
        node=resource_name("nodes", one.node),
        address=node.address,
        online_share=one.online_share,
        state=STATE_VALUES[state],
        load=loads.get(one.replica),
        slo=to_slo(deployment.spec.slo),
        max_running_requests=record.engine.max_running_requests,
        slo_class=one.slo_class,
    )
