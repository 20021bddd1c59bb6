"""When a replica may run offline work."""

from dataclasses import replace

import pytest

from planner.model import ReplicaState, Stage
from planner.rollout.gate import OfflineFacts, Yielding, offline_refusal

OPEN = OfflineFacts(
    state=ReplicaState.RUNNING,
    stage=Stage.ACTIVE,
    is_lease_held=True,
    kill_switch=False,
    is_cordoned=False,
    plugin_refusal="",
    telemetry_age_s=0.5,
)


def test_gate_admits_when_every_condition_holds() -> None:
    """Running, canary or active, leased, plugin as expected, telemetry fresh: admitted."""
    assert offline_refusal(OPEN) is None
    assert offline_refusal(replace(OPEN, stage=Stage.CANARY)) is None


@pytest.mark.parametrize(
    ("change", "yielding", "word"),
    [
        ({"is_lease_held": False}, Yielding.DROP, "lease"),
        ({"kill_switch": True}, Yielding.RETURN, "kill switch"),
        ({"state": ReplicaState.DRAINING}, Yielding.RETURN, "draining"),
        ({"state": ReplicaState.STARTING}, Yielding.RETURN, "starting"),
        ({"stage": Stage.SHADOW}, Yielding.RETURN, "shadow"),
        ({"stage": Stage.OBSERVE}, Yielding.RETURN, "observe"),
        ({"plugin_refusal": "no plugin"}, Yielding.RETURN, "no plugin"),
        ({"telemetry_age_s": None}, Yielding.HOLD, "never"),
        ({"telemetry_age_s": 4.0}, Yielding.HOLD, "4.0 s ago"),
        ({"is_cordoned": True}, Yielding.HOLD, "cordoned"),
        ({"guard_reason": "ITL p99"}, Yielding.HOLD, "ITL p99"),
        ({"drift_reason": "drifted", "drift_held_s": 60.0}, Yielding.HOLD, "predictions: drifted"),
        (
            {"drift_reason": "drifted", "drift_held_s": 61.0, "is_cordoned": True},
            Yielding.RETURN,
            "predictions: drifted",
        ),
    ],
)
def test_gate_refuses_with_its_reason_when_one_condition_fails(
    change: dict[str, object], yielding: Yielding, word: str
) -> None:
    """Each condition alone closes the gate, says why, and what happens to what is held."""
    refusal = offline_refusal(replace(OPEN, **change))  # type: ignore[arg-type]
    assert refusal is not None
    assert refusal.yielding is yielding
    assert word in refusal.reason


def test_gate_drops_when_the_lease_lapsed_whatever_else_is_wrong() -> None:
    """Without the lease others have the items already: nothing may be handed back."""
    refusal = offline_refusal(replace(OPEN, is_lease_held=False, kill_switch=True))
    assert refusal is not None
    assert refusal.yielding is Yielding.DROP
