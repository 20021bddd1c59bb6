"""What comes out: the demand of a round to come, and how it was made.

Owns the values a round decides from, and a sentence for people. Refuses computation.
Invariants: 0 <= mean <= upper, finite; the terms' values times their weights sum to the
mean arrival rate.
"""

from dataclasses import dataclass
from enum import Enum

from planner.forecast.spread import UpperSource


class Reason(Enum):
    """What a forecast rests on most."""

    SEASONAL = "seasonal"
    SHORT_TERM = "short-term"
    COLD_START = "cold start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """A rate over a round: its mean, and what it stays within at the quantile asked for."""

    mean_per_s: float
    upper_per_s: float
    upper_source: UpperSource


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastTerm:
    """One summand of the mean arrival rate: weight times value."""

    name: str
    weight: float
    arrivals_per_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundDemand:
    """The demand of one round to come.

    Args:
        first_bin: Index of its first bin.
        arrivals: Requests per second.
        prompt_tokens: Tokens per second.
        output_tokens: Tokens per second.
        prompt_tokens_per_request: The mix the means rest on.
        output_tokens_per_request: As above.
        gap_rounds: How long before the first round the last bin was seen, in rounds.
        reason: What the mean rests on most.
        terms: Of the mean arrival rate, the heaviest first.
    """

    first_bin: int
    arrivals: Band
    prompt_tokens: Band
    output_tokens: Band
    prompt_tokens_per_request: float
    output_tokens_per_request: float
    gap_rounds: float
    reason: Reason
    terms: tuple[ForecastTerm, ...]

    def explained(self) -> str:
        """How it was made, in one line; terms below 5 % are left out."""
        terms = " + ".join(
            f"{term.weight:.2f} x {term.name} {term.arrivals_per_s:.3g}/s"
            for term in self.terms
            if term.weight >= 0.05
        )
        gap = f"; nothing seen for {self.gap_rounds:.3g} rounds" if self.gap_rounds > 0 else ""
        return (
            f"{self.reason.value}: {self.arrivals.mean_per_s:.3g} requests/s = {terms or '0'};"
            f" at most {self.arrivals.upper_per_s:.3g}/s by {self.arrivals.upper_source.value}{gap}"
        )
