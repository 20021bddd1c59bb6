"""Work and tokens a replica has finished.

Owns the conversion of finished requests to work, and its rate over the last seconds.
Refuses requests under way: they count when they end. Invariant: memory is bounded.
"""

from collections import deque
from collections.abc import Callable, Iterator

from planner.batching.state import WorkClass
from planner.latency.predictor import LatencyModel
from planner.latency.work import request_work_ms

_WINDOW_S = 10.0
_MOST_SAMPLES = 20_000


class WorkMeter:
    """Counts finished requests of one replica.

    Args:
        model: the latency model in force.
        clock: monotonic seconds.
    """

    def __init__(self, *, model: Callable[[], LatencyModel], clock: Callable[[], float]) -> None:
        self._model = model
        self._clock = clock
        self._samples: deque[tuple[float, WorkClass, str, float]] = deque(maxlen=_MOST_SAMPLES)
        self._tokens = dict.fromkeys(WorkClass, 0)

    def add(
        self,
        work_class: WorkClass,
        *,
        prompt_tokens: int,
        output_tokens: int,
        cached_tokens: int = 0,
        slo_class: str = "",
    ) -> float:
        """Counts a request that ended now; returns its work, engine-milliseconds."""
        work_ms = request_work_ms(
            self._model(),
            prompt_tokens=prompt_tokens,
            cached_tokens=cached_tokens,
            output_tokens=output_tokens,
        )
        self._tokens[work_class] += prompt_tokens + output_tokens
        self._samples.append((self._clock(), work_class, slo_class, work_ms))
        return work_ms

    def tokens(self, work_class: WorkClass) -> int:
        """Prompt and output tokens finished since the replica started."""
        return self._tokens[work_class]

    def rate(self, work_class: WorkClass) -> float:
        """Work over the last seconds, in engine-milliseconds per second."""
        recent = self._recent()
        return sum(ms for of_class, _, ms in recent if of_class is work_class) / _WINDOW_S

    def online_rates(self) -> dict[str, float]:
        """Online work by SLO class over the same seconds."""
        total_ms: dict[str, float] = {}
        for of_class, slo_class, work_ms in self._recent():
            if of_class is WorkClass.ONLINE:
                total_ms[slo_class] = total_ms.get(slo_class, 0.0) + work_ms
        return {slo_class: ms / _WINDOW_S for slo_class, ms in total_ms.items()}

    def _recent(self) -> Iterator[tuple[WorkClass, str, float]]:
        since_s = self._clock() - _WINDOW_S
        for at_s, of_class, slo_class, work_ms in reversed(self._samples):
            if at_s < since_s:
                return
            yield of_class, slo_class, work_ms
