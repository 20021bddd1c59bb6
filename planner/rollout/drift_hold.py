"""The local safety of a replica's predictions: hold offline work while they are wrong.

Owns when drift holds offline work and when it is let go. Refuses to judge what nothing
calibrated: a default promises no coverage, and offline work under one is kept to a part of
its budget anyway; and to hold for predictions that err on the safe side, whose bounds hold
as promised: they cost offline work, not online latency. Pure: `now_s` is an argument.

A hold ends at once when other coefficients are in force, and otherwise when `hold_s` have
passed without a breach: predictions of what still ran were good, by stricter limits, or
too little ran to tell. After `longest_hold_s` it ends for a trial, whatever online alone
showed. So nothing is held for ever; what comes back wrong is held twice as long each time.

Invariants: decode-only iterations and those with prefill are judged apart, as they are
predicted; an iteration counts for one breach at most.
"""

import math
from dataclasses import dataclass, field

from planner.latency.coefficients import Coefficients
from planner.latency.drift import DriftLimits, DriftReport, DriftVerdict, DriftWindow
from planner.latency.features import BatchShape
from planner.latency.predictor import LatencyModel


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftSettings:
    """Thresholds. Times in seconds.

    Raises:
        ValueError: A number is out of range.
    """

    # Wider than a verdict's own: other load on shared cores moves a good model by 10 to 30 %
    # for seconds, and what online sees of that the latency guard holds for.
    limits: DriftLimits = field(
        default_factory=lambda: DriftLimits(max_error_ratio=0.5, max_coverage_lack=0.25)
    )
    held_ratio: float = 0.8  # of the limits while held, so that what is near them stays held
    first_hold_s: float = 30.0  # outlasts an interval between refits
    longest_hold_s: float = 300.0
    bound_tolerance: float = 1.1  # beyond its bound by less is no miss: it costs next to nothing
    error_lack: float = 0.05  # of coverage, beside which a large error is a breach
    relapse_s: float = 120.0  # a breach this soon after a release doubles the hold

    def __post_init__(self) -> None:
        if not 0.0 < self.held_ratio <= 1.0:
            raise ValueError(f"held_ratio: {self.held_ratio!r}, must be above 0, at most 1")
        if not 0.0 < self.first_hold_s <= self.longest_hold_s < math.inf:
            raise ValueError(
                f"holds from {self.first_hold_s!r} to {self.longest_hold_s!r} s: the first must "
                "be above 0 and at most the longest, which must be finite"
            )

        if not (1.0 <= self.bound_tolerance < math.inf and 0.0 <= self.error_lack < 1.0):
            raise ValueError(
                f"bound_tolerance {self.bound_tolerance!r} must be finite and at least 1,"
                f" error_lack {self.error_lack!r} at least 0 and below 1"
            )

    @property
    def held_limits(self) -> DriftLimits:
        """The stricter limits."""
        return DriftLimits(
            max_error_ratio=self.held_ratio * self.limits.max_error_ratio,
            max_coverage_lack=self.held_ratio * self.limits.max_coverage_lack,
            min_iterations=self.limits.min_iterations,
        )


class DriftHold:
    """The hold of one replica.

    Args:
        replica: id, for reasons.
        settings: thresholds.
    """

    def __init__(self, *, replica: str, settings: DriftSettings | None = None) -> None:
        settings = settings or DriftSettings()
        self._replica = replica
        self._model: LatencyModel | None = None
        self._decode = _KindHold("decode", settings)
        self._prefill = _KindHold("prefill", settings)

    @property
    def reason(self) -> str:
        """Why offline work is held; empty while it is not."""
        reasons = "; ".join(k.reason for k in (self._decode, self._prefill) if k.reason)
        return f"replica {self._replica}: {reasons}" if reasons else ""

    def held_s(self, *, now_s: float) -> float:
        """For how long offline work has been held; 0 while it is not."""
        return max(kind.held_s(now_s=now_s) for kind in (self._decode, self._prefill))

    def use(self, model: LatencyModel | None, *, now_s: float) -> bool:
        """Says by which model the iterations added from now on were predicted.

        Args:
            model: None where it is not known; nothing is judged then.
            now_s: when it was seen in force.

        Returns:
            Whether that is another than before.
        """
        if model == self._model:
            return False
        self._model = model
        self._decode.use(model.decode if model else None, now_s=now_s)
        self._prefill.use(model.prefill if model else None, now_s=now_s)
        return True

    def add(
        self, shape: BatchShape, *, predicted_ms: float, bound_ms: float, measured_ms: float
    ) -> None:
        """Takes an iteration in, predicted by the model in use."""
        kind = self._decode if shape.is_decode_only else self._prefill
        kind.add(predicted_ms=predicted_ms, bound_ms=bound_ms, measured_ms=measured_ms)

    def judge(self, *, now_s: float) -> None:
        """Holds or releases by what was added."""
        identity = self._model.identity if self._model else "unknown"
        self._decode.judge(identity, now_s=now_s)
        self._prefill.judge(identity, now_s=now_s)


class _KindHold:
    """The hold for the sake of one kind of iteration."""

    def __init__(self, name: str, settings: DriftSettings) -> None:
        self._name = name
        self._settings = settings
        self._window = DriftWindow(limits=settings.limits)
        self._coefficients: Coefficients | None = None
        self._judged: Coefficients | None = None  # the newest that were known
        self._hold_s = 0.0
        self._breach_s = self._held_since_s = -math.inf
        self._released_s = -math.inf
        self.reason = ""

    def use(self, coefficients: Coefficients | None, *, now_s: float) -> None:
        self._coefficients = coefficients
        if coefficients is None or coefficients == self._judged:
            return
        self._judged = coefficients
        self._window.clear()
        if self.reason:
            self._release(now_s=now_s)

    def held_s(self, *, now_s: float) -> float:
        return now_s - self._held_since_s if self.reason else 0.0

    def add(self, *, predicted_ms: float, bound_ms: float, measured_ms: float) -> None:
        coefficients = self._coefficients
        if coefficients is None or coefficients.coverage_ratio <= 0.0:
            return
        self._window.add(
            predicted_ms=predicted_ms,
            bound_ms=self._settings.bound_tolerance * bound_ms,
            measured_ms=measured_ms,
            coverage_ratio=coefficients.coverage_ratio,
        )

    def judge(self, identity: str, *, now_s: float) -> None:
        report = self._window.report()
        if self.held_s(now_s=now_s) >= self._settings.longest_hold_s:
            self._release(now_s=now_s)
        elif _is_breach(report, error_lack=self._settings.error_lack):
            self._hold(report, identity, now_s=now_s)
        elif self.reason and now_s - self._breach_s >= self._hold_s:
            self._release(now_s=now_s)

    def _hold(self, report: DriftReport, identity: str, *, now_s: float) -> None:
        settings = self._settings
        self._breach_s = now_s
        if not self.reason:
            self._hold_s = self._next_hold_s(now_s)
            self._held_since_s = now_s
            self.reason = (
                f"{self._name} iterations drifted from latency model {identity}:"
                f" {_seen(report, settings.limits)}; offline work waits for an accepted refit, or"
                f" {self._hold_s:.0f} s without a further breach;"
                " if it comes back, look for other load on the device, or restart the replica"
            )
        self._window = DriftWindow(limits=settings.held_limits)

    def _release(self, *, now_s: float) -> None:
        self.reason = ""
        self._released_s = now_s
        self._window = DriftWindow(limits=self._settings.limits)

    def _next_hold_s(self, now_s: float) -> float:
        settings = self._settings
        if now_s - self._released_s >= settings.relapse_s:
            return settings.first_hold_s
        return min(settings.longest_hold_s, 2.0 * self._hold_s)


def _is_breach(report: DriftReport, *, error_lack: float) -> bool:
    if report.verdict is DriftVerdict.ERROR_TOO_LARGE:
        return report.coverage_ratio < report.target_coverage_ratio - error_lack
    return report.verdict is DriftVerdict.COVERAGE_TOO_LOW


def _seen(report: DriftReport, limits: DriftLimits) -> str:
    """What was predicted, what measured, and what is allowed."""
    if report.verdict is DriftVerdict.ERROR_TOO_LARGE:
        against = f"mean error {report.error_ratio:.0%}, allowed {limits.max_error_ratio:.0%}"
    else:
        least = report.target_coverage_ratio - limits.max_coverage_lack
        against = (
            f"{report.coverage_ratio:.0%} within their bound, promised"
            f" {report.target_coverage_ratio:.0%}, allowed {least:.0%}"
        )
    return (
        f"predicted {report.predicted_ms:.1f} ms, measured {report.measured_ms:.1f} ms"
        f" (medians of {report.iterations}), {against}"
    )
