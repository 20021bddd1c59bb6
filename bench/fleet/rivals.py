"""Arms that look at one model at a time, or at queues alone.

Owns three ways to say how many replicas a model gets: a greedy that adds the best device
until its own demand is borne, an integer programme after Mélange (Griggs et al., 2024: the
cheapest mix of GPU types that bears a model's load), and a split of the whole fleet in
proportion to queues. Seats, shares and moves are the same for all. Rivals plan by the same
frontiers, so they co-locate as Slacktide does; what they lack is the fleet.
"""

from collections import Counter
from collections.abc import Mapping

import numpy as np
from scipy.optimize import LinearConstraint, milp

from bench.fleet.placing import Seating, bears, frontiers_of, planned, seated, wanted_offline
from planner.interference.frontier import offline_limit, online_limit
from planner.model import Deployment, Frontier, Placement, Plan, Snapshot
from planner.simulation.fleet.rounds import resplit

_RESERVE_RATIO = 0.1  # as of thrift.RESERVE_RATIO
_BETTER_RATIO = 0.1  # by which a mix must be cheaper than what runs, to move for
_STEADY_RATIO = 0.2  # of a queue's share, below which replicas stay


class PerModel:
    """Models in order of id, each for itself, on what the others left."""

    name = "per-model greedy"

    def plan(self, snapshot: Snapshot) -> Plan | None:
        """Every model's replicas, one model after the other."""
        seating = Seating(snapshot)
        curves, prices = frontiers_of(snapshot), dict(snapshot.prices)
        placements: list[Placement] = []
        for deployment in snapshot.deployments:
            have = Counter(seating.kinds[one.node] for one in seating.kept(deployment.id))
            targets = self.targets(
                deployment,
                have=have,
                room=seating.room(deployment),
                curves=curves[deployment.id],
                prices=prices,
            )
            placements += seated(seating, deployment, targets)
        return planned(snapshot, placements, by=self.name)

    def resplit(self, snapshot: Snapshot) -> tuple[Placement, ...]:
        """As the product."""
        return resplit(snapshot)

    def targets(
        self,
        deployment: Deployment,
        *,
        have: Counter[str],
        room: Counter[str],
        curves: Mapping[str, Frontier],
        prices: Mapping[str, float],
    ) -> Counter[str]:
        """Adds the strongest device until its own demand is borne; drops what is beyond it."""
        counts = Counter(have)
        left = Counter(room)
        ranked = sorted(curves, key=lambda kind: -online_limit(curves[kind]))
        while not _is_borne(deployment, counts, curves) or counts.total() < deployment.min_replicas:
            kind = next((kind for kind in ranked if left[kind] > 0), None)
            if kind is None or counts.total() >= deployment.max_replicas:
                break
            left[kind] -= 1
            counts[kind] += 1
        for kind in reversed(ranked):
            while counts[kind] > 0 and counts.total() > deployment.min_replicas:
                counts[kind] -= 1
                if not _is_borne(deployment, counts, curves, reserve=_RESERVE_RATIO):
                    counts[kind] += 1
                    break
        return counts


class MelangeLike(PerModel):
    """The cheapest mix of types for each model, by an integer programme."""

    name = "melange-like"

    def targets(
        self,
        deployment: Deployment,
        *,
        have: Counter[str],
        room: Counter[str],
        curves: Mapping[str, Frontier],
        prices: Mapping[str, float],
    ) -> Counter[str]:
        """The programme's counts, unless what runs bears it at nearly the same price."""
        most = have + room
        best = cheapest_mix(deployment, curves=curves, prices=prices, most=most)
        if best is None:  # not enough of any type: as much as there is
            return super().targets(deployment, have=have, room=room, curves=curves, prices=prices)
        price, now = _price(best, prices), _price(have, prices)
        is_near = now <= price * (1.0 + _BETTER_RATIO)
        return have if is_near and _is_borne(deployment, have, curves) else best


class QueueProportional(PerModel):
    """The whole fleet, split in proportion to what waits for each model."""

    name = "queue-proportional"

    def plan(self, snapshot: Snapshot) -> Plan | None:
        """Each type's devices by the models' shares of the queues."""
        seating = Seating(snapshot)
        curves = frontiers_of(snapshot)
        queues = {d.id: _queue(d, curves[d.id]) for d in snapshot.deployments}
        devices: Counter[str] = Counter()
        for node in snapshot.nodes:
            if node.is_ready:
                devices[seating.kinds[node.id]] += len(node.devices)
        placements: list[Placement] = []
        for deployment in snapshot.deployments:
            have = Counter(seating.kinds[one.node] for one in seating.kept(deployment.id))
            targets: Counter[str] = Counter()
            for kind in deployment.device_types:
                whole = sum(queues[d.id] for d in snapshot.deployments if kind in d.device_types)
                share = queues[deployment.id] / whole if whole > 0.0 else 0.0
                wanted = int(share * devices[kind] / deployment.tensor_parallel_size)
                is_steady = abs(wanted - have[kind]) <= _STEADY_RATIO * max(1, have[kind])
                targets[kind] = have[kind] if is_steady else wanted
            if targets.total() < deployment.min_replicas:
                targets[deployment.device_types[0]] += 1
            placements += seated(seating, deployment, targets)
        return planned(snapshot, placements, by=self.name)


def cheapest_mix(
    deployment: Deployment,
    *,
    curves: Mapping[str, Frontier],
    prices: Mapping[str, float],
    most: Counter[str],
) -> Counter[str] | None:
    """The cheapest counts that bear a model's demand; None where none do.

    min sum price_t n_t over integer n_t <= most_t and flows x_t, y_t >= 0 with
    alpha x_t + beta y_t <= gamma n_t for every segment, x_t <= max_t n_t,
    sum x_t >= online, sum y_t >= offline, sum n_t >= min_replicas.
    """
    kinds = sorted(kind for kind in curves if most[kind] > 0)
    if not kinds:
        return None
    size = len(kinds)
    rows: list[np.ndarray] = []
    least: list[float] = []

    def row(**terms: Mapping[int, float]) -> np.ndarray:
        found = np.zeros(3 * size)
        for offset, name in enumerate(("n", "x", "y")):
            for at, value in terms.get(name, {}).items():
                found[offset * size + at] = value
        return found

    for at, kind in enumerate(kinds):
        curve = curves[kind]
        rows.append(row(n={at: curve.max_online_work}, x={at: -1.0}))
        least.append(0.0)
        for segment in curve.segments:
            rows.append(row(n={at: segment.gamma}, x={at: -segment.alpha}, y={at: -segment.beta}))
            least.append(0.0)
    for name, wanted in (
        ("x", deployment.online_work),
        ("y", wanted_offline(deployment)),
        ("n", float(deployment.min_replicas)),
    ):
        rows.append(row(**{name: dict.fromkeys(range(size), 1.0)}))
        least.append(wanted)
    costs = np.zeros(3 * size)
    costs[:size] = [prices.get(kind, 1.0) for kind in kinds]
    scale = max(1.0, deployment.online_work, wanted_offline(deployment))
    upper = np.full(3 * size, np.inf)
    upper[:size] = [most[kind] for kind in kinds]
    found = milp(
        costs,
        constraints=LinearConstraint(np.array(rows), np.array(least) * (1.0 - 1e-9), np.inf),
        integrality=np.array([1] * size + [0] * (2 * size)),
        bounds=(np.zeros(3 * size), np.where(np.isinf(upper), 1e3 * scale, upper)),
    )
    if found.x is None:
        return None
    return Counter({kind: round(found.x[at]) for at, kind in enumerate(kinds)})


def _is_borne(
    deployment: Deployment,
    counts: Mapping[str, int],
    curves: Mapping[str, Frontier],
    *,
    reserve: float = 0.0,
) -> bool:
    return bears(
        counts,
        curves,
        online_work=deployment.online_work * (1.0 + reserve),
        offline_work=wanted_offline(deployment) * (1.0 + reserve),
    )


def _price(counts: Mapping[str, int], prices: Mapping[str, float]) -> float:
    return sum(count * prices.get(kind, 1.0) for kind, count in counts.items())


def _queue(deployment: Deployment, curves: Mapping[str, Frontier]) -> float:
    """What waits for a model, in devices' time of its first type."""
    curve = curves[deployment.device_types[0]]
    online = deployment.online_work / max(1e-9, online_limit(curve))
    offline = wanted_offline(deployment) / max(1e-9, offline_limit(curve, 0.0))
    return (online + offline) * deployment.tensor_parallel_size
