"""The applier: verified against the state it commits to, under the epoch, in groups."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from controlplane.rounds.apply import Committed, Round, commit_plan, note_failure
from controlplane.rounds.snapshot import Demand, build_snapshot
from planner.model import Desired, Device, MoveKind, Plan, ReplicaState, Slo
from planner.placement.greedy import greedy
from storage.database import Database
from storage.errors import StaleEpochError
from storage.plan_records import FLEET_TARGET, FreezeRecord, PlanOutcome
from storage.records import DeploymentRecord, DeploymentSpec, EngineSpec, NodeRecord
from storage.store import FleetStore

ENGINE = EngineSpec(model="tiny", weights_bytes=1000, kv_bytes_per_token=1)


def node(id_: str) -> NodeRecord:
    """A node of one device."""
    return NodeRecord(
        id=id_,
        devices=(Device(index=0, device_type="cpu", memory_bytes=1 << 30),),
        failure_domain=id_,
    )


def wanted(id_: str) -> DeploymentRecord:
    """A deployment of one replica."""
    return DeploymentRecord(
        id=id_,
        generation=1,
        spec=DeploymentSpec(
            engine=ENGINE, slo=Slo(ttft_ms=500.0, itl_ms=100.0), min_replicas=1, max_replicas=1
        ),
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FleetStore]:
    """Two nodes, two deployments, nothing placed."""
    database = Database.open(f"sqlite:///{tmp_path}/state.db")
    store = FleetStore(database)
    with store.write() as state:
        for id_ in ("n1", "n2"):
            state.put_node(node(id_))
        for id_ in ("chat", "code"):
            state.put_deployment(wanted(id_))
    yield store
    database.close()


def planned(store: FleetStore) -> Plan:
    """The greedy plan of the state now."""
    return greedy(build_snapshot(store.view(), Demand()))


def commit(
    store: FleetStore,
    plan: Plan,
    *,
    epoch: int | None = None,
    is_ordered: bool = False,
) -> Committed:
    """Commits as the round loop does."""
    round_ = Round(trigger="test", is_ordered=is_ordered)
    return store.run(lambda state: commit_plan(state, plan, round_), epoch=epoch)


def test_plan_is_committed_with_ids_when_it_holds(store: FleetStore) -> None:
    """Placements, moves and the ledger name the same new replicas."""
    committed = commit(store, planned(store))
    view = store.view()
    ids = {one.allocation.replica for one in view.allocations}
    assert {id_.rpartition("-")[0] for id_ in ids} == {"chat", "code"}
    assert view.plan is not None
    assert {one.replica for one in view.plan.plan.placements} == ids
    assert {one.replica for one in view.plan.plan.moves} == ids
    assert committed.outcome.round == 1
    assert all(one.engine == ENGINE for one in view.allocations)


def test_second_plan_changes_no_state_when_nothing_changed(store: FleetStore) -> None:
    """Re-solving what was just committed is a fixed point of the state; the round is noted."""
    commit(store, planned(store))
    before = store.state()
    again = commit(store, planned(store))
    assert again.record.outcome is PlanOutcome.UNCHANGED
    after = store.state()
    assert (after.revision, after.plan_round) == (before.revision, before.plan_round)
    assert after.round == before.round + 1
    noted = store.get_plan(after.round)
    assert noted is not None and noted.placements_from == before.plan_round
    assert noted.plan.placements == store.view().plan.plan.placements


def test_only_fitting_groups_are_committed_when_the_state_moved_on(store: FleetStore) -> None:
    """A node lost during the solve takes its group along; the other is committed whole."""
    plan = planned(store)
    with store.write() as state:
        state.put_node(replace(node("n1"), is_ready=False))
    committed = commit(store, plan)
    assert len(committed.refused_groups) == 1
    assert [one.allocation.node for one in store.view().allocations] == ["n2"]


def test_plan_of_an_old_leader_is_refused_when_a_new_one_leads(store: FleetStore) -> None:
    """Stale epoch: nothing is written."""
    epoch = store.acquire_epoch("cp-a", now_s=1.0)
    plan = planned(store)
    store.acquire_epoch("cp-b", now_s=1.0)
    with pytest.raises(StaleEpochError):
        commit(store, plan, epoch=epoch)
    assert store.view().allocations == ()


def test_removal_waits_for_its_replacement_when_a_node_drains(store: FleetStore) -> None:
    """The old allocation is stored as to be stopped after the new one."""
    with store.write() as state:
        state.put_deployment(replace(wanted("code"), is_deleted=True))
    commit(store, planned(store))
    (old,) = store.view().allocations
    with store.write() as state:
        state.put_allocation(
            replace(old, allocation=replace(old.allocation, state=ReplicaState.RUNNING))
        )
        state.put_node(replace(node(old.allocation.node), drain_deadline_s=1e12))
    commit(store, planned(store))
    view = store.view()
    by_desired = {one.allocation.desired: one.allocation for one in view.allocations}
    assert by_desired[Desired.STOPPED].replica == old.allocation.replica
    assert by_desired[Desired.STOPPED].after == (by_desired[Desired.RUNNING].replica,)
    assert by_desired[Desired.RUNNING].node != old.allocation.node


def test_running_replicas_stay_when_the_new_model_is_unknown(store: FleetStore) -> None:
    """A deployment whose needs became unknown gains nothing and loses nothing."""
    commit(store, planned(store))
    before = store.view().allocations
    changed = wanted("chat")
    spec = replace(changed.spec, engine=EngineSpec(model="other"))
    with store.write() as state:
        state.put_deployment(replace(changed, generation=2, spec=spec))
    commit(store, planned(store))
    assert store.view().allocations == before


def test_refused_groups_are_noted_when_the_state_moved_on(store: FleetStore) -> None:
    """The ledger says which, and that the rest is in force; the round was of an older state."""
    plan = planned(store)
    with store.write() as state:
        state.put_node(replace(node("n1"), is_ready=False))
    committed = commit(store, plan)
    noted = store.get_plan(committed.record.round)
    assert noted is not None and noted == store.view().plan
    assert (noted.outcome, len(noted.refused_groups)) == (PlanOutcome.PARTLY_APPLIED, 1)
    assert "no longer fit" in noted.failure
    assert committed.is_stale and committed.is_applied


def test_nothing_of_a_plan_is_in_force_when_none_of_it_fits(store: FleetStore) -> None:
    """REFUSED, with its moves; no revision is raised."""
    plan = planned(store)
    with store.write() as state:
        for id_ in ("n1", "n2"):
            state.put_node(replace(node(id_), is_ready=False))
    before = store.state()
    committed = commit(store, plan)
    assert committed.record.outcome is PlanOutcome.REFUSED
    assert store.state().revision == before.revision
    assert store.view().allocations == ()
    noted = store.get_plan(committed.record.round)
    assert noted is not None and noted.plan.moves == plan.moves


def test_plan_is_held_back_when_the_fleet_is_frozen_unless_it_was_ordered(
    store: FleetStore,
) -> None:
    """The ledger tells what it would do; an operator's own order goes through."""
    with store.write() as state:
        state.freeze(FreezeRecord(target=FLEET_TARGET))
    held = commit(store, planned(store))
    assert held.record.outcome is PlanOutcome.FROZEN
    assert len(held.record.plan.moves) == 2
    assert store.view().allocations == ()
    ordered = commit(store, planned(store), is_ordered=True)
    assert ordered.is_applied and len(ordered.record.inputs_hash) == 64
    again = commit(store, planned(store))
    assert again.record.outcome is PlanOutcome.UNCHANGED


def test_round_without_a_plan_is_noted_when_solver_and_greedy_fail(store: FleetStore) -> None:
    """What runs stays in force, with its placements."""
    commit(store, planned(store))
    before = store.state()
    round_ = Round(trigger="test", failure="it hung", solve_s=7.0)
    failed = store.run(lambda state: note_failure(state, round_, revision=before.revision))
    assert (failed.record.outcome, failed.outcome.failure) == (PlanOutcome.FAILED, "it hung")
    noted = store.get_plan(failed.record.round)
    assert noted is not None
    assert (noted.failure, noted.solve_s, noted.plan.status.value) == (
        "it hung",
        7.0,
        "kept_incumbent",
    )
    assert noted.plan.placements == store.view().plan.plan.placements
    assert store.state().revision == before.revision


def test_frozen_deployment_keeps_what_it_has_whatever_a_plan_says(store: FleetStore) -> None:
    """The applier refuses the group; the other deployment's goes through."""
    with store.write() as state:
        state.put_deployment(replace(wanted("code"), is_deleted=True))
    commit(store, planned(store))
    with store.write() as state:
        state.put_deployment(wanted("code"))
    plan = planned(store)
    assert {one.deployment for one in plan.moves if one.kind is MoveKind.ADD} == {"code"}
    with store.write() as state:
        state.freeze(FreezeRecord(target="deployments/code"))
    assert commit(store, plan).record.outcome is PlanOutcome.REFUSED
    assert {one.allocation.deployment for one in store.view().allocations} == {"chat"}
