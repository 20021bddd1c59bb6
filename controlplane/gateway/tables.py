"""Route tables off the wire.

Owns parsing `WatchRoutesResponse` once, at the boundary. Refuses unknown states and
malformed names: a table is taken whole or not at all.
"""

from slacktide.v1 import replica_pb2, routing_service_pb2
from slacktide.wire.names import resource_id

from planner.model import ReplicaState
from planner.routing.table import Route, RouteTable

_STATES = {
    replica_pb2.REPLICA_STATE_PENDING: ReplicaState.PENDING,
    replica_pb2.REPLICA_STATE_STARTING: ReplicaState.STARTING,
    replica_pb2.REPLICA_STATE_RUNNING: ReplicaState.RUNNING,
    replica_pb2.REPLICA_STATE_DRAINING: ReplicaState.DRAINING,
    replica_pb2.REPLICA_STATE_STOPPED: ReplicaState.STOPPED,
    replica_pb2.REPLICA_STATE_FAILED: ReplicaState.FAILED,
    replica_pb2.REPLICA_STATE_LOST: ReplicaState.LOST,
}


def parse_table(response: routing_service_pb2.WatchRoutesResponse) -> RouteTable:
    """Reads a whole table.

    Raises:
        ValueError: a name is malformed, a state UNSPECIFIED, or a share negative.
    """
    return RouteTable(
        revision=response.revision,
        epoch=response.epoch,
        routes=tuple(_parse_route(route) for route in response.routes),
        deployments=tuple(resource_id("deployments", name) for name in response.deployments),
        slo_classes=tuple(
            (resource_id("deployments", one.deployment), tuple(one.slo_classes))
            for one in response.slo_classes
        ),
    )


def online_requests(load: replica_pb2.ReplicaLoad) -> int:
    """Online requests a replica runs and queues."""
    return load.online_running + load.online_waiting


def _parse_route(route: routing_service_pb2.Route) -> Route:
    replica = resource_id("replicas", route.replica)
    state = _STATES.get(route.state)
    if state is None:
        raise ValueError(f"replica {replica}: state {route.state}; must be a known one")
    if not route.online_share >= 0:
        raise ValueError(f"replica {replica}: online share {route.online_share}; must be >= 0")
    return Route(
        replica=replica,
        deployment=resource_id("deployments", route.deployment),
        node=resource_id("nodes", route.node),
        address=route.address,
        online_share=route.online_share,
        state=state,
        max_running_requests=route.max_running_requests,
        slo_class=route.slo_class,
    )
