"""What a replica of each shape bears, from the frontiers of a surveyed fleet.

Owns which shapes there are and the modes each can be held to. Refuses to count. Invariants:
shapes are in order of deployment, device type and devices; a mode that another beats in
everything is left out; what runs has a shape though its deployment no longer asks for it.
"""

from collections.abc import Sequence

from planner.model import OFFLINE_ONLY, Deployment, Frontier
from planner.placement.counts.problem import Mode, Shape
from planner.placement.fleet import Fleet
from planner.placement.weights import LOAD_HORIZON_S, REPLICA_WORK, WEIGHTS


def shapes_of(
    fleet: Fleet, deployments: Sequence[str], kinds: Sequence[str]
) -> tuple[tuple[Shape, ...], tuple[tuple[str, str, int], ...], tuple[tuple[str, ...], ...]]:
    """Every shape that fits some device, or that a replica has.

    Args:
        fleet: The survey.
        deployments: Names by index.
        kinds: Device types by index.

    Returns:
        Shapes; of each (deployment, device type, devices); of each the SLO class of each of
        its modes.
    """
    memory = {
        (device.device_type, device.memory_bytes)
        for node in fleet.nodes.values()
        for device in node.devices
    }
    held = {
        (a.deployment, fleet.device_type(a.node, a.devices), len(a.devices))
        for replica, a in fleet.allocations.items()
        if fleet.standing[replica].is_keepable and a.node in fleet.nodes
    }
    shapes: list[Shape] = []
    keys: list[tuple[str, str, int]] = []
    classes: list[tuple[str, ...]] = []
    for index, name in enumerate(deployments):
        deployment = fleet.deployments[name]
        sizes = set(deployment.tensor_parallel_sizes)
        for k, kind in enumerate(kinds):
            for slots in sorted(sizes | {size for d, t, size in held if (d, t) == (name, kind)}):
                fits = (
                    slots in sizes
                    and (not deployment.device_types or kind in deployment.device_types)
                    and any(
                        kind == of and deployment.bytes_per_device_of(slots) <= size
                        for of, size in memory
                    )
                )
                if not fits and (name, kind, slots) not in held:
                    continue
                names, modes = _modes(fleet, deployment, kind, slots)
                shapes.append(
                    Shape(
                        deployment=index,
                        kind=k,
                        slots=slots,
                        host_bytes=float(deployment.host_memory_bytes),
                        load_cost=load_cost(deployment.load_s, slots),
                        modes=modes,
                    )
                )
                keys.append((name, kind, slots))
                classes.append(names)
    return tuple(shapes), tuple(keys), tuple(classes)


def load_cost(load_s: float, devices: int) -> float:
    """What loading a replica costs: the offline work its devices do not do meanwhile."""
    return -WEIGHTS["offline_work"] * devices * load_s / LOAD_HORIZON_S


def _modes(
    fleet: Fleet, deployment: Deployment, kind: str, slots: int
) -> tuple[tuple[str, ...], tuple[Mode, ...]]:
    """The modes a replica can be held to, those that another beats in everything left out."""
    found: list[tuple[str, Mode]] = []
    for served, cls in enumerate(deployment.classes):
        frontier = fleet.frontier(deployment.id, kind, slots=slots, slo_class=cls.id)
        mode = _mode(frontier, served)
        if mode.max_online > 0.0 or not found:
            found.append((cls.id, mode))
    alone = fleet.known_frontier(deployment.id, kind, slots=slots, slo_class=OFFLINE_ONLY)
    if alone is not None:
        mode = _mode(alone, len(deployment.classes))
        if _at_rest(mode) > max(_at_rest(other) for _, other in found) + 1e-9:
            found.append((OFFLINE_ONLY, mode))
    return tuple(name for name, _ in found), tuple(mode for _, mode in found)


def _mode(frontier: Frontier, served: int) -> Mode:
    segments = tuple(
        (s.alpha, s.beta, s.gamma / REPLICA_WORK) for s in frontier.segments if s.beta > 0.0
    )
    limits = [s.gamma / s.alpha for s in frontier.segments if s.alpha > 0.0]
    most = max(0.0, min([frontier.max_online_work, *limits])) / REPLICA_WORK
    return Mode(served=served, max_online=most, segments=segments)


def _at_rest(mode: Mode) -> float:
    return min((gamma / beta for _, beta, gamma in mode.segments), default=0.0)
