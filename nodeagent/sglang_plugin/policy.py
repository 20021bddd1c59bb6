"""The order of the waiting queue: online first, then offline as the plan orders it."""

from collections.abc import Callable
from typing import Any

from sglang.srt.managers.schedule_policy import SchedulePolicy

from nodeagent.sglang_plugin.rows import is_offline, online_order
from planner.batching.state import IterationPlan


class ColocationPolicy(SchedulePolicy):  # type: ignore[misc]
    """SGLang's policy, then ours: a stable sort on top of what it decided."""

    def __init__(self, *args: Any, plan: Callable[[], IterationPlan], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._plan = plan

    def calc_priority(self, waiting_queue: list[Any], *args: Any, **kwargs: Any) -> None:
        """Sorts the queue in place. Offline requests the plan does not name come last."""
        super().calc_priority(waiting_queue, *args, **kwargs)
        place = {rid: i for i, rid in enumerate(self._plan().offline_order)}
        waiting_queue.sort(
            key=lambda req: (
                (1, place.get(req.rid, len(place)), 0.0)
                if is_offline(req)
                else (0, *online_order(req))
            )
        )
