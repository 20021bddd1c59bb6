"""Pass times as an engine showed them: its fitted model, corrected by its own iterations.

Owns what a fitted model leaves over: how long like iterations really took. Decodes of as
many rows are alike, since a model that never falls as a batch grows misses what kernels do
to row counts (4 rows in 12 ms and 3 in 15, measured on a CPU); prompts of like predicted
length are. On a machine shared with others the noise is neither independent from pass to
pass nor symmetric, and both matter: a first token waits for several passes, and a tail is
made of slow stretches. So a pass is drawn as

    measured = predicted * typical of like iterations * level * rest

where the level, common to all passes, walks through the measured run in its own order, in
stretches of random length (the stationary bootstrap: Politis and Romano, JASA 1994), and
the rest is drawn anew for each pass from like iterations. Refuses clocks.
"""

import random
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from math import inf
from statistics import median

from planner.latency.features import BatchShape
from planner.latency.predictor import LatencyModel
from planner.latency.sample import IterationSample
from planner.simulation.truth import Truth

_BIN = 40  # iterations: the least of which a median and a tail are read
_PROMPT_BINS = 8  # at the most
_POLISHES = 4
_BESIDE = 4  # iterations to each side of one whose median is the level there
_STRETCH = 200  # passes, in the mean: seconds, in which a shared machine changes its pace


@dataclass(slots=True)
class _Bin:
    """Like iterations."""

    end: float  # the largest key in it, see `_key`
    typical_ratio: float = 1.0  # measured over predicted
    rests: list[float] = field(default_factory=list)


class MeasuredTimes:
    """What passes of an engine come to.

    Args:
        model: Fitted to the engine.
        samples: Its iterations, in order; those the model predicts 0 for are left out.

    Raises:
        ValueError: Too few iterations of a kind.
    """

    def __init__(self, model: LatencyModel, samples: Sequence[IterationSample]) -> None:
        self._model = model
        seen = [
            (sample.shape, sample.measured_ms / predicted_ms)
            for sample in samples
            if (predicted_ms := model.predict_ms(sample.shape)) > 0.0
        ]
        keys: dict[bool, list[float]] = {True: [], False: []}
        for shape, _ in seen:
            keys[shape.is_decode_only].append(_key(shape, model.predict_ms(shape)))
        self._bins = {
            True: _bins(keys[True], least=_BIN, kind="decode-only"),
            False: _bins(
                keys[False], least=max(_BIN, len(keys[False]) // _PROMPT_BINS), kind="prefill"
            ),
        }
        likes = [self._like(shape, model.predict_ms(shape)) for shape, _ in seen]
        ratios = [ratio for _, ratio in seen]
        # What is typical of a bin shows once slow stretches are taken out, and these once
        # what is typical is: each is found from the other in turn, as in a median polish
        # (Tukey, Exploratory Data Analysis, 1977).
        self._levels = [1.0] * len(seen)
        for _ in range(_POLISHES):
            for level, ratio, like in zip(self._levels, ratios, likes, strict=True):
                like.rests.append(ratio / level)
            for each in (*self._bins[True], *self._bins[False]):
                each.typical_ratio = median(each.rests)
                each.rests.clear()
            self._levels = _levels(ratios, likes)
        for level, ratio, like in zip(self._levels, ratios, likes, strict=True):
            like.rests.append(ratio / level / like.typical_ratio)

    def typical_ms(self, shape: BatchShape) -> float:
        """The median duration of a pass, as like iterations had it."""
        predicted_ms = self._model.predict_ms(shape)
        if predicted_ms <= 0.0:
            return 0.0
        return predicted_ms * self._like(shape, predicted_ms).typical_ratio

    def pace_of(self, samples: Sequence[IterationSample]) -> float:
        """How much slower than typical other iterations of the engine were, as a ratio.

        The median, each iteration counting as long as it typically lasts: a stall does not
        move it, and many short decodes do not hide few long prompts.

        Raises:
            ValueError: No iteration.
        """
        paces = sorted(
            (sample.measured_ms / typical_ms, typical_ms)
            for sample in samples
            if (typical_ms := self.typical_ms(sample.shape)) > 0.0
        )
        if not paces:
            raise ValueError("pace: no iteration to tell it by")
        ends_ms = list(accumulate(ms for _, ms in paces))
        return paces[bisect_left(ends_ms, ends_ms[-1] / 2.0)][0]

    def truth(self, *, seed: int, pace_ratio: float = 1.0) -> Truth:
        """Durations drawn as described above.

        Args:
            seed: Equal seeds give equal durations for equal passes.
            pace_ratio: Multiplies every one, > 0.
        """
        if not pace_ratio > 0.0:
            raise ValueError(f"pace_ratio is {pace_ratio}, must be > 0")
        source = random.Random(f"{seed}/measured times")
        levels, model = self._levels, self._model
        place = source.randrange(len(levels))

        def lasting_ms(shape: BatchShape) -> float:
            nonlocal place
            place = (
                source.randrange(len(levels))
                if source.random() * _STRETCH < 1.0
                else (place + 1) % len(levels)
            )
            predicted_ms = model.predict_ms(shape)
            if predicted_ms <= 0.0:
                return 0.0
            like = self._like(shape, predicted_ms)
            rest = like.rests[int(source.random() * len(like.rests))]
            return predicted_ms * like.typical_ratio * levels[place] * rest * pace_ratio

        return lasting_ms

    def _like(self, shape: BatchShape, predicted_ms: float) -> _Bin:
        """The bin of a pass; the nearest one where none like it was measured."""
        bins = self._bins[shape.is_decode_only]
        index = bisect_left(bins, _key(shape, predicted_ms), key=lambda each: each.end)
        return bins[min(index, len(bins) - 1)]


def _key(shape: BatchShape, predicted_ms: float) -> float:
    """What makes passes of a kind alike: rows of decodes, predicted length of prompts."""
    return float(shape.decode_rows) if shape.is_decode_only else predicted_ms


def _bins(keys: Sequence[float], *, least: int, kind: str) -> list[_Bin]:
    """Bins of neighbouring keys, each of so many iterations at the least; no key in two."""
    if len(keys) < _BIN:
        raise ValueError(
            f"iterations of kind {kind}: {len(keys)}, at least {_BIN} are needed; measure longer"
        )
    ordered = sorted(keys)
    bins: list[_Bin] = []
    held = 0
    for key, following in pairwise([*ordered, inf]):
        held += 1
        if held >= least and following > key:
            bins.append(_Bin(key))
            held = 0
    if not bins:
        return [_Bin(ordered[-1])]
    bins[-1].end = ordered[-1] if held else bins[-1].end  # too few of the largest: the last's
    return bins


def _levels(ratios: Sequence[float], likes: Sequence[_Bin]) -> list[float]:
    """The level at each iteration: the median around it, over typical; 1 in the median."""
    relative = [ratio / like.typical_ratio for ratio, like in zip(ratios, likes, strict=True)]
    found = [median(relative[max(0, i - _BESIDE) : i + _BESIDE + 1]) for i in range(len(relative))]
    usual = median(found)
    return [level / usual for level in found]
