"""A replica of the exact mode: its engine with what it holds, and what it may do.

Owns its budgets, and whether it may pull: `rollout.budgets` and `dispatch.admission`, the
control plane's own. Refuses time and requests.
"""

from dataclasses import dataclass

from planner.batching.state import Budgets
from planner.dispatch.admission import OfflineFacts, pull_refusal
from planner.model import Desired
from planner.rollout.budgets import engine_budgets
from planner.simulation.fleet.book import Progress
from planner.simulation.fleet.live import Live
from planner.simulation.fleet.replica import ReplicaRun
from planner.simulation.fleet.scenario import Service
from planner.simulation.request import SimulatedRequest
from planner.workload.generate import Lengths

EPOCH = 1
"""Of the control plane: a replay has one leader."""


@dataclass(slots=True, kw_only=True)
class Seat:
    """A replica's engine with what it holds."""

    live: Live
    run: ReplicaRun
    online: dict[str, SimulatedRequest]
    offline: dict[str, Progress]


def budgets_of(live: Live, service: Service) -> Budgets:
    """What its agent holds it to."""
    deployment = service.deployment
    return engine_budgets(
        slo=deployment.slo,
        latency_budget_ms=live.budgets.latency_budget_ms,
        stage=deployment.stage,
        may_run_offline=True,
    )


def may_pull(live: Live, service: Service) -> bool:
    """Whether the control plane would give it batch items."""
    facts = OfflineFacts(
        epoch=EPOCH,
        is_killed=False,
        is_node_ready=True,
        is_node_closed=False,
        deployment=live.deployment,
        stage=service.deployment.stage,
        desired=Desired.RUNNING,
        state=live.state,
    )
    return pull_refusal(facts, epoch=EPOCH) is None


def items_of(service: Service) -> Lengths:
    """Lengths of its batch items."""
    assert service.items is not None  # checked when the replay begins
    return service.items
