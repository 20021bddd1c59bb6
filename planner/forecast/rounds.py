"""Bins gathered into rounds, to hold forecasts against.

Owns the counts of the round that is being filled. Refuses a round of which less than half
was seen: what was missing is not zero, and half a round extrapolates no further.
Invariants: rounds begin at multiples of their length; constant memory.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from planner.forecast.bins import DemandBin, ForecastSettings, Measure
from planner.forecast.values import floats


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundSeen:
    """What came in a round, as counts; scaled up where bins are missing."""

    index: int
    arrivals: float
    prompt_tokens: float
    output_tokens: float

    def of(self, measure: Measure) -> float:
        """The count of a measure."""
        match measure:
            case Measure.ARRIVALS:
                return self.arrivals
            case Measure.PROMPT_TOKENS:
                return self.prompt_tokens
            case Measure.OUTPUT_TOKENS:
                return self.output_tokens


class RoundTally:
    """The round that is being filled."""

    def __init__(self, settings: ForecastSettings) -> None:
        self._round_bins = settings.round_bins
        self._sums = [0.0, 0.0, 0.0]
        self._bins = 0

    def add(self, seen: DemandBin) -> None:
        """Takes a bin of this round in."""
        for position, count in enumerate((seen.arrivals, seen.prompt_tokens, seen.output_tokens)):
            self._sums[position] += count
        self._bins += 1

    def close(self, index: int) -> RoundSeen | None:
        """Ends the round and begins an empty one; None if too little was seen of it."""
        sums, bins = self._sums, self._bins
        self._sums, self._bins = [0.0, 0.0, 0.0], 0
        if 2 * bins < self._round_bins:
            return None
        arrivals, prompt_tokens, output_tokens = (
            total * self._round_bins / bins for total in sums
        )
        return RoundSeen(
            index=index,
            arrivals=arrivals,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
        )

    def to_values(self) -> list[float]:
        """Plain values."""
        return [*self._sums, float(self._bins)]

    def restore(self, value: object) -> None:
        """Takes on stored values.

        Raises:
            ValuesError: They are none of a round.
        """
        stored = floats(value, "round being filled", count=4)
        self._sums, self._bins = stored[:3], int(stored[3])


def rounds_of(bins: Iterable[DemandBin], settings: ForecastSettings) -> Iterator[RoundSeen]:
    """The rounds of a history that enough is seen of, in order.

    Args:
        bins: In order of their index.
        settings: Lengths.
    """
    tally = RoundTally(settings)
    at: int | None = None
    for seen in bins:
        index = seen.index // settings.round_bins
        if at is not None and index != at and (closed := tally.close(at)) is not None:
            yield closed
        at = index
        tally.add(seen)
    if at is not None and (closed := tally.close(at)) is not None:
        yield closed
