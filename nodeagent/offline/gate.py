"""What offline work may do on one replica now.

Owns the replica's guard and its canary's bucket, and gathers what the gate depends on:
node, stage, telemetry, guard, drift. Refuses to decide: the rules are planner.rollout's.
Invariant: a cut by guard or drift reaches the engine as budgets, so that rows in it stop
as well.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from nodeagent.assignment import DesiredReplica
from nodeagent.engine.client import EngineClient
from nodeagent.engine.errors import EngineError
from nodeagent.latencies import Latencies
from nodeagent.telemetry import Telemetry
from planner.batching.state import Budgets
from planner.model import ReplicaState, Stage
from planner.rollout.budgets import engine_budgets
from planner.rollout.canary import WorkCap
from planner.rollout.gate import OfflineFacts, OfflineRefusal, Yielding, offline_refusal
from planner.rollout.guard import GuardReading, GuardSettings, GuardState, judge

_log = logging.getLogger(__name__)

_GUARD_INTERVAL_S = 0.5
_GUARD_WINDOW_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeFacts:
    """What of the node's state a replica's offline work depends on."""

    is_lease_held: bool
    kill_switch: bool
    is_cordoned: bool


class OfflineGate:
    """The gate of one replica; `run` its guard in a task of its own.

    Args:
        desired: what the assignment wants of the replica now.
        state: of the replica now.
        node_facts: of the node now.
        telemetry: of its engine.
        latencies: of its online requests.
        client: the engine while it runs.
        window: offline items in the engine at the most.
    """

    def __init__(
        self,
        *,
        desired: Callable[[], DesiredReplica],
        state: Callable[[], ReplicaState],
        node_facts: Callable[[], NodeFacts],
        telemetry: Telemetry,
        latencies: Latencies,
        client: Callable[[], EngineClient | None],
        window: int,
    ) -> None:
        self._desired = desired
        self._state = state
        self._node_facts = node_facts
        self._telemetry = telemetry
        self._latencies = latencies
        self._client = client
        self._window = window
        self._guard = GuardState()
        self._guard_settings = GuardSettings()
        self._cap = WorkCap()

    def refuse(self) -> OfflineRefusal | None:
        """Why offline work may not run here now; None if it may."""
        node, drift, now_s = self._node_facts(), self._telemetry.drift, time.monotonic()
        return offline_refusal(
            OfflineFacts(
                state=self._state(),
                stage=self._desired().stage,
                is_lease_held=node.is_lease_held,
                kill_switch=node.kill_switch,
                is_cordoned=node.is_cordoned,
                plugin_refusal=self._telemetry.refusal,
                telemetry_age_s=self._telemetry.age_s(now_s=now_s),
                guard_reason=self._guard.reason,
                drift_reason=drift.reason,
                drift_held_s=drift.held_s(now_s=now_s),
            )
        )

    def budgets(self) -> Budgets:
        """What the engine is held to now. A held window may finish; a cut stops its rows."""
        desired, refusal = self._desired(), self.refuse()
        is_cut = bool(self._guard.reason or self._telemetry.drift.reason) or (
            refusal is not None and refusal.yielding is not Yielding.HOLD
        )
        return engine_budgets(
            slo=desired.slo,
            latency_budget_ms=desired.latency_budget_ms,
            stage=desired.stage,
            may_run_offline=not is_cut,
        )

    def limit(self, in_engine: int) -> int:
        """Items that may start: at stage canary the offline share is a ceiling."""
        desired = self._desired()
        if desired.stage is not Stage.CANARY:
            self._cap = WorkCap()
            return self._window
        self._cap = self._cap.filled(share=desired.offline_share, now_s=time.monotonic())
        return self._cap.room(in_engine=in_engine)

    def charge(self, work_ms: float) -> None:
        """Accounts an item that ended, in engine-milliseconds."""
        self._cap = self._cap.charged(work_ms)

    async def run(self) -> None:
        """Cuts offline work when online latency suffers, and restores it, until cancelled."""
        while True:
            await asyncio.sleep(_GUARD_INTERVAL_S)
            was_cut = self._guard.is_cut
            is_running = self._state() is ReplicaState.RUNNING
            if not is_running or not self._desired().stage.runs_offline:
                self._guard = GuardState()
                continue
            self._guard = self._judged(now_s=time.monotonic())
            if self._guard.is_cut != was_cut:
                await self._apply_guard()

    def _judged(self, *, now_s: float) -> GuardState:
        recent = self._latencies.summarize(after_s=now_s - _GUARD_WINDOW_S)
        reading = GuardReading(
            now_s=now_s,
            telemetry_age_s=self._telemetry.age_s(now_s=now_s),
            requests=recent.requests,
            attained=recent.attained,
            gaps=recent.itl_ms.count,
            itl_p99_ms=recent.itl_ms.p99,
        )
        return judge(self._guard, reading, slo=self._desired().slo, settings=self._guard_settings)

    async def _apply_guard(self) -> None:
        """Cuts or restores at once; the next poll repeats it if this fails."""
        replica = self._desired().id
        _log.warning(
            "guard_changed replica=%s cut=%s hold_s=%.0f reason=%r",
            *(replica, self._guard.is_cut, self._guard.hold_s, self._guard.reason),
        )
        if (client := self._client()) is None:
            return
        try:
            await self._telemetry.set_budgets(client, self.budgets())
        except EngineError as error:
            _log.warning("guard_not_applied replica=%s cause=%s", replica, error)
