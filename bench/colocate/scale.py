"""Measured milliseconds and simulated ones.

Owns how a measured limit becomes one in simulation. Refuses to run anything. Two things
are taken out:

- the level: what online alone comes to, measured over simulated, one ratio for TTFT and one
  for ITL, the median of that of mean, p50 and p90. One stall of the machine, which makes
  a p99 of one arm five times that of the next, does not move it;
- the growth: by what a run under known budgets lengthened a latency more than its simulation
  says, over online alone, by metric. A tail rests on few samples, so only the root of its
  growth is believed.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.colocate.arms import ArmSlo, pooled_quantiles
from bench.colocate.reading import METRICS, ArmReading
from planner.simulation.replay import Replayed
from planner.slo import Quantiles

_LEAST_EXCESS = 0.02  # over online alone: less is neither simulated nor measured
_GROWTH_RANGE = (0.5, 4.0)  # one run tells no more

NO_GROWTH = dict.fromkeys(METRICS, 1.0)
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


def growths(
    measured: Latencies, simulated: Latencies, *, alone: Latencies, level: Mapping[str, float]
) -> dict[str, float]:
    """Measured over simulated excess above online alone, by metric; 1 where level says it all.

    Args:
        measured: a run beside a batch.
        simulated: the same run in simulation.
        alone: online alone in simulation.
        level: of `level_ratios`.
    """
    least, most = _GROWTH_RANGE
    found = {}
    for name in METRICS:
        base = alone.metric(name)
        expected = max(simulated.metric(name) - base, _LEAST_EXCESS * base)
        ratio = max(least, (measured.metric(name) / level[name] - base) / expected)
        found[name] = min(most, math.sqrt(ratio) if name.endswith("_p99") else ratio)
    return found


def typical(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The geometric mean of several growths, one at least, by metric."""
    return {name: statistics.geometric_mean(growth[name] for growth in found) for name in METRICS}


def simulated_slo(
    slo: ArmSlo, *, level: Mapping[str, float], growth: Mapping[str, float], alone: Latencies
) -> ArmSlo:
    """An SLO in simulated milliseconds; every limit is above online alone there.

    Args:
        slo: in measured milliseconds.
        level: of `level_ratios`.
        growth: of `growths`.
        alone: online alone in simulation.
    """
    limits_ms = {}
    for name, limit in slo.limits_ms.items():
        base = alone.metric(name)
        excess = (limit / level[name] - base) / growth[name]
        limits_ms[name] = base + max(excess, _LEAST_EXCESS * base)
    return ArmSlo(limits_ms=limits_ms)
