"""The lengths a forecast is counted in, what to expect before anything is seen, the errors.

Owns the settings, the prior and the error tree. Refuses clocks: a round's index times
`round_s` is when it begins, in seconds since a midnight (Unix time is one, in UTC).

    ForecastError (ValueError)
    ├── RoundError    a round that cannot be counted, or comes out of order
    └── StateError    stored values that cannot be read back
"""

import math
from bisect import bisect_left
from dataclasses import dataclass
from functools import cached_property

DAY_S = 86_400.0
MOST = 1e15
"""Far beyond any fleet, whatever is counted; squares of it are still finite."""
_SLOT_S, _LONG_SLOT_S = 900.0, 3600.0


class ForecastError(ValueError):
    """What a forecast refuses."""


class RoundError(ForecastError):
    """A round that cannot be counted, or comes out of order."""


class StateError(ForecastError):
    """Stored values that cannot be read back."""


@dataclass(frozen=True, kw_only=True)
class ForecastSettings:
    """The lengths everything is counted in.

    Args:
        round_s: Length of a round, seconds, 1..3600.
        rounds: How many rounds ahead, 1..240.
        quantile: Share of rounds that the upper bound is to cover, 0.5..0.995.

    Raises:
        ForecastError: A value out of range.
    """

    round_s: float = 15.0
    rounds: int = 4
    quantile: float = 0.95

    def __post_init__(self) -> None:
        if not 1.0 <= self.round_s <= _LONG_SLOT_S:
            raise ForecastError(f"round_s {self.round_s!r}: must lie in 1..{_LONG_SLOT_S:g}")
        if not 1 <= self.rounds <= 240:
            raise ForecastError(f"rounds {self.rounds!r}: must lie in 1..240")
        if not 0.5 <= self.quantile <= 0.995:
            raise ForecastError(f"quantile {self.quantile!r}: must lie in 0.5..0.995")

    @cached_property
    def tracked(self) -> tuple[int, ...]:
        """Horizons at which forecasts are judged: 1, 2, 4, ... and `rounds`, in rounds."""
        powers = [1 << power for power in range(self.rounds.bit_length())]
        return tuple(sorted({*powers, self.rounds}))

    def track_of(self, distance: float) -> int:
        """Position in `tracked` of the least horizon not below a distance; else the last."""
        return min(len(self.tracked) - 1, bisect_left(self.tracked, distance))

    def checked(self, rounds: int | None) -> int:
        """How many rounds are meant; None: all.

        Raises:
            RoundError: More than `rounds`, or none.
        """
        if rounds is None:
            return self.rounds
        if not 1 <= rounds <= self.rounds:
            raise RoundError(
                f"{rounds} rounds ahead: must lie in 1..{self.rounds}, as settings say"
            )
        return rounds

    @property
    def slot_s(self) -> float:
        """Resolution of the daily and weekly profiles, seconds; divides the day."""
        return _SLOT_S if self.round_s <= _SLOT_S else _LONG_SLOT_S

    @property
    def day_rounds(self) -> float:
        """Rounds of a day."""
        return DAY_S / self.round_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Prior:
    """What to expect before anything is seen, such as a deployment's spec says.

    Args:
        rate: Requests per second, or work in engine-ms per second, >= 0.
        prompt_tokens: Mean of a request, >= 0; of no use to work.
        output_tokens: Mean of a request, >= 0; of no use to work.
        worth_rounds: How many seen rounds it weighs as much as, > 0; after six times as
            many it counts 0.2 %.

    Raises:
        ForecastError: A value out of range.
    """

    rate: float
    prompt_tokens: float = 0.0
    output_tokens: float = 0.0
    worth_rounds: float = 4.0

    def __post_init__(self) -> None:
        for name in ("rate", "prompt_tokens", "output_tokens"):
            value = getattr(self, name)
            if not 0 <= value <= MOST:
                raise ForecastError(f"prior {name} {value!r}: must lie in 0..{MOST:g}")
        if not 0 < self.worth_rounds < math.inf:
            raise ForecastError(f"prior worth_rounds {self.worth_rounds!r}: must be > 0, finite")

    def weight(self, seen_rounds: float) -> float:
        """Its share beside what was seen, 1 of nothing.

        The share of a mean over both, worth / (worth + seen), its worth halved with each
        time its worth that was seen.
        """
        aged = self.worth_rounds * math.pow(2.0, -seen_rounds / self.worth_rounds)
        return aged / (aged + seen_rounds)
