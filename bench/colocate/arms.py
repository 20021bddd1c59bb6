"""Which arms there are, what SLO the Slacktide arms hold, and the order of a round.

Owns names and order. Refuses to run anything. Invariant: in every round an arm whose SLO
is another's measured latency finds that arm measured already, in this round or before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from bench.colocate.reading import METRICS, ArmReading
from planner.model import Slo
from planner.slo import Quantiles, quantiles

TTFT_P99_RATIO = 1.15
ITL_P99_RATIO = 1.10
"""What the tails of online latency may grow to, over the engine without batch."""

_UNLIMITED_MS = 1e9
_LONGEST_GAP_RATIO = 1.5  # of the p99 of gaps


class ArmKind(Enum):
    """What runs beside the online load."""

    ONLINE = "stock, online only"
    PRIORITY = "stock, priority scheduling, saturating batch"
    CAP = "stock, priority scheduling, static offline cap"
    SLACKTIDE = "plugin, saturating batch within an SLO"
    BATCH = "stock, batch only"


@dataclass(frozen=True, slots=True, kw_only=True)
class Arm:
    """One arm.

    Args:
        cap: offline requests in flight of a CAP arm; of a SLACKTIDE arm the cap whose
            measured latencies are its SLO.
        tolerance_ratio: of a SLACKTIDE arm whose SLO is relative to online alone.
    """

    name: str
    kind: ArmKind
    cap: int = 0
    tolerance_ratio: float | None = None

    @property
    def has_online(self) -> bool:
        """Whether online requests are sent."""
        return self.kind is not ArmKind.BATCH

    @property
    def has_offline(self) -> bool:
        """Whether the batch runs."""
        return self.kind is not ArmKind.ONLINE

    @property
    def needs(self) -> tuple[str, ...]:
        """Arms whose latencies its SLO is made of."""
        if self.kind is not ArmKind.SLACKTIDE:
            return ()
        return ("A", f"C{self.cap}") if self.cap else ("A",)


def arms_of(*, caps: Sequence[int], tolerances: Sequence[float], only: Sequence[str]) -> list[Arm]:
    """Every arm, each Slacktide arm after those it needs.

    Args:
        caps: of C, and of the Slacktide arms at their latencies.
        tolerances: of the other Slacktide arms, e.g. 0.1.
        only: names to keep; empty keeps all. What a kept arm needs is kept too.

    Raises:
        ValueError: a name is not an arm's.
    """
    slacktide = [
        Arm(name=f"D@{t:.0%}", kind=ArmKind.SLACKTIDE, tolerance_ratio=t) for t in tolerances
    ]
    arms = [Arm(name="A", kind=ArmKind.ONLINE), *slacktide[:1]]
    arms += [Arm(name="B", kind=ArmKind.PRIORITY), *slacktide[1:]]
    for cap in caps:
        arms.append(Arm(name=f"C{cap}", kind=ArmKind.CAP, cap=cap))
        arms.append(Arm(name=f"D@C{cap}", kind=ArmKind.SLACKTIDE, cap=cap))
    arms.append(Arm(name="E", kind=ArmKind.BATCH))
    if not only:
        return arms
    names = {arm.name for arm in arms}
    if unknown := sorted(set(only) - names):
        raise ValueError(f"arms {unknown}: there are {sorted(names)}")
    kept = set(only)
    for arm in arms:
        if arm.name in only:
            kept.update(arm.needs)
    return [arm for arm in arms if arm.name in kept]


def round_order(arms: Sequence[Arm], *, number: int, rounds: int) -> list[Arm]:
    """The arms of a round, rotated so that none always comes at the same time."""
    shift = number * len(arms) // max(1, rounds)
    return [*arms[shift:], *arms[:shift]]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmSlo:
    """Limits on METRICS in ms; those left out are not limited."""

    limits_ms: Mapping[str, float]

    @property
    def ttft_ms(self) -> float:
        """What online requests carry as their TTFT target."""
        return self.limits_ms["ttft_p99"]

    @property
    def itl_ms(self) -> float:
        """What online requests carry as their per-gap target.

        Above the limit of the tail: that one is a p99 over all gaps, which budgets hold. A
        request's own target is where slack ends what piles up.
        """
        return _LONGEST_GAP_RATIO * self.limits_ms["itl_p99"]


def slo_of(arm: Arm, measured: Mapping[str, Sequence[ArmReading]]) -> ArmSlo:
    """The SLO of a Slacktide arm, from all that was measured of its trace so far.

    Relative to online alone: tails within TTFT_P99_RATIO and ITL_P99_RATIO, mean and
    median within the tolerance. At a cap: that cap's own median and tail.

    Args:
        arm: of kind SLACKTIDE.
        measured: readings by arm.

    Raises:
        ValueError: an arm it needs was not measured.
    """
    for name in arm.needs:
        if not measured.get(name):
            raise ValueError(f"arm {arm.name}: needs arm {name} measured first")
    if arm.cap:
        pooled = pooled_metrics(measured[f"C{arm.cap}"])
        return ArmSlo(limits_ms={n: pooled[n] for n in METRICS if n.endswith(("_p50", "_p99"))})
    assert arm.tolerance_ratio is not None
    return slo_relative_to(pooled_metrics(measured["A"]), tolerance_ratio=arm.tolerance_ratio)


def slo_relative_to(alone: Mapping[str, float], *, tolerance_ratio: float) -> ArmSlo:
    """Every one of METRICS within its growth over online alone, given in ms."""
    return ArmSlo(
        limits_ms={
            name: alone[name] * limit_ratio(name, tolerance_ratio=tolerance_ratio)
            for name in METRICS
        }
    )


def limit_ratio(metric: str, *, tolerance_ratio: float) -> float:
    """What a metric may grow to over online alone."""
    match metric:
        case "ttft_p99":
            return TTFT_P99_RATIO
        case "itl_p99":
            return ITL_P99_RATIO
        case _:
            return 1.0 + tolerance_ratio


def attained_slo(alone: Sequence[ArmReading]) -> Slo:
    """What attainment is counted against: the tails of online alone, with their growth.

    Without a reading of online alone everything attains.
    """
    if not alone:
        return Slo(ttft_ms=_UNLIMITED_MS, itl_ms=_UNLIMITED_MS)
    pooled = pooled_metrics(alone)
    return Slo(
        ttft_ms=pooled["ttft_p99"] * TTFT_P99_RATIO, itl_ms=pooled["itl_p99"] * ITL_P99_RATIO
    )


def pooled_metrics(readings: Sequence[ArmReading]) -> dict[str, float]:
    """METRICS over all samples of several rounds."""
    ttft = pooled_quantiles(readings, "ttft_ms")
    itl = pooled_quantiles(readings, "itl_ms")
    return {
        name: getattr(ttft if name.startswith("ttft") else itl, name.partition("_")[2])
        for name in METRICS
    }


def pooled_quantiles(readings: Sequence[ArmReading], field: str) -> Quantiles:
    """Quantiles of `ttft_ms` or `itl_ms` over all samples of several rounds."""
    return quantiles(
        sample
        for reading in readings
        for block in reading.blocks
        for sample in getattr(block, field).tolist()
    )
