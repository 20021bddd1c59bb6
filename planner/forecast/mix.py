"""Tokens of a request: the forecast's mix, drawn to the long run where little was seen.

Owns how many requests came of late, and the mean tokens of a request over a week. Refuses
rates. The mix of the forecast means counts by the requests of late against `WORTH_REQUESTS`
of the long run, and the long run likewise against the prior: one long prompt at night moves
little, a new kind of request is followed within a hundred, and without traffic the mix
stays known. Invariants: constant memory; values are >= 0, and 0 only where nothing but 0 is
known.
"""

import math
from collections.abc import Sequence

from planner.forecast.settings import DAY_S, ForecastSettings, Prior
from planner.forecast.stored import floats, part

WORTH_REQUESTS = 50.0
"""Lengths deviate by about their mean (Azure conversations 2023: 1.0 and 0.8 of it), so the
mean of 50 is good to 14 %."""
_LATE_S = 900.0
_LONG_S = 7 * DAY_S


class Mix:
    """Mean tokens of a request.

    Args:
        settings: Lengths.
        prior: Counts as `WORTH_REQUESTS` requests; None: 0 tokens.
    """

    def __init__(self, settings: ForecastSettings, *, prior: Prior | None) -> None:
        self._round_s = settings.round_s
        self._prior = (prior.prompt_tokens, prior.output_tokens) if prior else None
        self._kept = math.exp(-settings.round_s / max(_LATE_S, 4 * settings.round_s))
        self._kept_long = math.exp(-settings.round_s / _LONG_S)
        self._late = 0.0  # requests
        self._long = [0.0, 0.0, 0.0]  # requests, prompt and output tokens

    def add(self, values: Sequence[float]) -> None:
        """Takes a round in: requests, prompt and output tokens per second."""
        self._late = self._kept * self._late + values[0] * self._round_s
        for at, value in enumerate(values):
            self._long[at] = self._kept_long * self._long[at] + value * self._round_s

    def of(self, kind: int, tokens: float, requests: float) -> float:
        """Mean tokens of a request.

        Args:
            kind: 1 of the prompt, 2 of the output.
            tokens: Forecast, per second.
            requests: Forecast, per second.
        """
        weight = WORTH_REQUESTS if self._prior else 0.0
        known = self._long[0] + weight
        prior = self._prior[kind - 1] if self._prior else 0.0
        usual = (self._long[kind] + weight * prior) / known if known > 0.0 else 0.0
        if requests <= 0.0:
            return usual
        share = self._late / (self._late + WORTH_REQUESTS)
        return share * tokens / requests + (1.0 - share) * usual

    def to_values(self) -> dict[str, object]:
        """Plain values."""
        return {"late": self._late, "long": list(self._long)}

    def restore(self, values: object) -> None:
        """Takes on stored values.

        Raises:
            StateError: They are none of a mix.
        """
        self._late = floats([part(values, "late")], "mix late", least=0.0)[0]
        self._long = floats(part(values, "long"), "mix long", count=3, least=0.0)
