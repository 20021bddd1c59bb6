"""What SGLang's own priority scheduling does, and a static cap on top of it.

Source: SGLang 0.5.23 with `enable_priority_scheduling` and `retraction_policy priority`,
read from its scheduler and measured on a CPU (batch beside chat: ITL p99 from 83 to
1,048 ms). Its rules:

- online requests are queued first, each class by arrival (`SchedulePolicy.calc_priority`);
- the mid-prefill request goes on before the queue, whatever its class
  (`PrefillAdder.add_chunked_req`);
- where prefill and decode take turns, prefill always wins;
- a decode is never paused;
- an online request takes the engine row of the latest offline one
  (`preempt_to_schedule`), but never its KV: out of KV it waits. Where a decode's next
  token has no room, the row of the lowest priority with the fewest output tokens is
  retracted (`retract_decode`).

It knows neither time nor SLOs: the state's targets, the model and the latency budget have
no say. The engine's own estimate of future tokens (`new_token_ratio`) is not in the state
and stays with whatever drives the policy.

`ConcurrencyCap` is what operators do about it: a batch client that keeps at most so many
requests in flight.
"""

from dataclasses import dataclass

from planner.batching.baselines.fill import by_arrival, fill_tokens, plan_of, starts_left
from planner.batching.baselines.room import (
    Preempts,
    latest_first,
    least_generated_first,
    leave_room,
)
from planner.batching.state import Budgets, EngineState, IterationPlan, Memory
from planner.latency.predictor import LatencyModel


@dataclass(frozen=True, slots=True, kw_only=True)
class SglangPriority:
    """Queues online first and computes offline prompts whenever there is room."""

    def __call__(
        self, state: EngineState, *, model: LatencyModel, budgets: Budgets
    ) -> IterationPlan:
        """Plans one iteration; see `planner.batching.policy.Policy`."""
        return _plan(state, model=model, budgets=budgets, max_in_flight=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConcurrencyCap:
    """Priority scheduling with at most `max_in_flight` offline requests in the engine.

    Args:
        max_in_flight: >= 0; 0 begins none.
    """

    max_in_flight: int

    def __post_init__(self) -> None:
        if self.max_in_flight < 0:
            raise ValueError(
                f"concurrency cap: max_in_flight is {self.max_in_flight}, must be >= 0"
            )

    def __call__(
        self, state: EngineState, *, model: LatencyModel, budgets: Budgets
    ) -> IterationPlan:
        """Plans one iteration; see `planner.batching.policy.Policy`."""
        return _plan(state, model=model, budgets=budgets, max_in_flight=self.max_in_flight)


def _plan(
    state: EngineState,
    *,
    model: LatencyModel,
    budgets: Budgets,
    max_in_flight: int | None,
) -> IterationPlan:
    room = leave_room(
        state,
        victim_key=least_generated_first,
        row_victim_key=latest_first,
        preempts=Preempts.ROWS_AND_GROWTH,
        started_first=budgets.runs_offline,
    )
    order = by_arrival(state.waiting_offline)
    fill = fill_tokens(
        room,
        order,
        tokens=room.chunk_tokens if budgets.runs_offline else 0,
        starts=starts_left(room, budgets=budgets, max_rows=max_in_flight),
        page_size=state.page_size,
    )
    return plan_of(state, room, fill, order=order, model=model, memory=Memory())
