"""Measured milliseconds and simulated ones.

Owns how a measured limit becomes one in simulation. Refuses to run anything. Two things
are taken out:

- the level: what online alone comes to, measured over simulated; of a median its own, of mean
  and tail the median of the ratios of mean, p50 and p90. One stall of the machine, which
  makes a p99 of one arm five times that of the next, does not move it. Both are of the same
  requests: the tails of two slices of a trace differ by more than an SLO allows;
- the growth: by what a run under known budgets lengthened a latency more than its simulation
  says, over online alone, one ratio for TTFT and one for ITL, of mean and median. Tails rest
  on few samples: they are left as simulated.
"""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.colocate.arms import ArmSlo, pooled_quantiles
from bench.colocate.reading import METRICS, ArmReading
from planner.simulation.replay import Replayed
from planner.slo import Quantiles

_LEAST_EXCESS = 0.02  # over online alone: less is neither simulated nor measured
_GROWTH_RANGE = (0.5, 3.0)  # one run tells no more

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
    ratios: dict[str, float] = {}
    for family in ("ttft", "itl"):
        here, there = getattr(measured, family), getattr(simulated, family)
        typical_ratio = statistics.median(
            getattr(here, share) / getattr(there, share) for share in ("mean", "p50", "p90")
        )
        ratios |= {f"{family}_mean": typical_ratio, f"{family}_p99": typical_ratio}
        ratios[f"{family}_p50"] = here.p50 / there.p50
    return ratios


def growths(
    measured: Latencies,
    simulated: Latencies,
    *,
    measured_alone: Latencies,
    simulated_alone: Latencies,
) -> dict[str, float]:
    """Measured over simulated excess above online alone, by metric.

    1 for tails, and where simulation expects next to none.

    Args:
        measured: a run beside a batch.
        simulated: the same run in simulation.
        measured_alone: online alone on the same slice.
        simulated_alone: likewise.
    """
    least, most = _GROWTH_RANGE
    found = dict(NO_GROWTH)
    for family in ("ttft", "itl"):
        names = [f"{family}_mean", f"{family}_p50"]
        ratios = []
        for name in names:
            excess = measured.metric(name) / measured_alone.metric(name) - 1.0
            expected = simulated.metric(name) / simulated_alone.metric(name) - 1.0
            if expected >= _LEAST_EXCESS:
                ratios.append(min(most, max(least, excess / expected)))
        found |= dict.fromkeys(names, statistics.geometric_mean(ratios) if ratios else 1.0)
    return found


def typical(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The geometric mean of several growths, one at least, by metric."""
    return {name: statistics.geometric_mean(growth[name] for growth in found) for name in METRICS}


def simulated_slo(
    slo: ArmSlo,
    *,
    level: Mapping[str, float],
    growth: Mapping[str, float],
    judged: Latencies,
    alone: Latencies,
) -> ArmSlo:
    """An SLO in simulated milliseconds; every limit is above online alone there.

    A limit is so many times online alone on the requests it was measured on, and as many
    times online alone on those it is searched on.

    Args:
        slo: in measured milliseconds.
        level: of `level_ratios`, of the requests the SLO was measured on.
        growth: of `growths`.
        judged: online alone in simulation, on the requests the SLO was measured on.
        alone: likewise, on those budgets are searched on.
    """
    limits_ms = {}
    for name, limit in slo.limits_ms.items():
        excess_ratio = (limit / (level[name] * judged.metric(name)) - 1.0) / growth[name]
        limits_ms[name] = alone.metric(name) * (1.0 + max(excess_ratio, _LEAST_EXCESS))
    return ArmSlo(limits_ms=limits_ms)


def pooled(found: Sequence[Latencies]) -> Latencies:
    """Of several slices of one length, one at least: the geometric mean of each statistic."""

    def over(family: str) -> Quantiles:
        each: list[Quantiles] = [getattr(latencies, family) for latencies in found]
        shares = {
            share: statistics.geometric_mean(getattr(one, share) for one in each)
            for share in ("mean", "p50", "p90", "p99", "max")
        }
        return Quantiles(count=sum(one.count for one in each), **shares)

    return Latencies(ttft=over("ttft"), itl=over("itl"))
