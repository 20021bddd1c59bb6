"""Measured milliseconds and simulated ones.

Owns how a measured limit becomes one in simulation. Refuses to run anything. Two things
are taken out:

- the level: what online alone comes to, measured over simulated, one ratio for TTFT and one
  for ITL, the median of that of mean, p50 and p90. One stall of the machine, which makes
  a p99 of one arm five times that of the next, does not move it;
- the miss: what a run under known budgets came to beyond the level, by metric. A tail rests
  on few samples, so only the root of its miss is believed.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.colocate.arms import ArmSlo, pooled_quantiles
from bench.colocate.reading import METRICS, ArmReading
from planner.simulation.replay import Replayed
from planner.slo import Quantiles

_LEAST_EXCESS = 0.02  # over online alone: a limit below has no budgets, only noise makes it
_MISS_RANGE = (0.5, 2.0)  # one run tells no more

NO_MISS = dict.fromkeys(METRICS, 1.0)
"""Where nothing was measured yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Latencies:
    """Online latencies of a run, measured or simulated, in milliseconds."""

    ttft: Quantiles
    itl: Quantiles

    @classmethod
    def of_arms(cls, readings: Sequence[ArmReading]) -> "Latencies":
        """Over all samples of several rounds."""
        return cls(
            ttft=pooled_quantiles(readings, "ttft_ms"), itl=pooled_quantiles(readings, "itl_ms")
        )

    @classmethod
    def of_replay(cls, replayed: Replayed) -> "Latencies":
        """Of a simulated run."""
        return cls(ttft=replayed.ttft, itl=replayed.itl)

    def metric(self, name: str) -> float:
        """One of `reading.METRICS`."""
        family, _, share = name.partition("_")
        found: float = getattr(self.ttft if family == "ttft" else self.itl, share)
        return found

    def metrics(self) -> dict[str, float]:
        """All of `reading.METRICS`."""
        return {name: self.metric(name) for name in METRICS}


def level_ratios(measured: Latencies, simulated: Latencies) -> dict[str, float]:
    """What online alone comes to, measured over simulated, by metric."""
    ratios = {}
    for family in ("ttft", "itl"):
        here, there = getattr(measured, family), getattr(simulated, family)
        ratios[family] = statistics.median(
            getattr(here, share) / getattr(there, share) for share in ("mean", "p50", "p90")
        )
    return {name: ratios[name.partition("_")[0]] for name in METRICS}


def misses(
    measured: Latencies, simulated: Latencies, *, level: Mapping[str, float]
) -> dict[str, float]:
    """By what a run came out above its simulation, by metric; 1 where level says it all."""
    least, most = _MISS_RANGE
    found = {}
    for name in METRICS:
        ratio = measured.metric(name) / (level[name] * simulated.metric(name))
        if name.endswith("_p99"):
            ratio = math.sqrt(ratio)
        found[name] = min(most, max(least, ratio))
    return found


def typical(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The geometric mean of several misses, one at least, by metric."""
    return {name: statistics.geometric_mean(miss[name] for miss in found) for name in METRICS}


def simulated_slo(
    slo: ArmSlo, *, level: Mapping[str, float], miss: Mapping[str, float], alone: Latencies
) -> ArmSlo:
    """An SLO in simulated milliseconds; no limit is below online alone there.

    Args:
        slo: in measured milliseconds.
        level: of `level_ratios`.
        miss: of `misses`.
        alone: online alone in simulation.
    """
    return ArmSlo(
        limits_ms={
            name: max(limit / (level[name] * miss[name]), alone.metric(name) * (1 + _LEAST_EXCESS))
            for name, limit in slo.limits_ms.items()
        }
    )
