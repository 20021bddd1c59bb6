"""Online requests alone: what co-location is measured against.

Source: Sarathi-Serve (arXiv 2403.02310), chunked prefill with stall-free batching under a
token budget. The budget is the engine's `chunked_prefill_size`; online prompts and decodes
are the engine's to batch. HyGen (arXiv 2501.14808) calls it Sarathi.
"""

from dataclasses import dataclass, replace

from planner.batching.baselines.fill import NOTHING, plan_of
from planner.batching.baselines.room import latest_first, leave_room
from planner.batching.eviction import is_evictable
from planner.batching.state import Budgets, EngineState, IterationPlan, WorkClass
from planner.latency.predictor import LatencyModel


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineOnly:
    """Runs no offline work; rows left of it give up their KV as soon as they can."""

    def __call__(
        self, state: EngineState, *, model: LatencyModel, budgets: Budgets
    ) -> IterationPlan:
        """Plans one iteration; see `planner.batching.policy.Policy`."""
        gone = {
            row.rid: row
            for row in (*state.running, *state.parked)
            if row.work_class is not WorkClass.ONLINE and is_evictable(row)
        }
        alone = replace(
            state,
            running=tuple(row for row in state.running if row.rid not in gone),
            parked=tuple(row for row in state.parked if row.rid not in gone),
            kv_free_tokens=state.kv_free_tokens + sum(r.context_tokens for r in gone.values()),
            free_rows=state.free_rows + len(gone),
        )
        room = leave_room(alone, victim_key=latest_first)
        plan = plan_of(alone, room, NOTHING, order=(), model=model, budget_ms=0.0)
        return replace(plan, evict=tuple(sorted(gone)), requeue_started=room.started is not None)
