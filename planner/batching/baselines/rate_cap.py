"""The blind hybrid with a profiled cap on offline requests per second.

Source: HyGen (arXiv 2501.14808), evaluation, HyGen*: Sarathi++ with a cap on offline
requests per second, profiled as the highest rate that keeps the SLO. Tune `requests_per_s`
by the search that tunes latency budgets. Inferred, since the paper was not to be had: how
much unused rate is saved. Here `window_s` of it, so that a long pass does not lose what was
due in it. A request that starts again after an eviction counts again.

Time is the stamped one. In any t seconds at most requests_per_s * (t + window_s) requests
begin, or 1 if that is more.
"""

from dataclasses import dataclass, field, fields, replace
from math import floor, inf, isfinite

from planner.batching.baselines.blind_hybrid import ANY_NUMBER, BlindHybrid
from planner.batching.state import Budgets, EngineState, IterationPlan, Memory
from planner.latency.predictor import LatencyModel

_KEPT = tuple(item.name for item in fields(Memory))
_ROUNDING = 1e-6  # of a request: times are sums of floats


@dataclass(frozen=True, slots=True, kw_only=True)
class RateMemory(Memory):
    """What every policy remembers, and until when the rate is used up."""

    spent_until_s: float = -inf


@dataclass(frozen=True, slots=True, kw_only=True)
class OfflineRateCap:
    """Begins offline requests no faster than the rate.

    Args:
        requests_per_s: > 0.
        window_s: Seconds of unused rate that are saved, >= 0; one request always is.
        hybrid: What it caps.
    """

    requests_per_s: float
    window_s: float = 1.0
    hybrid: BlindHybrid = field(default_factory=BlindHybrid)

    def __post_init__(self) -> None:
        if not (isfinite(self.requests_per_s) and self.requests_per_s > 0.0):
            raise ValueError(
                f"offline rate cap: requests_per_s is {self.requests_per_s}, must be > 0; "
                "for no offline work use OnlineOnly"
            )
        if not (isfinite(self.window_s) and self.window_s >= 0.0):
            raise ValueError(f"offline rate cap: window_s is {self.window_s}, must be >= 0")

    def __call__(
        self, state: EngineState, *, model: LatencyModel, budgets: Budgets
    ) -> IterationPlan:
        """Plans one iteration; see `planner.batching.policy.Policy`."""
        window_s = max(self.window_s, 1.0 / self.requests_per_s)
        spent_until_s = max(_spent_until_s(state.memory), state.now_s - window_s)
        due = (state.now_s - spent_until_s) * self.requests_per_s
        starts = min(ANY_NUMBER, floor(due + _ROUNDING))
        plan, fill = self.hybrid.plan_up_to(starts, state=state, model=model, budgets=budgets)
        spent_until_s += fill.starts / self.requests_per_s
        return replace(plan, memory=_with_rate(plan.memory, spent_until_s=spent_until_s))


def _spent_until_s(memory: Memory) -> float:
    return memory.spent_until_s if isinstance(memory, RateMemory) else -inf


def _with_rate(memory: Memory, *, spent_until_s: float) -> RateMemory:
    kept = {name: getattr(memory, name) for name in _KEPT}
    return RateMemory(**kept, spent_until_s=spent_until_s)
