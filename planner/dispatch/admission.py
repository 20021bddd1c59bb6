"""Whether a replica may take offline items, and if not, why.

Owns the control plane's half of offline gating; the agent holds the other half (plugin
version, telemetry, lease). Invariant: on any doubt the answer is no.
"""

from dataclasses import dataclass

from planner.model import Desired, ReplicaState, Stage


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineFacts:
    """What the fleet's state says of one replica, read in one transaction.

    Args:
        epoch: fencing epoch in force.
        is_killed: the fleet-wide kill switch is on.
        is_node_ready: the node's agent holds its lease.
        is_node_closed: the node is cordoned, draining or drained.
        deployment: deployment the replica runs.
        stage: how far co-location is enabled for that deployment.
        desired: what the last plan wants of the replica.
        state: what its agent last reported.
    """

    epoch: int
    is_killed: bool
    is_node_ready: bool
    is_node_closed: bool
    deployment: str
    stage: Stage
    desired: Desired
    state: ReplicaState


def pull_refusal(facts: OfflineFacts | None, *, epoch: int) -> str | None:
    """Why a replica gets no items now.

    Args:
        facts: of the replica; None where the node runs no such replica.
        epoch: fencing epoch the node last saw.

    Returns:
        An UPPER_SNAKE_CASE reason, None where it may pull.
    """
    if facts is None:
        return "UNKNOWN_REPLICA"
    if facts.is_killed:
        return "KILL_SWITCH"
    if epoch != facts.epoch:
        return "STALE_EPOCH"
    if not facts.is_node_ready:
        return "NODE_NOT_READY"
    if facts.is_node_closed:
        return "NODE_CORDONED"
    if not facts.stage.runs_offline:
        return "STAGE_WITHOUT_OFFLINE"
    if facts.desired is not Desired.RUNNING or facts.state is not ReplicaState.RUNNING:
        return "REPLICA_NOT_RUNNING"
    return None
