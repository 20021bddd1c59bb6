"""Online requests of a whole fleet, in order of time.

Owns drawing and labelling them. Refuses to route. Lazy: one request a deployment is held.
"""

from collections.abc import Iterator
from heapq import merge

from planner.simulation.fleet.scenario import FleetScenario, Service
from planner.simulation.request import SimulatedRequest, online_request

Arrival = tuple[float, str, SimulatedRequest]
"""When, whose (`deployment/number`), what."""


def arrivals(scenario: FleetScenario) -> Iterator[Arrival]:
    """All that come within the replay, by time."""
    return merge(*(_requests(scenario, name, one) for name, one in scenario.by_id.items()))


def _requests(scenario: FleetScenario, name: str, service: Service) -> Iterator[Arrival]:
    drawn = service.demand.requests(seed=f"{scenario.seed}/{name}", until_s=scenario.duration_s)
    for index, request in enumerate(drawn):
        rid = f"{name}/{index:07d}"
        labelled = online_request(
            rid,
            at_s=request.at_s,
            prompt_tokens=request.prompt_tokens,
            output_tokens=request.output_tokens,
            slo=service.deployment.slo,
        )
        yield request.at_s, rid, labelled
