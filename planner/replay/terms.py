"""An SLO as people write it: `itl_p99=10%`, `ttft_p99=300ms`.

Owns the words and what they come to once online alone has been replayed. Refuses to judge.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from math import inf

from planner.interference.targets import LatencyTargets
from planner.replay.document import Target
from planner.slo import Quantiles

STATISTICS = tuple(field.name.removesuffix("_ms") for field in fields(LatencyTargets))
"""What can be limited: `ttft_mean`, `itl_p99` and the like."""

_UNITS_MS = {"ms": 1.0, "s": 1e3}


class SloError(ValueError):
    """An SLO that cannot be read; says what is allowed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SloTerm:
    """A limit on one statistic: absolute, or as a tolerance over online alone.

    Attributes:
        statistic: One of `STATISTICS`.
        limit_ms: Absolute; None: `tolerance_ratio` says it.
        tolerance_ratio: 0.1 is 10 % above what online alone has.
    """

    statistic: str
    limit_ms: float | None = None
    tolerance_ratio: float | None = None

    def target(self, *, ttft: Quantiles, itl: Quantiles) -> Target:
        """The limit, given what online alone has.

        Raises:
            SloError: A tolerance over a statistic that is 0, or has no samples.
        """
        name = f"{self.statistic}_ms"
        if self.tolerance_ratio is None:
            assert self.limit_ms is not None  # one of the two is set
            return Target(statistic=name, limit_ms=self.limit_ms)
        metric, figure = self.statistic.split("_")
        baseline_ms = float(getattr(ttft if metric == "ttft" else itl, figure))
        if baseline_ms <= 0.0:
            raise SloError(
                f"{self.statistic}: online alone has no {metric.upper()} to be tolerant over;"
                " replay more requests, or give milliseconds"
            )
        return Target(
            statistic=name,
            limit_ms=baseline_ms * (1.0 + self.tolerance_ratio),
            baseline_ms=baseline_ms,
            tolerance_ratio=self.tolerance_ratio,
        )


def slo_term(text: str) -> SloTerm:
    """Reads one limit.

    Raises:
        SloError: It is not `STATISTIC=NUMBER` with `%`, `ms` or `s`, or out of range.
    """
    statistic, _, amount = (part.strip().lower() for part in text.partition("="))
    allowed = (
        f"write STATISTIC=LIMIT such as itl_p99=10% or ttft_p99=300ms; statistics are"
        f" {', '.join(STATISTICS)}"
    )
    if statistic not in STATISTICS:
        raise SloError(f"SLO {text!r}: {statistic or 'nothing'!r} is no statistic; {allowed}")
    if amount.endswith("%"):
        ratio = _number(amount[:-1], text=text, allowed=allowed) / 100.0
        if not 0.0 <= ratio < inf:
            raise SloError(f"SLO {text!r}: a tolerance must be finite and >= 0 %; {allowed}")
        return SloTerm(statistic=statistic, tolerance_ratio=ratio)
    for unit, in_ms in _UNITS_MS.items():
        if amount.endswith(unit):
            limit_ms = _number(amount.removesuffix(unit), text=text, allowed=allowed) * in_ms
            if not 0.0 < limit_ms < inf:
                raise SloError(f"SLO {text!r}: a limit must be finite and > 0; {allowed}")
            return SloTerm(statistic=statistic, limit_ms=limit_ms)
    raise SloError(f"SLO {text!r}: {amount or 'nothing'!r} has no unit; {allowed}")


def slo_terms(texts: Iterable[str]) -> tuple[SloTerm, ...]:
    """Reads several limits.

    Raises:
        SloError: One cannot be read, or two limit the same statistic.
    """
    terms = tuple(slo_term(text) for text in texts)
    names = [term.statistic for term in terms]
    for name in names:
        if names.count(name) > 1:
            raise SloError(f"SLO: {name} is limited {names.count(name)} times; give it once")
    return terms


def limits(targets: Sequence[Target]) -> LatencyTargets:
    """The targets as a search reads them."""
    return LatencyTargets(**{target.statistic: target.limit_ms for target in targets})


def _number(digits: str, *, text: str, allowed: str) -> float:
    try:
        return float(digits)
    except ValueError:
        raise SloError(f"SLO {text!r}: {digits.strip()!r} is no number; {allowed}") from None
