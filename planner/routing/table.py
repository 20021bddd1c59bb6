"""The route table a gateway holds.

Owns where requests may go, and which of two tables is newer. Refuses load: that changes
with every request and lives in `traffic`. Invariant: a table is immutable; a newer one
replaces it whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from planner.model import ReplicaState


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One replica that takes requests.

    Args:
        address: host:port of the agent that runs it.
        online_share: routing weight within its deployment, >= 0.
        max_running_requests: requests its engine runs at once; 0: not known.
        slo_class: tightest class it serves, as `planner.model.Allocation`.
    """

    replica: str
    deployment: str
    node: str
    address: str
    online_share: float
    state: ReplicaState
    max_running_requests: int = 0
    slo_class: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouteTable:
    """All routes, read at one state revision under one leader's fencing epoch."""

    revision: int = 0
    epoch: int = 0
    routes: tuple[Route, ...] = ()
    deployments: tuple[str, ...] = ()  # every deployment there is, also without a route
    slo_classes: tuple[tuple[str, tuple[str, ...]], ...] = ()  # (deployment, tightest first)
    _by_deployment: Mapping[str, tuple[Route, ...]] = field(init=False, repr=False, compare=False)
    _classes: Mapping[str, tuple[str, ...]] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        index: dict[str, tuple[Route, ...]] = dict.fromkeys(self.deployments, ())
        for route in self.routes:
            index[route.deployment] = (*index.get(route.deployment, ()), route)
        object.__setattr__(self, "_by_deployment", index)
        object.__setattr__(self, "_classes", dict(self.slo_classes))

    def routes_of(self, deployment: str) -> tuple[Route, ...] | None:
        """Its routes in table order; None where the deployment does not exist."""
        return self._by_deployment.get(deployment)

    def classes_of(self, deployment: str) -> tuple[str, ...]:
        """Its SLO classes, tightest first; () where it has none."""
        return self._classes.get(deployment, ())

    def supersedes(self, other: "RouteTable") -> bool:
        """Whether this table may replace the other.

        A lower epoch comes from a leader that was replaced; a lower revision within one
        epoch from a control plane that lags. Neither may. An equal one may: it repeats.
        """
        return (self.epoch, self.revision) >= (other.epoch, other.revision)
