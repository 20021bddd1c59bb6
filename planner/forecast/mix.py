"""Tokens of a request: the mix of late, drawn to the long run where little was seen.

Owns sums of a lead (requests) and of its companions (their tokens) over a short and a long
past. Refuses rates. The mean of the short past is shrunk: it counts by its requests against
`WORTH_REQUESTS` of the long run, and the long run likewise against the prior, so one long
prompt at night moves little and a new kind of request is followed within a hundred.
Invariants: constant memory; values are >= 0, and 0 only where nothing but 0 is known.
"""

import math
from collections.abc import Sequence

from planner.forecast.settings import DAY_S, ForecastSettings
from planner.forecast.stored import floats, part

WORTH_REQUESTS = 50.0
"""Lengths deviate by about their mean (Azure conversations 2023: 1.0 and 0.8 of it), so the
mean of 50 is good to 14 %."""
_SHORT_S = 900.0
_LONG_S = 7 * DAY_S


class Mix:
    """Means of the companions per unit of the lead.

    Args:
        settings: Lengths; the lead is a rate per second.
        prior: Of each companion; counts as `WORTH_REQUESTS`.
    """

    def __init__(self, settings: ForecastSettings, *, prior: Sequence[float]) -> None:
        self._round_s = settings.round_s
        self._prior = tuple(prior)
        self._kept_short = math.exp(-settings.round_s / max(_SHORT_S, 4 * settings.round_s))
        self._kept_long = math.exp(-settings.round_s / _LONG_S)
        self._short = [0.0] * (1 + len(self._prior))
        self._long = [0.0] * (1 + len(self._prior))

    def add(self, values: Sequence[float]) -> None:
        """Takes a round in: the lead and its companions, per second."""
        for at, value in enumerate(values):
            self._short[at] = self._kept_short * self._short[at] + value * self._round_s
            self._long[at] = self._kept_long * self._long[at] + value * self._round_s

    def per_unit(self) -> list[float]:
        """The mean of each companion per unit of the lead."""
        return [
            _shrunk(self._short, at, toward=_shrunk(self._long, at, toward=prior))
            for at, prior in enumerate(self._prior, 1)
        ]

    def to_values(self) -> dict[str, object]:
        """Plain values."""
        return {"short": list(self._short), "long": list(self._long)}

    def restore(self, values: object) -> None:
        """Takes on stored values.

        Raises:
            StateError: They are none of a mix.
        """
        count = len(self._short)
        self._short = floats(part(values, "short"), "mix short", count=count, least=0.0)
        self._long = floats(part(values, "long"), "mix long", count=count, least=0.0)


def _shrunk(sums: list[float], at: int, *, toward: float) -> float:
    return (sums[at] + WORTH_REQUESTS * toward) / (sums[0] + WORTH_REQUESTS)
