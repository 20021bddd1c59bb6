"""How little time a pass can take, from any truth.

Owns the least duration of passes by their tokens, and the least that attention adds to it.
Refuses to know what the truth is made of. With S prompt tokens and m decode rows of a pass,
A query-key pairs of its prompts and K tokens of KV that its decodes read,

    T(pass) >= floor(S, m) + pair_ms*A + context_ms*K

Tokens are covered by boxes; `floor` holds in a whole box, because it is taken at the corner
with the fewest tokens and the truth never falls. Boxes are split until their corners differ
by no more than `_TOLERANCE_RATIO`, so a step of the truth, such as a tile's, costs nothing.

`pair_ms` and `context_ms` are the smallest rises found: from end to end where the truth bends
downwards all along, since it lies above that line, and between neighbours where it does not.
`floor` is lowered until the inequality holds at the corners and the middle of A and K.
Assumed of the truth: no sum makes it shorter (checked wherever it is asked), and over A and K
it bends one way only, so that what holds there holds between. `least_ms` states the
inequality for any pass, so that a run can check it on every pass it ran.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from planner.latency.features import BatchShape
from planner.simulation.request import SimulatedRequest
from planner.simulation.settings import EngineSettings

Floats = NDArray[np.float64]

_TOLERANCE_RATIO = 0.01
_ROWS_APART = 16  # the rows of a box differ by a 16th, lest its most context seems read by few
_ROUNDING_RATIO = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """Least durations; arrays have one entry a box.

    Attributes:
        least_prompt: Fewest prompt tokens in the box.
        prompt: Most of them.
        least_rows: Fewest decode rows.
        rows: Most of them.
        floor_ms: What a pass in the box lasts at least, beside attention.
        pair_ms: What a query-key pair of a prompt adds at least.
        context_ms: What a token of KV that a decode reads adds at least.
        most_attention_ms: What attention adds at most, by these, to any pass.
    """

    least_prompt: Floats
    prompt: Floats
    least_rows: Floats
    rows: Floats
    floor_ms: Floats
    pair_ms: float
    context_ms: float
    most_attention_ms: float

    def least_ms(self, shape: BatchShape) -> float:
        """What a pass lasts at least, by this envelope."""
        tokens, rows = shape.prefill_tokens, shape.decode_rows
        within = (
            (self.least_prompt <= tokens)
            & (tokens <= self.prompt)
            & (self.least_rows <= rows)
            & (rows <= self.rows)
        )
        if not within.any():
            raise ValueError(f"{tokens} prompt tokens and {rows} decode rows: no such pass")
        attention_ms = self.pair_ms * shape.prefill_attention
        attention_ms += self.context_ms * shape.decode_context_tokens
        return float(self.floor_ms[within].max()) + attention_ms

    @property
    def least_decode_ms(self) -> float:
        """Of any pass that decodes, beside attention."""
        return float(self.floor_ms[self.rows > 0].min())

    def least_prompt_ms(self, tokens: Floats) -> Floats:
        """Of the passes that compute so many tokens of one prompt, beside attention."""
        has_prompt = self.prompt > 0
        floors, most = self.floor_ms[has_prompt], self.prompt[has_prompt]
        order = np.argsort(most)
        # Of all boxes that reach as many tokens, the shortest.
        reaching = np.minimum.accumulate(floors[order][::-1])[::-1]
        passes = np.ceil(tokens / most.max())
        largest = reaching[np.searchsorted(most[order], tokens / np.maximum(passes, 1.0))]
        by_passes = largest + (passes - 1.0) * floors.min()
        return np.where(tokens > 0, np.maximum(by_passes, tokens * (floors / most).min()), 0.0)


def most_prompt_tokens(settings: EngineSettings, *, longest_tokens: int) -> int:
    """Prompt tokens that a pass can hold."""
    chunk = settings.chunked_prefill_size
    return chunk if chunk > 0 else max(settings.max_prefill_tokens, longest_tokens)


def least_passes(
    pass_ms: Callable[[BatchShape], float],
    *,
    settings: EngineSettings,
    requests: Iterable[SimulatedRequest],
) -> Envelope:
    """The envelope of a truth on an engine.

    Args:
        pass_ms: The truth without noise.
        settings: The engine.
        requests: All that may run, of both classes: they say how much attention a pass can
            have.

    Raises:
        ValueError: The truth falls where a pass grows.
    """
    longest, shares = 1, False
    for request in requests:
        longest = max(longest, request.prompt_tokens + request.output_tokens)
        shares = shares or bool(request.blocks)
    asked = _Asked(pass_ms, settings, longest, shares and settings.caches_prefixes)
    boxes = asked.boxes()
    pair_ms, context_ms = asked.slopes()
    floors = [asked.floor_ms(box, pair_ms=pair_ms, context_ms=context_ms) for box in boxes]
    corners = np.array(boxes, dtype=np.float64).T
    return Envelope(
        least_prompt=corners[0],
        prompt=corners[1],
        least_rows=corners[2],
        rows=corners[3],
        floor_ms=np.array(floors) + settings.pass_overhead_ms,
        pair_ms=pair_ms,
        context_ms=context_ms,
        most_attention_ms=asked.most_attention_ms(pair_ms=pair_ms, context_ms=context_ms),
    )


_Box = tuple[int, int, int, int]  # fewest and most prompt tokens, fewest and most rows


class _Asked:
    """The truth, as it is asked."""

    def __init__(
        self,
        pass_ms: Callable[[BatchShape], float],
        settings: EngineSettings,
        longest_tokens: int,
        shares_prefixes: bool,
    ) -> None:
        self._pass_ms = pass_ms
        self._mixes, self._splits = settings.mixes, settings.chunked_prefill_size > 0
        self._most_prompt = most_prompt_tokens(settings, longest_tokens=longest_tokens)
        self._most_rows = settings.max_running_requests
        self._longest = longest_tokens
        rows_context = self._most_rows * longest_tokens
        self._most_context = (
            rows_context if shares_prefixes else min(rows_context, settings.kv_tokens)
        )
        self._plain: dict[tuple[int, int], float] = {}

    def boxes(self) -> list[_Box]:
        """Boxes in which the truth hardly rises, attention at its least."""
        prompt, rows = self._most_prompt, self._most_rows
        open_boxes: list[_Box] = [(0, 0, 1, rows), (1, prompt, 0, 0)]
        if self._mixes:
            open_boxes.append((1, prompt, 1, rows))
        done = []
        while open_boxes:
            box = open_boxes.pop()
            s0, s1, m0, m1 = box
            low, high = self._plain_ms(s0, m0), self._plain_ms(s1, m1)
            if high < low * (1.0 - _ROUNDING_RATIO):
                raise ValueError(
                    f"truth: {s1} prompt tokens and {m1} decode rows last {high} ms, {s0} and "
                    f"{m0} last {low} ms; it must never fall"
                )
            has_few_rows = m1 - m0 <= m0 // _ROWS_APART
            if high <= low * (1.0 + _TOLERANCE_RATIO) and has_few_rows:
                done.append(box)
                continue
            by_prompt = self._plain_ms(s1, m0) - low
            by_rows = self._plain_ms(s0, m1) - low
            if s1 > s0 and (by_prompt >= by_rows or m1 == m0) and has_few_rows:
                middle = (s0 + s1) // 2
                open_boxes += [(s0, middle, m0, m1), (middle + 1, s1, m0, m1)]
            else:
                middle = (m0 + m1) // 2
                open_boxes += [(s0, s1, m0, middle), (s0, s1, middle + 1, m1)]
        return self._within_chunk(done) if self._mixes else done

    def _within_chunk(self, boxes: list[_Box]) -> list[_Box]:
        """SGLang counts the decodes of a mixed pass against its chunk."""
        if not self._splits:
            return boxes
        chunk = self._most_prompt
        return [
            (s0, min(s1, chunk - m0), m0, min(m1, chunk - s0)) if s0 and m0 else (s0, s1, m0, m1)
            for s0, s1, m0, m1 in boxes
            if not (s0 and m0) or s0 + m0 <= chunk
        ]

    def slopes(self) -> tuple[float, float]:
        """The smallest rises over query-key pairs, and over tokens read."""
        shares = (0.0, 0.125, 0.25, 0.5, 1.0)
        prompt, rows = self._most_prompt, self._most_rows
        pair_rises, context_rises = [], []
        box = (prompt, prompt, 0, 0)
        low, high = self._pairs(box)
        times = [self._ms(box, low + share * (high - low), 0.0) for share in shares]
        if high > low:
            pair_rises.append(_least_rise(times, [share * (high - low) for share in shares]))
        for m in {1, max(1, rows // 8), rows}:
            box = (0, 0, m, m)
            low, high = self._context(box)
            times = [self._ms(box, 0.0, low + share * (high - low)) for share in shares]
            if high > low:
                context_rises.append(_least_rise(times, [share * (high - low) for share in shares]))
        return min(pair_rises, default=0.0), min(context_rises, default=0.0)

    def floor_ms(self, box: _Box, *, pair_ms: float, context_ms: float) -> float:
        """What is left of the truth in a box without its attention, at the least."""
        least_pairs, most_pairs = self._pairs(box)
        least_context, most_context = self._context(box)
        middle = (least_pairs + most_pairs) / 2.0, (least_context + most_context) / 2.0
        places = {
            (pairs, context)
            for pairs in (least_pairs, most_pairs)
            for context in (least_context, most_context)
        } | {middle}
        return min(
            self._ms(box, pairs, context) - pair_ms * pairs - context_ms * context
            for pairs, context in places
        )

    def most_attention_ms(self, *, pair_ms: float, context_ms: float) -> float:
        """Of the fullest pass."""
        return pair_ms * self._most_prompt * self._longest + context_ms * self._most_context

    def _plain_ms(self, prompt: int, rows: int) -> float:
        found = self._plain.get((prompt, rows))
        if found is None:
            box = (prompt, prompt, rows, rows)
            found = self._ms(box, self._pairs(box)[0], self._context(box)[0])
            self._plain[prompt, rows] = found
        return found

    def _pairs(self, box: _Box) -> tuple[float, float]:
        """Fewest in the corner with the fewest tokens, most in that with the most."""
        s0, s1, _, _ = box
        if not s1:
            return 0.0, 0.0
        return s0 * s0 / (2.0 * min(s0, self._most_rows)), float(s1 * self._longest)

    def _context(self, box: _Box) -> tuple[float, float]:
        _, _, m0, m1 = box
        return float(m0), float(max(m0, min(m1 * self._longest, self._most_context)))

    def _ms(self, box: _Box, pairs: float, context: float) -> float:
        """The truth of the least pass in a box with so many pairs and tokens read.

        Its other sums are at the least that these allow: with S tokens in rows of p after c,
        sum c >= A/S - S/2, sum (c + p)^2 >= 2A, and the longest read is above the mean.
        """
        s0, s1, m0, m1 = box
        shape = BatchShape(
            prefill_tokens=s0,
            prefill_rows=1 if s0 else 0,
            prefill_context_tokens=max(0, int(pairs / s1 - s1 / 2.0)) if s1 else 0,
            prefill_attention=pairs,
            prefill_padded_sq=2.0 * pairs,
            decode_rows=m0,
            decode_context_tokens=int(context),
            decode_max_context_tokens=int(context / m1) if m1 else 0,
        )
        return self._pass_ms(shape)


def _least_rise(times: list[float], places: list[float]) -> float:
    """Rise over run: from end to end where rises only fall, else the smallest of neighbours.

    Raises:
        ValueError: One falls.
    """
    rises = []
    for (before_ms, after_ms), (before, after) in zip(
        pairwise(times), pairwise(places), strict=True
    ):
        if after_ms < before_ms * (1.0 - _ROUNDING_RATIO):
            raise ValueError(
                f"truth: a pass of more attention lasts {after_ms} ms, of less {before_ms} ms; "
                "it must never fall"
            )
        rises.append(max(0.0, (after_ms - before_ms) / (after - before)))
    if all(later <= rise for rise, later in pairwise(rises)):
        return max(0.0, (times[-1] - times[0]) / (places[-1] - places[0]))
    return min(rises)
