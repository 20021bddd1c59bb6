"""Offline requests alone: the ceiling of what an engine harvests.

Source: HyGen (arXiv 2501.14808), evaluation, Sarathi-offline: Sarathi-Serve's scheduler on
the batch alone, its chunk size tuned for throughput. Tune `chunk_tokens` and `max_rows` by
sweeping; a ceiling that is not tuned flatters whoever is measured against it.

Where prefill and decode take turns, prompts go first until rows or KV are full: with no
latency to hold, the largest decode batches give the most tokens.
"""

from dataclasses import dataclass
from enum import Enum

from planner.batching.baselines.fill import by_arrival, fill_tokens, plan_of, starts_left
from planner.batching.baselines.room import latest_first, leave_room
from planner.batching.state import Budgets, EngineState, IterationPlan, Memory, PrefillWork
from planner.latency.predictor import LatencyModel


class OfflineOrder(Enum):
    """In which order a batch is computed."""

    ARRIVAL = "arrival"  # as its authors run it
    PREFIX = "prefix"  # prompts that share a prefix together: the ceiling of a shared batch


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineOnly:
    """Fills every pass, blind to latency.

    Args:
        chunk_tokens: Prompt tokens of a pass, >= 1; the engine's limit holds besides.
        max_rows: Requests in the engine, >= 1.
        order: Of waiting requests.
    """

    chunk_tokens: int = 1 << 30
    max_rows: int = 256
    order: OfflineOrder = OfflineOrder.ARRIVAL

    def __post_init__(self) -> None:
        if self.chunk_tokens < 1 or self.max_rows < 1:
            raise ValueError(
                f"offline only: chunk_tokens {self.chunk_tokens} and max_rows "
                f"{self.max_rows}, both must be >= 1"
            )

    def __call__(
        self, state: EngineState, *, model: LatencyModel, budgets: Budgets
    ) -> IterationPlan:
        """Plans one iteration; see `planner.batching.policy.Policy`."""
        room = leave_room(state, victim_key=latest_first)
        order = _ordered(state.waiting_offline, order=self.order)
        fill = fill_tokens(
            room,
            order,
            tokens=self.chunk_tokens if budgets.runs_offline else 0,
            starts=starts_left(room, budgets=budgets, max_rows=self.max_rows),
            page_size=state.page_size,
        )
        return plan_of(state, room, fill, order=order, model=model, memory=Memory())


def _ordered(waiting: tuple[PrefillWork, ...], *, order: OfflineOrder) -> list[PrefillWork]:
    if order is OfflineOrder.PREFIX:
        return sorted(waiting, key=lambda work: (work.prompt_key, work.arrival_s, work.rid))
    return by_arrival(waiting)
