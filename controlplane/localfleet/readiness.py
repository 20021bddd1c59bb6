"""Waiting until something is so, with a deadline and words.

Owns the conditions a fleet's start and an upgrade rest on: a process answers its health
check, the control plane sees it in the version it should have, deployments run as many
replicas as they want. Refuses to wait for a process that has ended.
"""

import time
from collections.abc import Callable, Iterable
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from slacktide.v1.deployment_pb2 import Deployment
from slacktide.v1.deployment_service_pb2 import ListDeploymentsRequest, ListReplicasRequest
from slacktide.v1.fleet_service_pb2 import (
    COMPONENT_KIND_AGENT,
    COMPONENT_KIND_CONTROL_PLANE,
    COMPONENT_KIND_GATEWAY,
    ComponentKind,
    GetFleetRequest,
)
from slacktide.v1.node_pb2 import NODE_STATE_DRAINED, NODE_STATE_READY, Node, NodeState
from slacktide.v1.node_service_pb2 import GetNodeRequest, ListNodesRequest
from slacktide.v1.replica_pb2 import (
    DESIRED_STATE_RUNNING,
    REPLICA_STATE_RUNNING,
    Replica,
    ReplicaState,
)

from controlplane.client import CALL_DEADLINE_S, Fleet, pages
from controlplane.localfleet.processes import require_running
from controlplane.localfleet.record import LocalFleetError, ProcessRecord
from planner.rollout.upgrade import ProcessKind

Tell = Callable[[str], None]
"""Shows one line of progress."""

_POLL_S = 0.25
_HEALTH_DEADLINE_S = 2.0
_COMPONENT = {
    ProcessKind.CONTROL_PLANE: COMPONENT_KIND_CONTROL_PLANE,
    ProcessKind.GATEWAY: COMPONENT_KIND_GATEWAY,
    ProcessKind.AGENT: COMPONENT_KIND_AGENT,
}


def wait_until(
    what: str,
    observe: Callable[[], str],
    *,
    timeout_s: float,
    tell: Tell | None = None,
    processes: Iterable[ProcessRecord] = (),
) -> None:
    """Polls until `observe` returns "", otherwise what still stands in the way.

    Args:
        what: of what one waits, for the error.
        observe: looks once.
        timeout_s: how long to wait, in seconds.
        tell: shows what stands in the way each time it changes.
        processes: end the wait when one of them has ended.

    Raises:
        LocalFleetError: a process ended, or the time is over; with the last observation.
    """
    watched = tuple(processes)
    give_up = time.monotonic() + timeout_s
    told = ""
    while True:
        for process in watched:
            require_running(process)
        try:
            obstacle = observe()
        except grpc.RpcError as error:
            assert isinstance(error, grpc.Call)
            obstacle = f"{error.code().name}: {error.details()}"
        if not obstacle:
            return
        if time.monotonic() > give_up:
            raise LocalFleetError(f"{what}: not so after {timeout_s:.0f} s: {obstacle}")
        if tell and obstacle != told:
            tell(f"{what}: {obstacle}")
            told = obstacle
        time.sleep(_POLL_S)


def is_serving(address: str) -> bool:
    """Whether the process at host:port answers its health check with SERVING."""
    with grpc.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=_HEALTH_DEADLINE_S)
        except grpc.RpcError:
            return False
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


def wait_serving(process: ProcessRecord, *, timeout_s: float) -> None:
    """Waits until a process is healthy.

    Raises:
        LocalFleetError: it ended, or is not healthy in time.
    """
    wait_until(
        f"{process.kind.value} {process.id} at {process.address}",
        lambda: "" if is_serving(process.address) else f"not healthy yet, log {process.log}",
        timeout_s=timeout_s,
        processes=[process],
    )


def wait_seen(fleet: Fleet, process: ProcessRecord, *, timeout_s: float) -> None:
    """Waits until the control plane sees a process in its version.

    Raises:
        LocalFleetError: it ended, or is not seen in time.
    """

    def observe() -> str:
        answer = fleet.fleet.GetFleet(GetFleetRequest(), timeout=CALL_DEADLINE_S)
        kind = _COMPONENT[process.kind]
        seen = [c for c in answer.components if c.kind == kind]
        if process.kind is not ProcessKind.CONTROL_PLANE:  # it names itself
            seen = [c for c in seen if c.id == process.id]
        if not seen:
            return f"the control plane does not see {ComponentKind.Name(kind)} {process.id} yet"
        if all(c.version != process.version for c in seen):
            return f"runs {seen[0].version}, expected {process.version}"
        return "" if all(c.state != "lost" for c in seen) else "lost"

    wait_until(
        f"{process.kind.value} {process.id}", observe, timeout_s=timeout_s, processes=[process]
    )


def wait_nodes_ready(fleet: Fleet, agents: Iterable[ProcessRecord], *, timeout_s: float) -> None:
    """Waits until the agents hold their leases, in their versions.

    Raises:
        LocalFleetError: one ended, or does not in time.
    """
    wanted = tuple(agents)

    def observe() -> str:
        nodes = {node.name.rpartition("/")[2]: node for node in list_nodes(fleet)}
        for agent in wanted:
            node = nodes.get(agent.id)
            if node is None:
                return f"node {agent.id} has not registered"
            if node.state not in (NODE_STATE_READY, NODE_STATE_DRAINED):
                return f"node {agent.id} is {NodeState.Name(node.state)}"
            if node.agent_version != agent.version:
                return f"node {agent.id} runs {node.agent_version}, expected {agent.version}"
        return ""

    ids = ", ".join(agent.id for agent in wanted)
    wait_until(f"nodes {ids}", observe, timeout_s=timeout_s, processes=wanted)


def wait_drained(fleet: Fleet, node: str, *, timeout_s: float, tell: Tell) -> None:
    """Waits until nothing runs on a node.

    Raises:
        LocalFleetError: something still does when the time is over.
    """

    def observe() -> str:
        found = get_node(fleet, node)
        if found.state == NODE_STATE_DRAINED:
            return ""
        left = [r for r in list_replicas(fleet) if r.node == found.name and _occupies(r)]
        states = ", ".join(f"{r.name.rpartition('/')[2]} {_state(r)}" for r in left)
        return f"{NodeState.Name(found.state)}{': ' + states if states else ''}"

    wait_until(f"drain of {node}", observe, timeout_s=timeout_s, tell=tell)


def wait_settled(fleet: Fleet, *, timeout_s: float, tell: Tell) -> None:
    """Waits until every deployment runs its least replicas and nothing is on the way.

    Raises:
        LocalFleetError: not so when the time is over.
    """

    def observe() -> str:
        obstacles = [
            f"{d.name.rpartition('/')[2]} runs {d.status.running_replicas} of {d.spec.min_replicas}"
            for d in list_deployments(fleet)
            if d.status.running_replicas < d.spec.min_replicas
        ]
        obstacles += [
            f"{r.name.rpartition('/')[2]} is {_state(r)}"
            for r in list_replicas(fleet)
            if (r.desired == DESIRED_STATE_RUNNING) != (r.state == REPLICA_STATE_RUNNING)
            and _occupies(r)
        ]
        return "; ".join(obstacles)

    wait_until("fleet settles", observe, timeout_s=timeout_s, tell=tell)


def get_node(fleet: Fleet, node: str) -> Node:
    """One node by its id."""
    request = GetNodeRequest(name=f"nodes/{node}")
    return fleet.nodes.GetNode(request, timeout=CALL_DEADLINE_S).node


def list_nodes(fleet: Fleet) -> list[Node]:
    """All nodes."""
    asked = pages(
        lambda token: fleet.nodes.ListNodes(
            ListNodesRequest(page_token=token), timeout=CALL_DEADLINE_S
        )
    )
    return [node for page in asked for node in page.nodes]


def list_deployments(fleet: Fleet) -> list[Deployment]:
    """All deployments."""
    asked = pages(
        lambda token: fleet.deployments.ListDeployments(
            ListDeploymentsRequest(page_token=token), timeout=CALL_DEADLINE_S
        )
    )
    return [deployment for page in asked for deployment in page.deployments]


def list_replicas(fleet: Fleet) -> list[Replica]:
    """All replicas, also those that are gone."""
    asked = pages(
        lambda token: fleet.deployments.ListReplicas(
            ListReplicasRequest(page_token=token), timeout=CALL_DEADLINE_S
        )
    )
    return [replica for page in asked for replica in page.replicas]


def _occupies(replica: Replica) -> bool:
    return _state(replica) not in ("stopped", "lost", "failed")


def _state(replica: Replica) -> str:
    return ReplicaState.Name(replica.state).removeprefix("REPLICA_STATE_").lower()
