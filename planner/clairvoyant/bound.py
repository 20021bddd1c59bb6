"""No schedule does more offline work than this.

Owns the bound: the relaxation's Lagrangian at the best prices found. `planner.clairvoyant`
states the relaxation, why every schedule satisfies it, and what is assumed. Refuses noise:
the truth is one without, and a run is to be compared without.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from math import floor, inf

import numpy as np

from planner.clairvoyant.backlog import Backlog, Classes
from planner.clairvoyant.envelope import Envelope
from planner.clairvoyant.kept import Kept
from planner.clairvoyant.minimum import minimise
from planner.clairvoyant.needs import NOTHING_SHARED, Sharing, needs_of
from planner.clairvoyant.online import Online
from planner.clairvoyant.prices import Floats, Prices, amounts
from planner.clairvoyant.rates import Passes
from planner.clairvoyant.standing import Standing
from planner.clairvoyant.supply import ClosedLoop, Supply
from planner.interference.targets import LatencyTargets
from planner.simulation.request import SimulatedRequest
from planner.simulation.settings import EngineSettings, Loop
from planner.slo import RequestTrace

_TOLERANCE_RATIO = 0.002
_MAX_EVALUATIONS = 200
_BINDS_RATIO = 0.05


class Binding(Enum):
    """What the bound would rise with, beside time."""

    TIME = "time"  # nothing else to speak of
    KV = "kv"
    LATENCY = "latency"
    SUPPLY = "supply"  # all offline work there is gets done


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """Most offline work in a window.

    Attributes:
        offline_tokens: Prompt and output tokens, as `Replayed` counts them.
        window_s: The window's length.
        binding: What it is bound by.
        latency_ratio: By how much of itself the bound rises as the online latencies'
            targets are relaxed, per share of relaxation.
        kv_ratio: Likewise as KV memory grows.
        online_tokens: Offline tokens that the online work of the window costs.
        gap_ratio: The best prices would lower the bound by about so much of it, at most.
        prices: The prices it is proved by.
    """

    offline_tokens: int
    window_s: float
    binding: Binding
    latency_ratio: float
    kv_ratio: float
    online_tokens: float
    gap_ratio: float
    prices: Prices

    @property
    def offline_tokens_per_s(self) -> float:
        """Throughput over the window."""
        return self.offline_tokens / self.window_s


def offline_bound(
    *,
    online: Sequence[SimulatedRequest],
    offline: Sequence[SimulatedRequest],
    in_flight: int | None,
    settings: EngineSettings,
    envelope: Envelope,
    from_s: float,
    to_s: float,
    targets: LatencyTargets | None,
    keeps_up_with: Sequence[RequestTrace] | None = None,
    given_up: int | None = None,
    spread: int | None = None,
    standing: Standing | None = None,
) -> Bound:
    """Bounds the offline work of any schedule.

    Args:
        online: In order of arrival; those sent in the window must be served.
        offline: In the order they are sent; all there are, or more than can be done.
        in_flight: Most offline requests sent and not ended at a time, where a closed loop
            sends them; None: each is there from the begin.
        settings: The engine.
        envelope: Of the noiseless truth on that engine, with these requests.
        from_s: The window's begin.
        to_s: Its end.
        targets: What the online requests sent in the window are served within, to their
            ends; None: they may be left to wait. Means bind most; see the package.
        keeps_up_with: `Replayed.online` of a run: bounds schedules that at no time have ended
            fewer of the window's online requests than that run. None: no such thing is
            asked, so that all the slack of targets may be spent at one time, such as the end.
        given_up: Bounds schedules that have no more offline requests begun, not ended and
            without KV at `to_s`; see `Unended`. Not used where prompts have shared blocks.
        spread: Bounds schedules in which no offline request is still unended when the one
            sent so many after it is sent; likewise. Where either is None, any number: a
            scheduler may then starve the dearest requests, or leave all half done, which in
            a short window is worth much.
        standing: Of `offline` in a run: bounds schedules that begin the window as the run did
            and leave its batch no worse (`backlog`), instead of `in_flight`, `given_up` and
            `spread`.

    Raises:
        ValueError: An empty window, or one without end.
    """
    if not 0.0 <= from_s < to_s < inf:
        raise ValueError(f"window [{from_s}, {to_s}): must begin at or after 0, end, not be empty")
    shares = settings.caches_prefixes and any(request.blocks for request in offline)
    available = [r for r in offline if in_flight is not None or r.at_s < to_s]
    if standing is not None:
        available = list(offline)
    ended_s = None
    if keeps_up_with is not None:
        ended_s = np.array([trace.chunks[-1].at_s for trace in keeps_up_with])
    relaxation = _Relaxation(
        online=online,
        offline=available,
        loop=ClosedLoop(
            in_flight=in_flight,
            from_ms=from_s * 1e3,
            to_ms=to_s * 1e3,
            kv_tokens=settings.kv_tokens,
            given_up=given_up if not shares else None,
            spread=spread,
        ),
        settings=settings,
        envelope=envelope,
        from_s=from_s,
        to_s=to_s,
        targets=targets or LatencyTargets(),
        ended_s=ended_s,
        standing=standing,
    )
    fastest = float((envelope.prompt / envelope.floor_ms).max()) or 1.0  # tokens a millisecond
    decode = envelope.least_decode_ms * fastest
    most = amounts(
        prompt=2.0,
        online_decode=4.0 * decode,
        offline_decode=4.0 * decode,
        kv=4.0 * decode / settings.kv_tokens,
        attention=2.0 * fastest,
        presence=fastest,
        waiting=fastest,
        in_part=1.0,
    )
    start = amounts(prompt=0.9, online_decode=decode / 8.0, attention=fastest / 2.0, in_part=0.3)
    found = minimise(
        relaxation.evaluate,
        most=most,
        start=start,
        tolerance_ratio=_TOLERANCE_RATIO,
        max_evaluations=_MAX_EVALUATIONS,
    )
    supply_tokens = sum(r.prompt_tokens + r.output_tokens for r in available)
    if standing is not None:
        begun = float(standing.prompt_before.sum() + standing.output_before.sum())
        supply_tokens -= round(begun - standing.free_tokens)
    tokens = min(supply_tokens, max(0, floor(found.value * (1.0 + 1e-9) + 1e-6)))
    prices = Prices.of(found.at)
    scale = max(found.value, 1.0)
    latency_ratio = relaxation.latency_value(prices) / scale
    kv_ratio = relaxation.kv_value(prices) / scale
    return Bound(
        offline_tokens=tokens,
        window_s=to_s - from_s,
        binding=_binding(
            is_all=tokens == supply_tokens, latency_ratio=latency_ratio, kv_ratio=kv_ratio
        ),
        latency_ratio=latency_ratio,
        kv_ratio=kv_ratio,
        online_tokens=relaxation.online_value(prices),
        gap_ratio=max(0.0, found.value - found.below) / scale,
        prices=prices,
    )


class _Relaxation:
    """The Lagrangian of one window."""

    def __init__(
        self,
        *,
        online: Sequence[SimulatedRequest],
        offline: Sequence[SimulatedRequest],
        loop: ClosedLoop,
        settings: EngineSettings,
        envelope: Envelope,
        from_s: float,
        to_s: float,
        targets: LatencyTargets,
        ended_s: Floats | None,
        standing: Standing | None,
    ) -> None:
        sharing = NOTHING_SHARED
        if settings.caches_prefixes:
            sharing = Sharing.of(online=online, offline=offline, from_s=from_s)
            if standing is not None:
                sharing = sharing.with_begun(offline, begun=standing.prompt_before > 0.0)
        measured = [request for request in online if from_s <= request.at_s < to_s]
        self._online = Online(
            measured,
            needs=needs_of(measured, envelope=envelope, sharing=sharing),
            envelope=envelope,
            from_s=from_s,
            to_s=to_s,
            targets=targets,
            ended_s=ended_s,
        )
        needs = needs_of(offline, envelope=envelope, sharing=sharing)
        self._supply: Supply | Kept
        if standing is None:
            self._supply = Supply(needs, envelope=envelope, loop=loop)
        else:
            classes = Classes.alike(needs)
            self._supply = Kept(
                Backlog(needs, standing=standing, envelope=envelope, classes=classes)
            )
        self._passes = Passes(envelope, kv_tokens=settings.kv_tokens)
        # Passes under way at the begin, whose results count.
        self._begun = 0
        self._spared = amounts()  # by tokens of online that come with prompts computed again
        if standing is not None and standing.online_repeats and measured:
            longest = max(r.prompt_tokens + r.output_tokens for r in measured)
            self._spared = standing.online_repeats * amounts(
                online_decode=1.0, kv=longest, attention=envelope.context_ms * longest
            )
        if from_s > 0.0 and standing is None:
            self._begun = 2 if settings.loop is Loop.OVERLAP_BLOCKING else 1

    def evaluate(self, values: Floats) -> tuple[float, Floats]:
        """The bound at these prices, and a subgradient."""
        prices = Prices.of(values)
        rates = self._passes.rates(prices, most=self._online.most)
        harvest = self._supply.best(prices)
        served = self._online.best(prices, rates)
        value = harvest.value + served.value + float(self._spared @ values)
        gradient = served.gradient - harvest.amounts + self._spared
        if self._begun:
            earned, given = self._passes.most_of_one(prices)
            value, gradient = value + self._begun * earned, gradient + self._begun * given
        return value, gradient

    def latency_value(self, prices: Prices) -> float:
        """What the targets' time allows."""
        return self._online.budget_value(prices)

    def kv_value(self, prices: Prices) -> float:
        """What the memory of all passes allows."""
        rates = self._passes.rates(prices, most=self._online.most)
        held = self._online.best(prices, rates).given
        return float(held @ amounts(kv=prices.kv))

    def online_value(self, prices: Prices) -> float:
        """What the online work that cannot be left costs."""
        rates = self._passes.rates(prices, most=self._online.most)
        return self._online.best(prices, rates).cost


def _binding(*, is_all: bool, latency_ratio: float, kv_ratio: float) -> Binding:
    if is_all:
        return Binding.SUPPLY
    if max(latency_ratio, kv_ratio) < _BINDS_RATIO:
        return Binding.TIME
    return Binding.LATENCY if latency_ratio >= kv_ratio else Binding.KV
