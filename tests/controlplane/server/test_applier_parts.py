"""What is told of a plan that only some groups of were committed: what was committed."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.rounds.apply import Round, commit_plan
from controlplane.rounds.drafted import drafted
from controlplane.rounds.snapshot import Demand, build_snapshot
from planner.model import Device, Misfit, Plan, Slo
from planner.placement.greedy import greedy
from planner.placement.objective import total
from storage.database import Database
from storage.plan_records import PinRecord, PlanOutcome
from storage.records import DeploymentRecord, DeploymentSpec, EngineSpec, NodeRecord
from storage.store import FleetStore

ENGINE = EngineSpec(model="tiny", weights_bytes=1000, kv_bytes_per_token=1)


def node(id_: str) -> NodeRecord:
    """A node of one device."""
    device = Device(index=0, device_type="cpu", memory_bytes=1 << 30)
    return NodeRecord(id=id_, devices=(device,), failure_domain=id_)


def wanted(id_: str) -> DeploymentRecord:
    """A deployment of one replica, with load."""
    spec = DeploymentSpec(
        engine=ENGINE,
        slo=Slo(ttft_ms=500.0, itl_ms=100.0),
        min_replicas=1,
        max_replicas=1,
        expected_online_work=300.0,
    )
    return DeploymentRecord(id=id_, generation=1, spec=spec)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FleetStore]:
    """Two nodes, two deployments."""
    database = Database.open(f"sqlite:///{tmp_path}/state.db")
    store = FleetStore(database)
    with store.write() as state:
        for id_ in ("n1", "n2"):
            state.put_node(node(id_))
        for id_ in ("chat", "code"):
            state.put_deployment(wanted(id_))
    yield store
    database.close()


def committed_after_loss(store: FleetStore, plan: Plan, *, lost: str) -> Plan:
    """The plan in force where that node is lost between solve and commit."""
    with store.write() as state:
        state.put_node(replace(node(lost), is_ready=False))
    done = store.run(lambda state: commit_plan(state, plan, Round(trigger="test")))
    assert done.record.outcome is PlanOutcome.PARTLY_APPLIED
    return done.record.plan


def planned(store: FleetStore) -> Plan:
    """The greedy plan of the state now."""
    return greedy(build_snapshot(store.view(), Demand()))


def test_misfits_are_of_what_was_committed_when_groups_were_refused(store: FleetStore) -> None:
    """A pin that the whole plan met and its rest does not is told; one it only had is not."""
    plan = planned(store)
    gone = next(one for one in plan.placements if one.deployment == "chat")
    with store.write() as state:
        state.put_pin(PinRecord(deployment="chat", node=gone.node, create_s=1.0))
    stale = Misfit(
        deployment="code",
        node=None,
        dimension="devices",
        needed=1.0,
        available=0.0,
        message="deployment code: of the whole plan, not of its rest",
    )
    rest = committed_after_loss(store, replace(plan, misfits=(stale,)), lost=gone.node)
    assert {one.deployment for one in rest.placements} == {"code"}
    assert stale not in rest.misfits
    told = {(one.deployment, one.dimension) for one in rest.misfits}
    assert ("chat", "pin") in told
    assert not any(deployment == "code" for deployment, _ in told)


def test_objective_is_of_what_was_committed_when_groups_were_refused(store: FleetStore) -> None:
    """Terms, objective and bound are of the placements committed; the whole plan's were not."""
    plan = planned(store)
    gone = next(one for one in plan.placements if one.deployment == "chat")
    rest = committed_after_loss(store, plan, lost=gone.node)
    assert rest.objective == pytest.approx(total(rest.terms))
    assert rest.bound <= rest.objective
    assert rest.objective > plan.objective + 1.0, "chat's online work is not served"
    with store.write() as state:
        for one in store.view().allocations:
            state.retire_allocation(one.allocation.replica)
    snapshot = build_snapshot(store.view(), Demand())
    same = drafted(snapshot, [replace(one, replica=None) for one in rest.placements], solver="x")
    assert (rest.objective, rest.terms) == (pytest.approx(same.objective), same.terms)
