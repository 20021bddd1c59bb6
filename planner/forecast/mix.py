"""Tokens of a request: the mix of late, drawn to the long run where little was seen.

Owns sums of requests and of their tokens over a quarter of an hour and over a week. Refuses
rates. The mix of late counts by its requests against `WORTH_REQUESTS` of the long run, and
the long run likewise against the prior: one long prompt at night moves little, a new kind of
request is followed within a hundred, and without traffic the mix stays known. Invariants:
constant memory; values are >= 0, and 0 only where nothing but 0 is known.
"""

import math
from collections.abc import Sequence

from planner.forecast.settings import DAY_S, ForecastSettings, Prior
from planner.forecast.stored import floats, rows

WORTH_REQUESTS = 50.0
"""Lengths deviate by about their mean (Azure conversations 2023: 1.0 and 0.8 of it), so the
mean of 50 is good to 14 %."""
_LATE_S = 900.0
_LONG_S = 7 * DAY_S


class Mix:
    """Mean tokens of a request.

    Args:
        settings: Lengths.
        prior: Counts as `WORTH_REQUESTS` requests; None: nothing is known.
    """

    def __init__(self, settings: ForecastSettings, *, prior: Prior | None) -> None:
        self._round_s = settings.round_s
        self._prior = (prior.prompt_tokens, prior.output_tokens) if prior else None
        self._kept = (
            math.exp(-settings.round_s / max(_LATE_S, 4 * settings.round_s)),
            math.exp(-settings.round_s / _LONG_S),
        )
        # Requests, prompt tokens, output tokens; of late, and of long.
        self._sums = [[0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]

    def add(self, values: Sequence[float]) -> None:
        """Takes a round in: requests, prompt and output tokens per second."""
        for sums, kept in zip(self._sums, self._kept, strict=True):
            for at, value in enumerate(values):
                sums[at] = kept * sums[at] + value * self._round_s

    def per_request(self) -> tuple[float, float]:
        """Mean prompt and output tokens of a request."""
        late, long = self._sums
        usual = _mean(long, self._prior)
        return _mean(late, usual) or (0.0, 0.0)

    def to_values(self) -> list[object]:
        """Plain values."""
        return [list(sums) for sums in self._sums]

    def restore(self, values: object) -> None:
        """Takes on stored values.

        Raises:
            StateError: They are none of a mix.
        """
        self._sums = [
            floats(sums, "mix", count=3, least=0.0) for sums in rows(values, "mix", count=2)
        ]


def _mean(sums: Sequence[float], toward: tuple[float, float] | None) -> tuple[float, float] | None:
    """Of the sums, and of `WORTH_REQUESTS` more at what is known besides; None of nothing."""
    worth = WORTH_REQUESTS if toward else 0.0
    requests = sums[0] + worth
    if requests <= 0.0:
        return None
    prompt, output = toward or (0.0, 0.0)
    return (sums[1] + worth * prompt) / requests, (sums[2] + worth * output) / requests
