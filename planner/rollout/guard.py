"""The local safety of a replica: cut offline work when online latency suffers.

Owns when to cut and when to restore. Refuses to act on a handful of samples, in which a
single miss would be a breach, except where telemetry went silent: then it cuts. Invariants:
a breach cuts at the very reading that shows it; work is restored only after a breach-free
hold, which doubles with every relapse, so that a replica that cannot bear offline work
is not swung between two states.
"""

from dataclasses import dataclass, replace

from planner.model import Slo


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSettings:
    """Thresholds. Times in seconds."""

    stale_after_s: float = 3.0
    min_gaps: int = 100  # of which the 99th percentile is the largest but one
    min_misses: int = 3
    burn_limit: float = 10.0  # misses over those the SLO allows; fast-burn alert of SRE practice
    first_hold_s: float = 5.0
    longest_hold_s: float = 60.0
    relapse_s: float = 60.0  # a breach this soon after a restore doubles the hold


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardReading:
    """Online latencies of one replica over the last seconds."""

    now_s: float
    telemetry_age_s: float | None  # None: never heard; the gate admits nothing then
    requests: int
    attained: int
    gaps: int
    itl_p99_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardState:
    """What the guard remembers. `reason` is empty unless it has cut."""

    reason: str = ""
    hold_s: float = 0.0
    last_breach_s: float | None = None
    restored_s: float | None = None

    @property
    def is_cut(self) -> bool:
        """Whether offline work is cut."""
        return bool(self.reason)


def judge(
    state: GuardState, reading: GuardReading, *, slo: Slo, settings: GuardSettings
) -> GuardState:
    """The state after one reading."""
    breach = _breach(reading, slo=slo, settings=settings)
    if breach:
        hold_s = state.hold_s if state.is_cut else _next_hold_s(state, reading, settings)
        return replace(state, reason=breach, hold_s=hold_s, last_breach_s=reading.now_s)
    if not state.is_cut or state.last_breach_s is None:
        return state
    if reading.now_s - state.last_breach_s < state.hold_s:
        return state
    return replace(state, reason="", restored_s=reading.now_s)


def _next_hold_s(state: GuardState, reading: GuardReading, settings: GuardSettings) -> float:
    relapsed = (
        state.restored_s is not None and reading.now_s - state.restored_s < settings.relapse_s
    )
    if not relapsed:
        return settings.first_hold_s
    return min(settings.longest_hold_s, max(settings.first_hold_s, 2.0 * state.hold_s))


def _breach(reading: GuardReading, *, slo: Slo, settings: GuardSettings) -> str:
    """What the reading violates, or an empty string."""
    age_s = reading.telemetry_age_s
    if age_s is not None and age_s > settings.stale_after_s:
        return "engine telemetry is stale"
    if reading.gaps >= settings.min_gaps and reading.itl_p99_ms > slo.gap_ms:
        return f"ITL p99 is {reading.itl_p99_ms:.0f} ms, allowed {slo.gap_ms:.0f} ms"
    misses = reading.requests - reading.attained
    if misses >= settings.min_misses:
        allowed = max(1e-9, 1.0 - slo.attainment_ratio)
        burn = misses / reading.requests / allowed
        if burn > settings.burn_limit or misses == reading.requests:
            return (
                f"{misses} of {reading.requests} requests missed the SLO,"
                f" allowed share {allowed:.3g}"
            )
    return ""
