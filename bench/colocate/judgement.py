"""Figures of a run: paired ratios with their intervals, targets and verdicts.

Owns what is compared with what, and the targets. Refuses to leave a figure out because it
is unflattering: every arm that ran is judged. All intervals come from `bench.statistics`,
arms of a round read at the same blocks.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from bench.colocate.arms import Arm, ArmKind, limit_ratio
from bench.colocate.caps import interpolate
from bench.colocate.reading import METRICS, ArmReading, ArmSamples
from bench.harness import Figure
from bench.statistics import Draw, bootstrap, ratio, whole

PLUGIN_TARGET = "<= 0.02"
INTERPOLATED_TARGET = ">= 1.3"
_UNIT = "ratio"


class Judge:
    """All arms of one trace, over its rounds.

    Args:
        trace: its name, in front of every figure's.
        arms: that ran, in any order.
        readings: by arm, one a round, in order of rounds; every arm of every round.
        seed: of the resamples.
        replicates: resamples of an interval.
    """

    def __init__(
        self,
        *,
        trace: str,
        arms: Sequence[Arm],
        readings: Mapping[str, Sequence[ArmReading]],
        seed: int,
        replicates: int,
    ) -> None:
        self._trace, self._arms = trace, {arm.name: arm for arm in arms}
        self._samples = {name: ArmSamples(tuple(readings[name])) for name in self._arms}
        self._seed, self._replicates = seed, replicates
        first = next(iter(readings.values()))
        # The batch alone has blocks of its own; all others share the arrivals'.
        online = [readings[name] for name, arm in self._arms.items() if arm.has_online]
        self._blocks = [len(r.blocks) for r in (online[0] if online else first)]

    def figures(self) -> list[Figure]:
        """Every figure, in the order of the arms."""
        found: list[Figure] = []
        for arm in self._arms.values():
            match arm.kind:
                case ArmKind.PRIORITY:
                    found += self._against_online(arm, tolerance_ratio=None)
                case ArmKind.SLACKTIDE if arm.cap:
                    found += self._at_cap(arm)
                case ArmKind.SLACKTIDE:
                    assert arm.tolerance_ratio is not None
                    found += self._against_online(arm, tolerance_ratio=arm.tolerance_ratio)
                    found += self._throughput(arm, tolerance_ratio=arm.tolerance_ratio)
                case ArmKind.ONLINE | ArmKind.CAP | ArmKind.BATCH:
                    pass
        return found

    def _against_online(self, arm: Arm, *, tolerance_ratio: float | None) -> list[Figure]:
        """Each latency over online alone; targets where the arm has a tolerance."""
        if "A" not in self._samples:
            return []
        alone, beside = self._samples["A"], self._samples[arm.name]
        figures = []
        for metric in METRICS:
            target = None
            if tolerance_ratio is not None:
                target = f"<= {limit_ratio(metric, tolerance_ratio=tolerance_ratio):g}"

            def over_alone(draw: Draw, metric: str = metric) -> float:
                return ratio(beside.metric(metric, draw), alone.metric(metric, draw))

            figures.append(self._figure(f"{arm.name} {_worded(metric)} / A", over_alone, target))
        if tolerance_ratio is None:
            figures.append(
                self._figure(
                    f"{arm.name} worst latency over the SLO of the first tolerance",
                    lambda draw: self._worst(beside, draw),
                    ">= 1",  # it is stock's failure that leaves something to do
                )
            )
        return figures

    def _worst(self, beside: ArmSamples, draw: Draw) -> float:
        """The largest of latency / limit, at the first tolerance there is."""
        tolerance = next(
            (a.tolerance_ratio for a in self._arms.values() if a.tolerance_ratio is not None), 0.1
        )
        alone = self._samples["A"]
        return _largest(
            ratio(
                beside.metric(metric, draw),
                alone.metric(metric, draw) * limit_ratio(metric, tolerance_ratio=tolerance),
            )
            for metric in METRICS
        )

    def _throughput(self, arm: Arm, *, tolerance_ratio: float) -> list[Figure]:
        """Offline tokens against the batch alone, against caps, and all tokens against A."""
        own = self._samples[arm.name]
        figures = []
        if batch := self._samples.get("E"):
            rates = [reading.offline_tokens_per_s for reading in batch.readings]

            def harvest(draw: Draw) -> float:
                alone = math.fsum(rates[r] for r, _ in draw) / len(draw)
                return ratio(own.offline_tokens_per_s(draw), alone)

            figures.append(self._figure(f"{arm.name} harvest (offline / E)", harvest, "<= 1"))
        if online := self._samples.get("A"):

            def total(draw: Draw) -> float:
                return ratio(own.total_tokens_per_s(draw), online.total_tokens_per_s(draw))

            figures.append(self._figure(f"{arm.name} total tokens / A", total, None))
            if any(a.kind is ArmKind.CAP for a in self._arms.values()):

                def over_caps(draw: Draw) -> float:
                    best = self.interpolated(draw, tolerance_ratio=tolerance_ratio)
                    return ratio(own.offline_tokens_per_s(draw), best)

                name = f"{arm.name} offline / caps interpolated to its SLO"
                figures.append(self._figure(name, over_caps, INTERPOLATED_TARGET))
        return figures

    def interpolated(self, draw: Draw, *, tolerance_ratio: float) -> float:
        """Offline tokens/s of static caps at the SLO of a tolerance, see `bench.colocate.caps`."""
        caps = sorted(
            (a for a in self._arms.values() if a.kind is ArmKind.CAP), key=lambda a: a.cap
        )
        alone = self._samples["A"]
        rates = [0.0, *(self._samples[a.name].offline_tokens_per_s(draw) for a in caps)]
        curves, limits = {}, {}
        for metric in METRICS:
            at_zero = alone.metric(metric, draw)
            points = [at_zero, *(self._samples[a.name].metric(metric, draw) for a in caps)]
            curves[metric] = list(zip(points, rates, strict=True))
            limits[metric] = at_zero * limit_ratio(metric, tolerance_ratio=tolerance_ratio)
        return interpolate(curves, limits=limits)

    def _at_cap(self, arm: Arm) -> list[Figure]:
        """Offline work against the cap whose latencies were the SLO, and whether it held."""
        own, cap = self._samples[arm.name], self._samples[f"C{arm.cap}"]

        def more(draw: Draw) -> float:
            return ratio(own.offline_tokens_per_s(draw), cap.offline_tokens_per_s(draw))

        def worst(draw: Draw) -> float:
            return _largest(
                ratio(own.metric(metric, draw), cap.metric(metric, draw))
                for metric in METRICS
                if not metric.endswith("mean")
            )

        return [
            self._figure(f"{arm.name} offline / C{arm.cap}", more, ">= 1"),
            self._figure(f"{arm.name} worst of p50 and p99 / C{arm.cap}", worst, "<= 1"),
        ]

    def _figure(self, name: str, statistic: Callable[[Draw], float], target: str | None) -> Figure:
        interval = bootstrap(
            statistic, blocks=self._blocks, seed=self._seed, replicates=self._replicates
        )
        rounds = [statistic([(r, drawn)]) for r, drawn in whole(self._blocks)]
        told = [value for value in rounds if not math.isnan(value)]
        spread = (max(told) - min(told)) / 2 if len(told) > 1 else None
        return Figure(
            name=f"{self._trace}: {name}",
            value=interval.value,
            unit=_UNIT,
            spread=spread,
            target=target,
            interval=(interval.low, interval.high),
        )


def _largest(values: Iterable[float]) -> float:
    """The largest; NaN where any cannot tell."""
    found = list(values)
    return math.nan if any(math.isnan(v) for v in found) else max(found)


def _worded(metric: str) -> str:
    family, _, share = metric.partition("_")
    return f"{family.upper()} {share}"
