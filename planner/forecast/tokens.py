"""Tokens of a request: the mix of late, drawn to the long run where little was seen.

Owns sums of requests and of their tokens over a short and a long past. Refuses rates. The
mean of the short past is shrunk: it counts by its requests against `WORTH_REQUESTS` of the
long run, and the long run likewise against the prior, so one long prompt at night moves
little and a new kind of request is followed within a hundred. Invariants: constant memory;
values are >= 0, and 0 only where nothing but 0 is known.
"""

import math

from planner.forecast.bins import DAY_S, WEEK_DAYS, DemandBin, ForecastSettings, Prior
from planner.forecast.values import floats

WORTH_REQUESTS = 50.0
"""Lengths deviate by about their mean (Azure conversations 2023: 1.0 and 0.8 of it), so the
mean of 50 is good to 14 %."""
_ROUNDS = 4.0


class TokenMix:
    """Mean prompt and output tokens of a request.

    Args:
        settings: Lengths.
        prior: Counts as `WORTH_REQUESTS` requests.
    """

    def __init__(self, settings: ForecastSettings, prior: Prior) -> None:
        self._kept_short = math.exp(-1.0 / (_ROUNDS * settings.round_bins))
        self._kept_long = math.exp(-settings.bin_s / (WEEK_DAYS * DAY_S))
        self._prior = (prior.prompt_tokens, prior.output_tokens)
        self._short = [0.0, 0.0, 0.0]  # requests, prompt tokens, output tokens
        self._long = [0.0, 0.0, 0.0]

    def add(self, seen: DemandBin) -> None:
        """Takes a bin in."""
        counts = (seen.arrivals, seen.prompt_tokens, seen.output_tokens)
        for position, count in enumerate(counts):
            self._short[position] = self._kept_short * self._short[position] + count
            self._long[position] = self._kept_long * self._long[position] + count

    def per_request(self) -> tuple[float, float]:
        """Mean prompt and output tokens of a request."""
        prompt, output = (
            self._shrunk(self._short, kind, toward=self._shrunk(self._long, kind, toward=prior))
            for kind, prior in enumerate(self._prior, 1)
        )
        return prompt, output

    @staticmethod
    def _shrunk(sums: list[float], kind: int, *, toward: float) -> float:
        return (sums[kind] + WORTH_REQUESTS * toward) / (sums[0] + WORTH_REQUESTS)

    def to_values(self) -> list[list[float]]:
        """Plain values."""
        return [list(self._short), list(self._long)]

    def restore(self, short: object, long: object) -> None:
        """Takes on stored values.

        Raises:
            ValuesError: They are none of a mix.
        """
        self._short = floats(short, "tokens, short", count=3)
        self._long = floats(long, "tokens, long", count=3)
