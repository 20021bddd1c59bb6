"""What goes in: counted demand in equal bins, and what to expect before any is seen.

Owns the bin, the lengths everything is counted in, the prior and the errors. Refuses
clocks: a bin's index times `bin_s` is the time at which it begins, in seconds since a
midnight (Unix time is one, in UTC). A bin that is not handed in is missing, which is not
the same as one without arrivals.

    ForecastError (ValueError)
    ├── BinError      a bin that cannot be counted, or comes out of order
    └── ValuesError   stored values that cannot be read back
"""

import math
from dataclasses import dataclass
from enum import Enum

DAY_S = 86_400
WEEK_DAYS = 7
MOST_PER_BIN = 1e15
"""Far beyond any fleet; squares of it are still finite."""


class ForecastError(ValueError):
    """What a forecast refuses."""


class BinError(ForecastError):
    """A bin that cannot be counted, or comes out of order."""


class ValuesError(ForecastError):
    """Stored values that cannot be read back."""


class Measure(Enum):
    """What is counted."""

    ARRIVALS = "arrivals"
    PROMPT_TOKENS = "prompt tokens"
    OUTPUT_TOKENS = "output tokens"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemandBin:
    """What arrived in one bin.

    Args:
        index: Whole bins since midnight of day 0, >= 0.
        arrivals: Requests, >= 0; may be a fraction where a history was scaled.
        prompt_tokens: Of these requests together, >= 0.
        output_tokens: Generated in the bin, >= 0; also of earlier requests.

    Raises:
        BinError: A count is not a number, below 0 or beyond any fleet's.
    """

    index: int
    arrivals: float
    prompt_tokens: float
    output_tokens: float

    def __post_init__(self) -> None:
        if self.index < 0:
            raise BinError(f"bin {self.index}: the index must be >= 0; count from a midnight")
        for name in ("arrivals", "prompt_tokens", "output_tokens"):
            value = getattr(self, name)
            if not 0 <= value <= MOST_PER_BIN:
                raise BinError(
                    f"bin {self.index}: {name} {value!r}, must lie in 0..{MOST_PER_BIN:g};"
                    " leave out a bin that was not counted"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What to expect before anything is seen, such as a deployment's spec says.

    Args:
        arrivals_per_s: Mean rate, >= 0.
        prompt_tokens: Mean of a request, >= 0.
        output_tokens: Mean of a request, >= 0.
        worth_s: Seconds of history it weighs as much as, > 0; after six times as many it
            no longer counts.

    Raises:
        ForecastError: A value out of range.
    """

    arrivals_per_s: float
    prompt_tokens: float
    output_tokens: float
    worth_s: float = 3600.0

    def __post_init__(self) -> None:
        for name in ("arrivals_per_s", "prompt_tokens", "output_tokens"):
            value = getattr(self, name)
            if not 0 <= value <= MOST_PER_BIN:
                raise ForecastError(f"prior {name}: {value!r}, must lie in 0..{MOST_PER_BIN:g}")
        if not 0 < self.worth_s < math.inf:
            raise ForecastError(f"prior worth_s: {self.worth_s!r}, must be > 0 and finite")


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastSettings:
    """The lengths everything is counted in.

    Args:
        bin_s: Length of a bin, a whole number of seconds, >= 1.
        round_s: Length of a round, a multiple of `bin_s`.
        slot_s: Resolution of the daily and weekly profile, a multiple of `bin_s` that
            divides the day.
        rounds: How many rounds ahead, 1..96.
        quantile: Share of rounds the upper bound is to cover, 0.5..0.995.

    Raises:
        ForecastError: A length that does not fit the others, or out of range.
    """

    bin_s: int = 60
    round_s: int = 900
    slot_s: int = 900
    rounds: int = 4
    quantile: float = 0.95

    def __post_init__(self) -> None:
        if self.bin_s < 1:
            raise ForecastError(f"bin_s {self.bin_s}: must be >= 1")
        for name in ("round_s", "slot_s"):
            value = getattr(self, name)
            if value < self.bin_s or value % self.bin_s:
                raise ForecastError(
                    f"{name} {value}: must be a multiple of bin_s {self.bin_s}, such as"
                    f" {max(1, round(value / self.bin_s)) * self.bin_s}"
                )
        if DAY_S % self.slot_s:
            raise ForecastError(f"slot_s {self.slot_s}: must divide the day, as 300 or 900 do")
        if not 1 <= self.rounds <= 96:
            raise ForecastError(f"rounds {self.rounds}: must lie in 1..96")
        if not 0.5 <= self.quantile <= 0.995:
            raise ForecastError(f"quantile {self.quantile!r}: must lie in 0.5..0.995")

    @property
    def round_bins(self) -> int:
        """Bins of a round."""
        return self.round_s // self.bin_s

    @property
    def slot_bins(self) -> int:
        """Bins of a slot of the profile."""
        return self.slot_s // self.bin_s

    @property
    def day_slots(self) -> int:
        """Slots of a day."""
        return DAY_S // self.slot_s
