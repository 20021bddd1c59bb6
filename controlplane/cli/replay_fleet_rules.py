"""What operators asked of rounds, in a fleet file: pins, and tenants' weights and quotas.

Owns those two keys. Refuses pins of what the fleet does not have.
"""

from collections.abc import Sequence

from controlplane.cli.replay_fleet_part import Part
from planner.model import Deployment, Node, Pin, Tenant

_MOST_PINNED = 64  # as of `slacktide placement pin`


def read_pins(
    fleet: Part, *, nodes: Sequence[Node], deployments: Sequence[Deployment]
) -> tuple[Pin, ...]:
    """The file's pins, in its order.

    Raises:
        CommandError: A value that does not fit, by its key.
    """
    places, known = {node.id for node in nodes}, [one.id for one in deployments]
    found: dict[tuple[str, str], Pin] = {}
    for part in fleet.parts("pins"):
        name, node = part.text("deployment"), part.text("node")
        if name not in known:
            part.refuse("deployment", f"no deployment {name!r}; there are {', '.join(known)}")
        if node not in places:
            part.refuse("node", f"no node {node!r} among nodes; take the pin out with its node")
        if (name, node) in found:
            part.refuse("node", f"{node!r} has a pin of {name} already; leave one")
        replicas = part.whole("replicas", 1, least=1, most=_MOST_PINNED)
        found[name, node] = Pin(deployment=name, node=node, replicas=replicas)
        part.close()
    return tuple(found.values())


def read_tenants(fleet: Part) -> tuple[Tenant, ...]:
    """Tenants of the file: a weight, or a mapping of weight and quota.

    Raises:
        CommandError: A value that does not fit, by its key.
    """
    tenants, found = fleet.part("tenants"), []
    for name in tenants.names:
        if not tenants.is_mapping(name):
            found.append(Tenant(id=name, weight=tenants.number(name, least=_LEAST_WEIGHT)))
            continue
        one = tenants.part(name)
        found.append(
            Tenant(
                id=name,
                weight=one.number("weight", 1.0, least=_LEAST_WEIGHT),
                max_offline_work=one.number("quota") if "quota" in one else None,
            )
        )
        one.close()
    return tuple(found)


_LEAST_WEIGHT = 1e-6


def check_anti_affinity(fleet: Part, deployments: Sequence[Deployment]) -> None:
    """Refuses deployments to stay away from that the file does not have.

    Raises:
        CommandError: Such a name.
    """
    known = {one.id for one in deployments}
    for index, one in enumerate(deployments):
        for name in one.anti_affinity:
            if name not in known:
                fleet.refuse(
                    f"deployments[{index}].anti_affinity",
                    f"no deployment {name!r}; there are {', '.join(sorted(known))}",
                )
