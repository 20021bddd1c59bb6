"""A fleet's file otherwise: loads times a factor, nodes that are not there.

Owns the two suppositions that `slacktide placement whatif` also takes; all others are edits of
the file. Refuses to replay.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from controlplane.cli.failures import CommandError
from controlplane.cli.replay_fleet_file import FleetFile

_MOST_FACTOR = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Supposing:
    """What is otherwise than the file says."""

    scaled_load: Mapping[str, float] = field(default_factory=dict)  # deployment -> factor
    lost_nodes: tuple[str, ...] = ()


def supposing(scaled_load: Sequence[str], lost_nodes: Sequence[str]) -> Supposing:
    """Reads the options' words.

    Raises:
        CommandError: A word that is no DEPLOYMENT=FACTOR, or a deployment given twice.
    """
    factors: dict[str, float] = {}
    for word in scaled_load:
        name, _, given = word.partition("=")
        try:
            factor = float(given)
        except ValueError:
            factor = -1.0
        if not name or not 0.0 <= factor <= _MOST_FACTOR:
            raise CommandError(f"--scale-load {word}: write e.g. chat=1.5")
        if name in factors:
            raise CommandError(f"--scale-load: {name} has more than one factor; give one")
        factors[name] = factor
    return Supposing(scaled_load=factors, lost_nodes=tuple(dict.fromkeys(lost_nodes)))


def supposed(asked: FleetFile, what: Supposing) -> FleetFile:
    """The file as it would be.

    Raises:
        CommandError: A deployment or a node that the file has not, or no node left.
    """
    scenario = asked.scenario
    known = scenario.by_id
    for name in what.scaled_load:
        if name not in known:
            raise CommandError(f"--scale-load: no deployment {name!r}; there are {_some(known)}")
    nodes = {node.id: node for node in scenario.nodes}
    for name in what.lost_nodes:
        if nodes.pop(name, None) is None:
            raise CommandError(f"--lose-node: no node {name!r}; there are {_some(nodes)}")
    if not nodes:
        raise CommandError("--lose-node: no node is left; leave one")
    outages = [
        replace(outage, nodes=tuple(name for name in outage.nodes if name in nodes))
        for outage in scenario.outages
    ]
    facts = dict(asked.facts)
    if what.scaled_load or what.lost_nodes:
        facts["Supposed"] = {
            **{f"load of {name}": factor for name, factor in what.scaled_load.items()},
            **{f"node {name}": "lost" for name in what.lost_nodes},
        }
    return replace(
        asked,
        scenario=replace(
            scenario,
            nodes=tuple(nodes.values()),
            services=tuple(
                replace(
                    one,
                    demand=one.demand.scaled(what.scaled_load.get(one.deployment.id, 1.0)),
                )
                for one in scenario.services
            ),
            outages=tuple(outage for outage in outages if outage.nodes),
            pins=tuple(one for one in scenario.pins if one.node in nodes),
            allocations=tuple(one for one in scenario.allocations if one.node in nodes),
        ),
        facts=facts,
    )


def _some(names: Mapping[str, object]) -> str:
    most = 12
    return ", ".join(list(names)[:most]) + (", ..." if len(names) > most else "")
