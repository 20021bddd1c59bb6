"""How many online requests can be in the system, over time.

Owns the path of their number. A request is in the system from the earliest moment at which
its first token could exist until its last token; only then can it decode, so a pass decodes
no more online rows than there are requests present. The path of their number n(t)

- rises by one at a release, when a request comes in, and at no other time;
- falls when requests end: at will, but a request stays at least as long as its decodes
  take in the shortest passes there are, and no fewer have ended at any time than in a run
  that the schedule keeps up with, where there is one.

Nothing else is asked of it: which request ends is left open. Between two releases the path
may only fall, so what is earned there is at most what its best point earns; `best` is a
dynamic programme over (release, number), exact for this relaxation.
"""

from dataclasses import dataclass

import numpy as np

from planner.clairvoyant.prices import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Path:
    """The best path.

    Attributes:
        value: What it earns.
        held_ms: How long each number is present, (most + 1,).
        left: Requests present at the end.
    """

    value: float
    held_ms: Floats
    left: int


class Presence:
    """The releases of one window, and how long each request stays at least."""

    def __init__(
        self,
        *,
        released_ms: Floats,
        staying_ms: Floats,
        ended_ms: Floats | None,
        window_ms: float,
        most: int,
    ) -> None:
        """Times count from the window's begin.

        Args:
            released_ms: When each request could have its first token, >= 0.
            staying_ms: How long its decodes take at least.
            ended_ms: By each of these times one more request has ended, at the latest; None:
                nothing is asked.
            window_ms: Length of the window.
            most: From how many on it makes no difference how many are present.
        """
        self.unreleased = int((released_ms >= window_ms).sum())  # left at the end for certain
        is_in = released_ms < window_ms
        starts = np.sort(released_ms[is_in])
        ends = np.sort(released_ms[is_in] + staying_ms[is_in])
        bounds = np.concatenate([[0.0], starts, [window_ms]])
        self._lengths = np.diff(bounds)
        # Present for certain up to the end of each stretch, so throughout it.
        gone = np.searchsorted(ends, bounds[1:], side="left")
        self._least = np.maximum(0, np.arange(len(starts) + 1) - gone)
        self._most_present = np.arange(len(starts) + 1)
        self._most_left = len(starts)
        if ended_ms is not None:
            ended = np.searchsorted(np.sort(ended_ms), bounds[:-1], side="right")
            self._most_present = np.maximum(self._most_present - ended, self._least)
            ended_in_window = int((ended_ms < window_ms).sum())
            self._most_left = max(self._most_left - ended_in_window, int(self._least[-1]))
        self.most = min(most, int(self._most_present.max()))

    def best(self, rates: Floats, *, left_value: Floats) -> Path:
        """The path that earns most.

        Args:
            rates: Earned a millisecond by number present, (most + 1,); the last one also
                holds for any larger number.
            left_value: Earned by so many requests left at the end, never falling,
                (requests + 1,).
        """
        arrived, settled = [], []  # before anyone ends in the stretch, and at its end
        value = np.full(self.most + 1, -np.inf)
        value[0] = 0.0
        for stretch, length in enumerate(self._lengths):
            if stretch:
                top = value[-2:].max()
                value = np.concatenate([[-np.inf], value[:-1]])
                value[-1] = top
            arrived.append(value)
            value = np.maximum.accumulate(value[::-1])[::-1] + length * rates
            value[: min(self._least[stretch], self.most)] = -np.inf
            value[max(self._most_present[stretch], 0) + 1 :] = -np.inf
            settled.append(value)
        left = np.arange(self.most + 1) + self.unreleased
        if self.most < self._most_left:  # the last stands for any larger number
            left[-1] = len(left_value) - 1
        # Any may have ended in the last moment.
        worth = np.maximum.accumulate(value[::-1])[::-1] + left_value[left]
        worth[self._most_left + 1 :] = -np.inf
        worth[: min(self._least[-1], self.most)] = -np.inf
        ending = int(np.argmax(worth))
        number = ending + int(np.argmax(value[ending:]))
        return Path(
            value=float(worth[ending]),
            held_ms=self._trace(arrived, settled, number=number),
            left=int(left[ending]),
        )

    def _trace(self, arrived: list[Floats], settled: list[Floats], *, number: int) -> Floats:
        held_ms = np.zeros(self.most + 1)
        for stretch in range(len(arrived) - 1, -1, -1):
            held_ms[number] += self._lengths[stretch]
            number += int(np.argmax(arrived[stretch][number:]))
            if stretch:
                before = settled[stretch - 1]
                stayed_on_top = number == self.most and before[-1] >= before[-2:].max()
                number -= not stayed_on_top
        return held_ms
