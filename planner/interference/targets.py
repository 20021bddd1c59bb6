"""What latencies online requests of one replica may have, and how far they are from it.

Owns limits on mean, median and p99 of TTFT and ITL, each optional. Refuses per-request
targets: those are an `Slo` (planner.model) and decide each pass; these are statistics
over many requests, for which a budget search is run (HyGen, SLO-aware profiler).
"""

import math
from dataclasses import dataclass, fields

from planner.slo import Quantiles


@dataclass(frozen=True, slots=True, kw_only=True)
class LatencyTargets:
    """Limits in milliseconds; None: that statistic is free."""

    ttft_mean_ms: float | None = None
    ttft_p50_ms: float | None = None
    ttft_p99_ms: float | None = None
    itl_mean_ms: float | None = None
    itl_p50_ms: float | None = None
    itl_p99_ms: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if value is not None and not (math.isfinite(value) and value > 0.0):
                raise ValueError(
                    f"latency target {field.name}: {value!r} is not allowed, must be finite "
                    "and > 0, or None for no limit"
                )

    @classmethod
    def from_baseline(
        cls, ttft: Quantiles, itl: Quantiles, *, tolerance_ratio: float
    ) -> "LatencyTargets":
        """All six statistics at most so much above what online alone has.

        Args:
            ttft: Of an online-only run, milliseconds, with samples.
            itl: Likewise.
            tolerance_ratio: 0.1 is 10 %; >= 0.

        Raises:
            ValueError: A baseline without samples, or a negative tolerance.
        """
        if not tolerance_ratio >= 0.0:
            raise ValueError(f"tolerance_ratio is {tolerance_ratio}, must be >= 0")
        for name, measured in (("ttft", ttft), ("itl", itl)):
            if not measured.count:
                raise ValueError(f"baseline {name} has no samples; run online alone for longer")
        limits = {
            f"{name}_{statistic}_ms": limit if limit > 0.0 else None
            for name, measured in (("ttft", ttft), ("itl", itl))
            for statistic in ("mean", "p50", "p99")
            for limit in (getattr(measured, statistic) * (1.0 + tolerance_ratio),)
        }
        return cls(**limits)

    def ratios(self, *, ttft: Quantiles, itl: Quantiles) -> dict[str, float]:
        """Measured over target, of each statistic that has one."""
        measured = {
            "ttft_mean_ms": ttft.mean,
            "ttft_p50_ms": ttft.p50,
            "ttft_p99_ms": ttft.p99,
            "itl_mean_ms": itl.mean,
            "itl_p50_ms": itl.p50,
            "itl_p99_ms": itl.p99,
        }
        return {
            name: value / target
            for name, value in measured.items()
            if (target := getattr(self, name)) is not None
        }

    def worst_ratio(self, *, ttft: Quantiles, itl: Quantiles) -> float:
        """The largest measured over target; 0 where nothing is limited, <= 1: all are met."""
        return max(self.ratios(ttft=ttft, itl=itl).values(), default=0.0)

    def samples_short(self, *, ttft: Quantiles, itl: Quantiles) -> str:
        """Which limited statistic rests on too few samples to be told, or nothing.

        A p99 of fewer than 100 samples is their maximum; a mean or median needs 20.
        """
        for name, measured in (("ttft", ttft), ("itl", itl)):
            for statistic, needed in (("p99", 100), ("p50", 20), ("mean", 20)):
                limit = getattr(self, f"{name}_{statistic}_ms")
                if limit is not None and measured.count < needed:
                    return f"{name}_{statistic}_ms: {measured.count} samples, {needed} needed"
        return ""
