"""What rounds expect of the next minutes.

Owns the seam to a forecast, and the trivial one behind it. Refuses seasons; those are
`planner.forecast`'s.
"""

from dataclasses import dataclass, field
from typing import Protocol


class Forecast(Protocol):
    """Online demand of the next rounds, from what was seen; one for a whole fleet."""

    def observe(self, deployment: str, *, at_s: float, for_s: float, work: float) -> None:
        """Takes in mean online work over the `for_s` seconds that end at `at_s`."""

    def upper(self, deployment: str, *, at_s: float, horizon_s: float) -> float:
        """Online work that the next `horizon_s` seconds are likely not to exceed."""


@dataclass(slots=True, kw_only=True)
class LastValue:
    """What was seen last goes on, with a margin.

    Args:
        margin_ratio: Added to it, >= 0.
    """

    margin_ratio: float = 0.0
    _last: dict[str, float] = field(default_factory=dict)

    def observe(self, deployment: str, *, at_s: float, for_s: float, work: float) -> None:
        """Takes in a mean; only the last counts."""
        self._last[deployment] = work

    def upper(self, deployment: str, *, at_s: float, horizon_s: float) -> float:
        """The last mean and the margin."""
        return self._last.get(deployment, 0.0) * (1.0 + self.margin_ratio)
