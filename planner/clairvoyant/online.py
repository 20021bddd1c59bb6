"""What the online requests of a window take, at given prices.

Owns the online half of the Lagrangian: their work in the window, what of it may be left for
after the window's end, and the time that the targets give them. Two targets bound time:

- mean TTFT: the requests together wait no longer for their first tokens than its sum, so
  few can be left without one at the end;
- mean TTFT and mean ITL together bound the time that requests are in the system, and with
  it how many are there to be decoded in one pass (`presence`).

A quantile of TTFT says of how many requests the first token can be left for later. The
median and p99 of ITL say nothing here: a few gaps may be as long as one likes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from planner.clairvoyant.envelope import Envelope
from planner.clairvoyant.needs import Needs
from planner.clairvoyant.presence import Presence
from planner.clairvoyant.prices import Floats, Prices, amounts
from planner.clairvoyant.rates import Rates
from planner.interference.targets import LatencyTargets
from planner.simulation.request import SimulatedRequest

_PRESENCE = 5  # column of the amounts
_MOST_PRESENT = 1024  # states of the path; the last stands for any larger number


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The best way to serve them.

    Attributes:
        value: Earned in the window, less the work done in it, with the targets' time.
        gradient: Of the value by the prices, (8,).
        given: What the passes give of each, (8,).
        cost: The work done in it alone, in offline tokens.
    """

    value: float
    gradient: Floats
    given: Floats
    cost: float


class Online:
    """The online requests sent in a window."""

    def __init__(
        self,
        requests: Sequence[SimulatedRequest],
        *,
        needs: Needs,
        envelope: Envelope,
        from_s: float,
        to_s: float,
        targets: LatencyTargets,
        ended_s: Floats | None,
    ) -> None:
        """Reads what the targets allow.

        Args:
            requests: Sent in the window.
            needs: Of the same.
            envelope: Least durations.
            from_s: The window's begin.
            to_s: Its end.
            targets: Held over these requests.
            ended_s: When those of a run ended that is kept up with; None: there is none.
        """
        self._window_ms = (to_s - from_s) * 1e3
        self._sent_ms = (np.array([r.at_s for r in requests], dtype=np.float64) - from_s) * 1e3
        # No first token before all that only its own passes compute.
        shared = needs.prompt - needs.alone
        first_ms = envelope.least_prompt_ms(needs.alone)
        first_ms = first_ms + envelope.pair_ms * (needs.prompt**2 - shared**2) / 2.0
        released_ms = self._sent_ms + first_ms
        self._waits_ms = np.maximum(0.0, self._window_ms - released_ms)
        ended_ms = None if ended_s is None else (ended_s - from_s) * 1e3
        self._presence = Presence(
            released_ms=released_ms,
            ended_ms=ended_ms,
            staying_ms=needs.decodes * envelope.least_decode_ms + needs.decode_ms,
            window_ms=self._window_ms,
            most=_MOST_PRESENT,
        )
        self._prompts = needs.prompt_amounts()
        self._decodes = needs.online_decode_amounts()
        self._first_decode, self._last_decode = _first_and_last_decode(needs, envelope)
        self._decode_count = needs.decodes
        self._under_way = amounts(
            presence=np.where(needs.decodes > 0, -self._last_decode[:, _PRESENCE], 0.0)
        )
        self._targets = targets
        self._most_left = len(requests)
        if ended_ms is not None:
            self._most_left -= int((ended_ms < self._window_ms).sum())
        self._waiting_ms = self._system_ms = None
        if targets.ttft_mean_ms is not None:
            self._waiting_ms = len(requests) * targets.ttft_mean_ms - float(first_ms.sum())
            if targets.itl_mean_ms is not None:
                gaps_ms = float(needs.decodes.sum()) * targets.itl_mean_ms
                self._system_ms = self._waiting_ms + gaps_ms
        if self._system_ms is None:  # time in the system is free
            for taken in (self._first_decode, self._last_decode, self._under_way):
                taken[:, _PRESENCE] = 0.0

    @property
    def most(self) -> int:
        """Up to how many requests present rates are wanted."""
        return self._presence.most

    def best(self, prices: Prices, rates: Rates) -> Served:
        """The most that the engine can earn while it serves them."""
        values = prices.values()
        presence = prices.presence if self._system_ms is not None else 0.0
        numbers = np.arange(self.most + 1.0)
        left_amounts = self._left_decodes(values)
        left_each = left_amounts @ values
        order = np.argsort(-left_each, kind="stable")
        left_value = np.concatenate([[0.0], np.cumsum(left_each[order])])
        path = self._presence.best(rates.per_ms - presence * numbers, left_value=left_value)
        is_left = self._left_prompts(prices)
        left = left_amounts[order[: path.left]].sum(axis=0)
        left = left + self._prompts[is_left].sum(axis=0)
        work = self._prompts.sum(axis=0) + self._decodes.sum(axis=0)
        given = path.held_ms @ rates.amounts_per_ms
        budgets = amounts(
            presence=0.0
            if self._system_ms is None
            else self._system_ms - float(path.held_ms @ numbers),
            waiting=0.0
            if self._waiting_ms is None
            else self._waiting_ms - float(self._waits_ms[is_left].sum()),
        )
        return Served(
            value=float(path.held_ms @ rates.per_ms + (left - work + budgets) @ values),
            gradient=given + left - work + budgets,
            given=given,
            cost=float((work - left) @ values),
        )

    def budget_value(self, prices: Prices) -> float:
        """What the targets' time is worth."""
        waiting, system = self._waiting_ms or 0.0, self._system_ms or 0.0
        return prices.waiting * waiting + prices.presence * system

    def _left_decodes(self, values: Floats) -> Floats:
        """What it is worth most to leave of each one's decodes for after the end, (requests, 8).

        A decode left for later is not done in the window, and keeps its request in the
        system after it, but for one in the pass that is under way at the end. What a decode
        is worth is linear in its ordinal, so the sum of those worth leaving is at most the
        mean of the first's and the last's, where these are worth it.
        """
        worth_leaving = sum(
            np.where((one @ values > 0.0)[:, None], one, 0.0)
            for one in (self._first_decode, self._last_decode)
        )
        return worth_leaving * (self._decode_count / 2.0)[:, None] + self._under_way

    def _left_prompts(self, prices: Prices) -> NDArray[np.bool_]:
        """Which prompts it pays to leave for after the end."""
        price = prices.waiting if self._waiting_ms is not None else 0.0
        worth = self._prompts @ prices.values() - price * self._waits_ms
        left = worth > 0.0
        left[np.argsort(-worth, kind="stable")[self._most_left :]] = False
        quantiles = ((0.5, self._targets.ttft_p50_ms), (0.99, self._targets.ttft_p99_ms))
        limits = [(target_ms, share) for share, target_ms in quantiles if target_ms is not None]
        # From the longest target on, so that the requests it speaks of are among the next's.
        for target_ms, share in sorted(limits, reverse=True):
            # Sent early enough, only those that the quantile leaves out may have no token yet.
            early = np.flatnonzero(left & (self._sent_ms + target_ms < self._window_ms))
            late = len(left) - ceil(share * len(left) - 1e-9)
            left[early[np.argsort(-worth[early], kind="stable")][late:]] = False
        return left


def _first_and_last_decode(needs: Needs, envelope: Envelope) -> tuple[Floats, Floats]:
    """What the first and the last decode of each take; the time they take is presence < 0."""
    first, last = (
        amounts(
            online_decode=np.ones(len(needs.prompt)),
            kv=needs.private + ordinal,
            attention=envelope.context_ms * (needs.prompt + ordinal),
            presence=-envelope.least_decode_ms - envelope.context_ms * (needs.prompt + ordinal),
        )
        for ordinal in (np.ones(len(needs.prompt)), needs.decodes)
    )
    return first, last
