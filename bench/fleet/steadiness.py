"""Whether rounds keep still.

Owns two measures: replicas moved under constant load once it is placed, and replicas of a
deployment that were added and given back within a while. Refuses to blame: the second also
counts demand that rose and fell.
"""

from collections.abc import Sequence
from dataclasses import replace

from planner.simulation.fleet.demand import constant
from planner.simulation.fleet.recording import RoundRecord
from planner.simulation.fleet.scenario import FleetScenario

SETTLED_S = 3600.0


def at_rest(scenario: FleetScenario, *, hours: float = 3.0) -> FleetScenario:
    """The fleet with each model at its mean rate, without batches and failures."""
    services = tuple(
        replace(
            service,
            demand=constant(
                service.demand.rate(0.0, scenario.duration_s), lengths=service.demand.lengths
            ),
        )
        for service in scenario.services
    )
    return replace(scenario, services=services, batches=(), outages=(), duration_s=hours * 3600.0)


def moved_at_rest(rounds: Sequence[RoundRecord]) -> int:
    """Replicas added or removed after the first hour."""
    return sum(one.adds + one.removes for one in rounds if one.at_s > SETTLED_S)


def reversals(rounds: Sequence[RoundRecord], *, within_s: float = 1800.0) -> int:
    """Replicas that a deployment got and gave back, or the other way, within a while.

    A round that replaces what failed adds and removes at once; only what is beyond that
    counts, so that a failure is no reversal.
    """
    found = 0
    net: dict[str, list[tuple[float, int]]] = {}
    for one in rounds:
        for deployment, added, removed in one.changes:
            change = added - removed
            if not change:
                continue
            past = net.setdefault(deployment, [])
            for index, (at_s, before) in enumerate(past):
                if one.at_s - at_s > within_s or before * change >= 0:
                    continue
                undone = min(abs(before), abs(change))
                found += undone
                past[index] = (at_s, before + (undone if before < 0 else -undone))
                change += undone if change < 0 else -undone
            if change:
                past.append((one.at_s, change))
    return found
