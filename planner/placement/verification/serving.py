"""What a deployment's placements serve of its SLO classes.

Owns the sum a plan's online shares are shares of. A replica serves its class and all looser
ones, never a tighter one, so the sets of replicas that may serve a class are nested: serving
the tightest first from all that may loses nothing, and what it reaches is the maximum flow.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from planner.model import Deployment, Placement
from planner.placement.verification.facts import Facts


@dataclass(frozen=True, slots=True, kw_only=True)
class Serving:
    """One deployment and its placements.

    Attributes:
        deployment: Whose.
        own: Its placements.
        tiers: Of each placement, the index of the tightest class it serves; None: none.
        served: Of each class, tightest first: the work that is served, in engine-ms per
            second, never more than is wanted.
    """

    deployment: Deployment
    own: Sequence[Placement]
    tiers: Sequence[int | None]
    served: tuple[float, ...]

    @property
    def whole(self) -> float:
        """Online work that is served, in engine-ms per second."""
        return sum(self.served)


def servings(facts: Facts, placements: Sequence[Placement]) -> list[Serving]:
    """Every deployment that has placements, in order of id."""
    by_deployment: dict[str, list[Placement]] = defaultdict(list)
    for placement in placements:
        by_deployment[placement.deployment].append(placement)
    return [
        _serving(facts, deployment, by_deployment[name])
        for name, deployment in facts.deployments.items()
        if name in by_deployment
    ]


def _serving(facts: Facts, deployment: Deployment, own: Sequence[Placement]) -> Serving:
    classes = deployment.classes
    tiers = [facts.tier(placement) for placement in own]
    room = [0.0] * len(classes)
    for tier, placement in zip(tiers, own, strict=True):
        if tier is not None:
            room[tier] += facts.bears_online(placement)
    served = []
    left = 0.0
    for one, more in zip(classes, room, strict=True):
        left += more
        served.append(min(max(0.0, one.online_work), left))
        left -= served[-1]
    return Serving(deployment=deployment, own=own, tiers=tiers, served=tuple(served))
