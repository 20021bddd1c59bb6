"""Records of what rounds learned: frozen values.

Owns their keys and times. Refuses to read bodies. Invariants: times are Unix seconds; none
of them is fleet state.
"""

from dataclasses import dataclass
from enum import Enum


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastRecord:
    """The state of one deployment's forecast, as its writer's JSON."""

    deployment: str
    body: str
    update_s: float


class FrontierSource(Enum):
    """Where a stored frontier is from; what has none is assumed."""

    MEASURED = "measured"  # a profile
    DERIVED = "derived"  # the engine simulator


@dataclass(frozen=True, slots=True, kw_only=True)
class FrontierRecord:
    """A frontier as JSON; a derived one's key is the hash of what it was derived from.

    `need_s` is when a leader last noted that a deployment needs it.
    """

    key: str
    source: FrontierSource
    body: str
    create_s: float
    need_s: float
