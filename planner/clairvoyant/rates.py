"""What a millisecond of the engine earns at best, by online requests present.

Owns the choice of the pass. At given prices a pass of S prompt tokens, d online and e
offline decodes earns

    prompt*S + online_decode*d + offline_decode*e + kv*KV

since each pass may hold the whole KV once, and lasts at least the floor of its box plus its
attention, which earns `attention` a millisecond. A ratio of sums lies between the ratios, so
a millisecond earns no more than the larger of the best earning over floor and `attention`.
"""

from dataclasses import dataclass

import numpy as np

from planner.clairvoyant.envelope import Envelope
from planner.clairvoyant.prices import Floats, Prices, amounts

_EVERY_NUMBER_TO = 32  # beyond, rates are computed for numbers 1/32 apart


@dataclass(frozen=True, slots=True, kw_only=True)
class Rates:
    """By online requests present, (most + 1,).

    Attributes:
        per_ms: Earned a millisecond, at the most; never falls.
        amounts_per_ms: What the best pass gives of each a millisecond, (most + 1, 8).
    """

    per_ms: Floats
    amounts_per_ms: Floats


class Passes:
    """The passes of an engine, box by box."""

    def __init__(self, envelope: Envelope, *, kv_tokens: int) -> None:
        """Keeps what `envelope` says.

        Args:
            envelope: Least durations.
            kv_tokens: What a pass may hold.
        """
        self._prompt, self._rows = envelope.prompt, envelope.rows
        self._floor_ms = envelope.floor_ms
        self._kv = float(kv_tokens)
        self._most_attention_ms = envelope.most_attention_ms

    def rates(self, prices: Prices, *, most: int) -> Rates:
        """The best rate while 0, 1, …, `most` online requests are present."""
        common = prices.prompt * self._prompt + prices.kv * self._kv
        offline = (common + prices.offline_decode * self._rows) / self._floor_ms
        online_gain = max(0.0, prices.online_decode - prices.offline_decode) / self._floor_ms
        top = offline + online_gain * np.minimum(most, self._rows)
        # The rest is beaten whatever the number present.
        useful = np.flatnonzero(top >= offline.max())
        offline, online_gain, rows = offline[useful], online_gain[useful], self._rows[useful]
        per_ms = np.empty(most + 1)
        boxes = np.empty(most + 1, dtype=np.int64)
        present = np.empty(most + 1)  # as the rate has it
        number = 0
        while number <= most:
            upto = number if number < _EVERY_NUMBER_TO else number + number // _EVERY_NUMBER_TO
            upto = min(upto, most)
            earned = offline + online_gain * np.minimum(upto, rows)
            best = int(np.argmax(earned))
            per_ms[number : upto + 1] = earned[best]
            boxes[number : upto + 1] = useful[best]
            present[number : upto + 1] = upto
            number = upto + 1
        is_online = prices.online_decode > prices.offline_decode
        given = self._amounts(boxes, present=present, is_online=is_online)
        given /= self._floor_ms[boxes][:, None]
        is_attention = per_ms < prices.attention
        given[is_attention] = amounts(attention=1.0)
        return Rates(per_ms=np.maximum(per_ms, prices.attention), amounts_per_ms=given)

    def most_of_one(self, prices: Prices) -> tuple[float, Floats]:
        """What one pass earns at most, however long it lasts, and what it gives."""
        decode = max(prices.online_decode, prices.offline_decode)
        best = int(np.argmax(prices.prompt * self._prompt + decode * self._rows))
        given = self._amounts(
            np.array([best]),
            present=np.array([np.inf]),
            is_online=prices.online_decode > prices.offline_decode,
        )[0]
        given = given + amounts(attention=self._most_attention_ms)
        return float(given @ prices.values()), given

    def _amounts(self, boxes: np.ndarray, *, present: Floats, is_online: bool) -> Floats:
        rows = self._rows[boxes]
        online = np.minimum(rows, present) if is_online else np.zeros(len(boxes))
        return amounts(
            prompt=self._prompt[boxes],
            online_decode=online,
            offline_decode=rows - online,
            kv=self._kv,
        )
