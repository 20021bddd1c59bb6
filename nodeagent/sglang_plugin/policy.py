"""The order of the waiting queue: online first, then offline as the plan orders it."""

from time import perf_counter_ns
from typing import Any

from sglang.srt.managers.schedule_policy import SchedulePolicy

from nodeagent.sglang_plugin.colocation import Colocation
from nodeagent.sglang_plugin.rows import is_offline, online_order


class ColocationPolicy(SchedulePolicy):  # type: ignore[misc]
    """SGLang's policy, then ours: a stable sort on top of what it decided."""

    def __init__(self, *args: Any, colocation: Colocation, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._colocation = colocation

    def calc_priority(self, waiting_queue: list[Any], *args: Any, **kwargs: Any) -> None:
        """Sorts the queue in place. Offline requests the plan does not name come last."""
        super().calc_priority(waiting_queue, *args, **kwargs)
        started_ns = perf_counter_ns()
        place = {rid: i for i, rid in enumerate(self._colocation.plan.offline_order)}
        waiting_queue.sort(
            key=lambda req: (
                (1, place.get(req.rid, len(place)), 0.0)
                if is_offline(req)
                else (0, *online_order(req))
            )
        )
        self._colocation.cost.spent_ns += perf_counter_ns() - started_ns
