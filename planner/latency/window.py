"""Which measured iterations are kept for the next fit.

Owns a bounded sliding window, stratified: each kind of shape keeps its own most recent
samples, so that hours of small decodes do not push out the few large prefills a fit needs.
Refuses samples that measure nothing (not finite, not positive, empty shape).
Invariant: at most `max_strata * per_stratum` samples; the kind not seen for longest goes
when there are too many.
"""

import math
from collections import OrderedDict, deque

from planner.latency.features import BatchShape
from planner.latency.sample import IterationSample

Stratum = tuple[int, int, int, int]


class SampleWindow:
    """The most recent samples of each kind of shape.

    Args:
        per_stratum: Samples kept of one kind, >= 1.
        max_strata: Kinds kept, >= 1.

    Raises:
        ValueError: A bound is below 1.
    """

    def __init__(self, *, per_stratum: int = 32, max_strata: int = 128) -> None:
        if per_stratum < 1 or max_strata < 1:
            raise ValueError(
                f"sample window: per_stratum {per_stratum} and max_strata {max_strata} must be >= 1"
            )
        self._per_stratum = per_stratum
        self._max_strata = max_strata
        self._strata: OrderedDict[Stratum, deque[IterationSample]] = OrderedDict()
        self._added = 0

    def __len__(self) -> int:
        return sum(len(samples) for samples in self._strata.values())

    @property
    def added(self) -> int:
        """Samples taken in since the start, those slid out included."""
        return self._added

    def add(self, sample: IterationSample) -> bool:
        """Takes a sample in; returns False for one that measures nothing."""
        shape = sample.shape
        if not math.isfinite(sample.measured_ms) or sample.measured_ms <= 0.0:
            return False
        if shape.prefill_rows == 0 and shape.decode_rows == 0:
            return False
        stratum = stratum_of(shape)
        samples = self._strata.get(stratum)
        if samples is None:
            if len(self._strata) == self._max_strata:
                self._strata.popitem(last=False)
            samples = self._strata[stratum] = deque(maxlen=self._per_stratum)
        else:
            self._strata.move_to_end(stratum)
        samples.append(sample)
        self._added += 1
        return True

    def samples(self) -> tuple[IterationSample, ...]:
        """All samples kept, by kind, each kind in order of arrival."""
        return tuple(sample for stratum in sorted(self._strata) for sample in self._strata[stratum])


def stratum_of(shape: BatchShape) -> Stratum:
    """The kind of a shape: its sizes in powers of two, context in powers of four."""
    context = shape.decode_context_tokens + shape.prefill_context_tokens
    return (
        shape.prefill_rows.bit_length(),
        shape.prefill_tokens.bit_length(),
        shape.decode_rows.bit_length(),
        context.bit_length() // 2,
    )
