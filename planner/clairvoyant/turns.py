"""What a millisecond earns at best in each stretch of a window.

Owns the choice of the pass where it is known which online requests can be in it. A pass of
a box of the envelope, with online decodes D and e_c offline ones of class c, earns

    price*S + kv*KV + sum of D's prices + sum e_c * price_c

and lasts at least floor + sum of D's row_ms + sum e_c * row_ms_c, where |D| + sum e_c is at
most the box's rows and sum e_c * row_kv_c at most the KV. S is priced as the dearest prompt
that may run in the stretch. Attention beyond the rows' least is done somewhere at its own
price; a ratio of sums lies between the ratios, so a stretch is worth the larger of the best
pass and of that price. The best ratio is found by Dinkelbach's method (1967): at a guessed
price of time, the pass with the most left over gives the next guess.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.clairvoyant.backlog import FIRST_CLASS, KV, PROMPT, Classes
from planner.clairvoyant.envelope import Envelope
from planner.clairvoyant.prices import Floats
from planner.clairvoyant.stays import Stays

_MOST_STEPS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """The best pass of a stretch.

    Attributes:
        per_ms: What it earns a millisecond.
        prompt: Prompt tokens a millisecond.
        prompt_request: Whose price they have; None: the common one.
        passes: Passes a millisecond.
        rows: Online requests that decode.
        offline_rows: Offline decodes a millisecond, by class.
    """

    per_ms: float
    prompt: float
    prompt_request: int | None
    passes: float
    rows: NDArray[np.intp]
    offline_rows: Floats


class Turns:
    """The passes of an engine beside the online requests of a window."""

    def __init__(
        self, envelope: Envelope, *, kv_tokens: int, stays: Stays, classes: Classes
    ) -> None:
        """Keeps the boxes that can be best."""
        kept = _best_somewhere(envelope)
        self._prompt, self._floor_ms = envelope.prompt[kept], envelope.floor_ms[kept]
        self._rows = envelope.rows[kept].astype(np.int64)
        self.kv_tokens, self._stays, self._classes = float(kv_tokens), stays, classes
        self._decoding = [np.flatnonzero(row) for row in stays.decodes_in]
        self._prompting = [np.flatnonzero(row) for row in stays.prompts_in]
        most_rows = int(self._rows.max())
        self._numbers = np.arange(most_rows + 1)
        self._mixtures = _mixtures(classes, kv_tokens=self.kv_tokens, most_rows=most_rows)
        self._guesses = np.zeros(len(self._decoding))

    def best(self, prices: Floats, *, decode: Floats, prompt: Floats) -> list[Turn]:
        """The best pass of each stretch.

        Args:
            prices: As `Backlog` has them.
            decode: Of a decode of each online request.
            prompt: Of a prompt token of each.
        """
        return [
            self._best(stretch, prices=prices, decode=decode, prompt=prompt)
            for stretch in range(len(self._decoding))
        ]

    def _best(self, stretch: int, *, prices: Floats, decode: Floats, prompt: Floats) -> Turn:
        online, waiting = self._decoding[stretch], self._prompting[stretch]
        a_token, whose = float(prices[PROMPT]), None
        if len(waiting):
            dearest = int(waiting[np.argmax(prompt[waiting])])
            if prompt[dearest] > a_token:
                a_token, whose = float(prompt[dearest]), dearest
        earned = a_token * self._prompt + prices[KV] * self.kv_tokens
        row_ms, class_ms = self._stays.row_ms[online], self._classes.row_ms
        a_ms = self._guesses[stretch]
        for step in range(_MOST_STEPS):
            gains = decode[online] - a_ms * row_ms
            order = np.argsort(-gains, kind="stable")
            online_sums = np.concatenate([[0.0], np.cumsum(np.maximum(gains[order], 0.0))])
            offline, shares = self._offline(prices[FIRST_CLASS:] - a_ms * class_ms)
            most, split = _together(online_sums, offline)
            best = int(np.argmax(earned + most[self._rows] - a_ms * self._floor_ms))
            rows = int(self._rows[best])
            taken = order[: split[rows]]
            taken = taken[gains[taken] > 0.0]
            beside = shares[rows - split[rows]]
            lasting_ms = self._floor_ms[best] + row_ms[taken].sum() + beside @ class_ms
            value = earned[best] + decode[online[taken]].sum() + beside @ prices[FIRST_CLASS:]
            rate = value / lasting_ms
            if step and rate <= a_ms * (1.0 + 1e-12):
                break
            a_ms = rate
        self._guesses[stretch] = a_ms
        return Turn(
            per_ms=float(rate),
            prompt=float(self._prompt[best] / lasting_ms),
            prompt_request=whose,
            passes=float(1.0 / lasting_ms),
            rows=online[taken],
            offline_rows=beside / lasting_ms,
        )

    def _offline(self, gains: Floats) -> tuple[Floats, Floats]:
        """By rows: what offline decodes gain at most within the KV, and how many of each class."""
        values = self._mixtures @ gains
        best = np.argmax(values, axis=0)
        return values[best, self._numbers], self._mixtures[best, self._numbers]


def _mixtures(classes: Classes, *, kv_tokens: float, most_rows: int) -> Floats:
    """Offline rows of each class, (mixtures, rows, classes), one of which is best.

    They are the corners of a linear programme with two constraints, rows and KV: none, one
    class, or two that fill both.
    """
    numbers, kv = np.arange(most_rows + 1.0), classes.row_kv
    found = [np.zeros((most_rows + 1, len(classes)))]
    for each in range(len(classes)):
        one = np.zeros((most_rows + 1, len(classes)))
        one[:, each] = np.minimum(numbers, kv_tokens / kv[each])
        found.append(one)
        for large in np.flatnonzero(kv > kv[each]):
            two = np.zeros((most_rows + 1, len(classes)))
            more = (kv_tokens - numbers * kv[each]) / (kv[large] - kv[each])
            fills = (more >= 0.0) & (more <= numbers)
            two[fills, each], two[fills, large] = (numbers - more)[fills], more[fills]
            found.append(two)
    return np.stack(found)


def _together(online: Floats, offline: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """By rows: the most that both gain in them, and how many of the rows are online's."""
    rows = np.arange(len(offline))
    left = rows[:, None] - np.arange(len(online))[None, :]
    sums = np.where(left >= 0, online[None, :] + offline[np.maximum(left, 0)], -np.inf)
    split = np.argmax(sums, axis=1)
    return sums[rows, split], split


def _best_somewhere(envelope: Envelope) -> NDArray[np.intp]:
    """Boxes that are best of those with as many rows, at some prices of tokens and of time.

    At such prices a box is worth price*S - price_ms*floor: the best is a corner of the
    convex hull of all (floor, S).
    """
    order = np.lexsort((-envelope.prompt, envelope.floor_ms, envelope.rows))
    kept: list[int] = []
    corners: list[int] = []
    for box in map(int, order):
        if corners and envelope.rows[box] != envelope.rows[corners[-1]]:
            kept, corners = kept + corners, []
        if corners and envelope.prompt[box] <= envelope.prompt[corners[-1]]:
            continue
        while len(corners) > 1 and _is_below(envelope, corners[-2], corners[-1], box):
            corners.pop()
        corners.append(box)
    return np.array(kept + corners, dtype=np.intp)


def _is_below(envelope: Envelope, first: int, middle: int, last: int) -> bool:
    """Whether the middle box is on or below the line between the others."""
    prompt, floor_ms = envelope.prompt, envelope.floor_ms
    rise = (prompt[middle] - prompt[first]) * (floor_ms[last] - floor_ms[first])
    return bool(rise <= (prompt[last] - prompt[first]) * (floor_ms[middle] - floor_ms[first]))
