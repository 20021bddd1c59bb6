"""Simulated over measured, with intervals and verdicts.

Owns what is compared, the targets, and the table for people. All intervals come from
`bench.statistics`: simulated and measured runs are read at the same rounds and blocks, so
that what the arrivals do to both cancels. A target is of the distance from 1 to either side.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from bench.colocate.reading import ArmReading, ArmSamples
from bench.fidelity.arms import Arm
from bench.harness import Figure
from bench.statistics import Draw, bootstrap, ratio, whole
from controlplane.cli.output import show_table


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistic:
    """What is compared.

    Args:
        read: it of one side at a resample.
        allowed_ratio: how far the simulated one may be from the measured one.
    """

    name: str
    unit: str
    read: Callable[[ArmSamples, Draw], float]
    allowed_ratio: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One load over its rounds, measured and simulated: one reading a round on both sides."""

    arm: Arm
    measured: tuple[ArmReading, ...]
    simulated: tuple[ArmReading, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One statistic of one load, over all rounds."""

    name: str
    unit: str
    measured: float
    simulated: float

    @property
    def ratio(self) -> float:
        """Simulated over measured."""
        return ratio(self.simulated, self.measured)


def statistics_of(arm: Arm) -> list[Statistic]:
    """Those of a load that have a target."""
    found = []
    if arm.has_online:
        for family in ("ttft", "itl"):
            for share, allowed_ratio in (("p50", 0.15), ("p99", 0.25)):
                found.append(
                    Statistic(
                        name=f"{family.upper()} {share}",
                        unit="ms",
                        read=partial(_latency, metric=f"{family}_{share}"),
                        allowed_ratio=allowed_ratio,
                    )
                )
    if arm.has_offline:
        read = ArmSamples.offline_tokens_per_s
        found.append(Statistic(name="offline", unit="tokens/s", read=read, allowed_ratio=0.1))
    return found


def compare(pairs: Sequence[Pair]) -> list[Compared]:
    """Every statistic that has a target, in the order of the loads."""
    found = []
    for pair in pairs:
        measured, simulated = ArmSamples(pair.measured), ArmSamples(pair.simulated)
        draw = whole(_blocks(pair))
        for statistic in statistics_of(pair.arm):
            found.append(
                Compared(
                    name=f"{pair.arm.name} {statistic.name}",
                    unit=statistic.unit,
                    measured=statistic.read(measured, draw),
                    simulated=statistic.read(simulated, draw),
                )
            )
    return found


def judge(trace: str, pairs: Sequence[Pair], *, seed: int, replicates: int) -> list[Figure]:
    """How far simulated statistics are from measured ones, in the order of `compare`.

    Args:
        trace: in front of every figure's name.
        pairs: of at least one round.
        seed: of the resamples.
        replicates: resamples of an interval.
    """
    return [
        _figure(trace, pair, statistic, seed=seed, replicates=replicates)
        for pair in pairs
        for statistic in statistics_of(pair.arm)
    ]


def show_compared(title: str, compared: Sequence[Compared]) -> None:
    """Prints both sides and their ratio."""
    print(f"\n{title}")
    rows = [
        [c.name, f"{c.measured:.4g}", f"{c.simulated:.4g}", f"{c.ratio:.3f}", c.unit]
        for c in compared
    ]
    show_table(
        ["", "measured", "simulated", "ratio", "unit"], rows, right=[False, True, True, True, False]
    )


def _figure(trace: str, pair: Pair, statistic: Statistic, *, seed: int, replicates: int) -> Figure:
    measured, simulated = ArmSamples(pair.measured), ArmSamples(pair.simulated)

    def distance(draw: Draw) -> float:
        return abs(ratio(statistic.read(simulated, draw), statistic.read(measured, draw)) - 1.0)

    interval = bootstrap(distance, blocks=_blocks(pair), seed=seed, replicates=replicates)
    return Figure(
        name=f"{trace}: {pair.arm.name} {statistic.name}, |simulated / measured - 1|",
        value=interval.value,
        unit="ratio",
        target=f"<= {statistic.allowed_ratio:g}",
        interval=(interval.low, interval.high),
    )


def _blocks(pair: Pair) -> list[int]:
    return [len(reading.blocks) for reading in pair.measured]


def _latency(side: ArmSamples, draw: Draw, *, metric: str) -> float:
    return side.metric(metric, draw)
