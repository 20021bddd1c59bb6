"""Online first with preemption, offline in what is left of the token budget.

Source: HyGen (arXiv 2501.14808), evaluation, Sarathi++: Sarathi-Serve (arXiv 2403.02310)
for both classes, online before offline, offline preempted where online lacks KV. It has no
latency limit and does not look at SLOs: its lever is the token budget.

Offline decodes are in every batch (stall-free batching, Sarathi-Serve section 4.2), and
offline prompts are taken in order of arrival. Preemption takes the latest arrival.
"""

from dataclasses import dataclass

from planner.batching.baselines.fill import (
    NOTHING,
    Fill,
    by_arrival,
    fill_tokens,
    has_turn,
    plan_of,
    starts_left,
)
from planner.batching.baselines.room import latest_first, leave_room
from planner.batching.state import Budgets, EngineState, IterationPlan
from planner.latency.predictor import LatencyModel

ANY_NUMBER = 1 << 30


@dataclass(frozen=True, slots=True, kw_only=True)
class BlindHybrid:
    """Fills each pass up to the token budget.

    Args:
        token_budget: Tokens of a batch, decodes and online prompts included, >= 1; the
            engine's limit holds besides.
        max_rows: Offline requests in the engine, >= 1.
    """

    token_budget: int = ANY_NUMBER
    max_rows: int = 256

    def __post_init__(self) -> None:
        if self.token_budget < 1 or self.max_rows < 1:
            raise ValueError(
                f"blind hybrid: token_budget {self.token_budget} and max_rows "
                f"{self.max_rows}, both must be >= 1"
            )

    def __call__(
        self, state: EngineState, *, model: LatencyModel, budgets: Budgets
    ) -> IterationPlan:
        """Plans one iteration; see `planner.batching.policy.Policy`."""
        plan, _ = self.plan_up_to(ANY_NUMBER, state=state, model=model, budgets=budgets)
        return plan

    def plan_up_to(
        self, starts: int, *, state: EngineState, model: LatencyModel, budgets: Budgets
    ) -> tuple[IterationPlan, Fill]:
        """Plans one iteration that begins at most `starts` offline requests."""
        room = leave_room(state, victim_key=latest_first)
        starts = min(starts, starts_left(room, budgets=budgets, max_rows=self.max_rows))
        # Nobody is looked at where none can begin behind a request that goes on.
        may_fill = starts > 0 or room.started is not None
        order = by_arrival(state.waiting_offline) if may_fill else []
        fill = NOTHING
        decode_rows = room.decodes.rows + len(room.rows)
        if budgets.runs_offline and has_turn(state, decode_rows=decode_rows):
            fill = fill_tokens(
                room,
                order,
                tokens=self.token_budget - decode_rows - room.prefill.tokens,
                starts=starts,
                page_size=state.page_size,
            )
        return plan_of(state, room, fill, order=order, model=model), fill
