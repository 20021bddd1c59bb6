"""Whether a replica may run offline work now.

Owns the list of conditions and their order: the reason given is the gravest. Refuses on
any doubt. Invariant: None is returned only if every condition is known to hold.
"""

from dataclasses import dataclass
from enum import Enum

from planner.model import ReplicaState, Stage

STALE_TELEMETRY_S = 3.0
"""Three missed polls of an engine."""

LONG_DRIFT_S = 60.0
"""Beyond two intervals between refits; other replicas may run the items meanwhile."""


class Yielding(Enum):
    """What becomes of the offline items a replica already holds."""

    HOLD = "hold"  # they may finish; no new ones
    RETURN = "return"  # aborted and handed back
    DROP = "drop"  # aborted and forgotten: others have them already


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineFacts:
    """What is known of a replica, as its agent sees it."""

    state: ReplicaState
    stage: Stage
    is_lease_held: bool
    kill_switch: bool
    is_cordoned: bool
    plugin_refusal: str  # empty: the expected plugin runs and obeys
    telemetry_age_s: float | None  # None: never heard
    guard_reason: str = ""  # empty: the guard has not cut
    drift_reason: str = ""  # empty: predictions hold
    drift_held_s: float = 0.0  # 0 while they hold


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineRefusal:
    """Why not, in one sentence, and what to do with what is held."""

    reason: str
    yielding: Yielding


def offline_refusal(facts: OfflineFacts) -> OfflineRefusal | None:
    """The gravest reason against offline work; None if there is none."""
    if not facts.is_lease_held:
        return OfflineRefusal(
            reason="lease not held: no control plane grants it; offline work waits",
            yielding=Yielding.DROP,
        )
    if facts.kill_switch:
        return OfflineRefusal(reason="kill switch engaged", yielding=Yielding.RETURN)
    if facts.state is not ReplicaState.RUNNING:
        return OfflineRefusal(reason=f"replica is {facts.state.value}", yielding=Yielding.RETURN)
    if not facts.stage.runs_offline:
        return OfflineRefusal(
            reason=f"stage is {facts.stage.value}: offline work runs at canary and active",
            yielding=Yielding.RETURN,
        )
    if facts.plugin_refusal:
        return OfflineRefusal(reason=facts.plugin_refusal, yielding=Yielding.RETURN)
    if facts.drift_held_s > LONG_DRIFT_S:
        return OfflineRefusal(reason=f"predictions: {facts.drift_reason}", yielding=Yielding.RETURN)
    if facts.telemetry_age_s is None or facts.telemetry_age_s > STALE_TELEMETRY_S:
        heard = "never" if facts.telemetry_age_s is None else f"{facts.telemetry_age_s:.1f} s ago"
        return OfflineRefusal(
            reason=f"engine telemetry is stale: heard {heard}, allowed {STALE_TELEMETRY_S:g} s",
            yielding=Yielding.HOLD,
        )
    if facts.is_cordoned:
        return OfflineRefusal(reason="node is cordoned", yielding=Yielding.HOLD)
    if facts.guard_reason:
        return OfflineRefusal(reason=f"guard: {facts.guard_reason}", yielding=Yielding.HOLD)
    if facts.drift_reason:
        return OfflineRefusal(reason=f"predictions: {facts.drift_reason}", yielding=Yielding.HOLD)
    return None
