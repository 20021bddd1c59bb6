"""Offline work is refused on any doubt."""

from dataclasses import replace

import pytest

from planner.dispatch.admission import OfflineFacts, pull_refusal
from planner.model import Desired, ReplicaState, Stage

OPEN = OfflineFacts(
    epoch=3,
    is_killed=False,
    is_node_ready=True,
    is_node_closed=False,
    deployment="chat",
    stage=Stage.CANARY,
    desired=Desired.RUNNING,
    state=ReplicaState.RUNNING,
)


def test_pull_is_allowed_when_nothing_speaks_against_it() -> None:
    """A running replica at stage canary or active may pull."""
    assert pull_refusal(OPEN, epoch=3) is None
    assert pull_refusal(replace(OPEN, stage=Stage.ACTIVE), epoch=3) is None


@pytest.mark.parametrize(
    ("facts", "epoch", "reason"),
    [
        (None, 3, "UNKNOWN_REPLICA"),
        (replace(OPEN, is_killed=True), 3, "KILL_SWITCH"),
        (OPEN, 2, "STALE_EPOCH"),
        (OPEN, 4, "STALE_EPOCH"),
        (replace(OPEN, is_node_ready=False), 3, "NODE_NOT_READY"),
        (replace(OPEN, is_node_closed=True), 3, "NODE_CORDONED"),
        (replace(OPEN, stage=Stage.OBSERVE), 3, "STAGE_WITHOUT_OFFLINE"),
        (replace(OPEN, stage=Stage.SHADOW), 3, "STAGE_WITHOUT_OFFLINE"),
        (replace(OPEN, desired=Desired.STOPPED), 3, "REPLICA_NOT_RUNNING"),
        *(
            (replace(OPEN, state=state), 3, "REPLICA_NOT_RUNNING")
            for state in ReplicaState
            if state is not ReplicaState.RUNNING
        ),
    ],
)
def test_pull_is_refused_when_a_gate_is_closed(
    facts: OfflineFacts | None, epoch: int, reason: str
) -> None:
    """Each gate alone refuses, with its reason."""
    assert pull_refusal(facts, epoch=epoch) == reason
