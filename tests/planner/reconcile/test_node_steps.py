"""A node's steps: what is held is never started on, and what goes goes first."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.model import Desired, ReplicaState
from planner.reconcile.node import (
    AssignedReplica,
    DrainEngine,
    ForgetEngine,
    KeepEngine,
    ObservedEngine,
    RejectReplica,
    ReplicaBudgets,
    ReportStopped,
    SetBudgets,
    StartEngine,
    StopEngine,
    WaitForDevices,
    plan_steps,
)

BUDGETS = ReplicaBudgets(online_share=1.0, latency_budget_ms=80.0)
WANTED = AssignedReplica(
    replica="r1", deployment="chat", spec_fingerprint="a", devices=(0,), budgets=BUDGETS
)
ENGINE = ObservedEngine(
    replica="r1",
    spec_fingerprint="a",
    devices=(0,),
    state=ReplicaState.RUNNING,
    budgets=BUDGETS,
)


def _steps(desired=(), observed=()):
    return plan_steps(desired, observed, devices=(0, 1))


def test_engine_is_started_when_it_is_wanted_and_its_devices_are_free():
    """Nothing runs, something is wanted: start it, with its budgets."""
    assert _steps([WANTED]) == (StartEngine(assigned=WANTED),)


def test_engine_is_kept_when_it_is_as_wanted():
    """The fixed point."""
    assert _steps([WANTED], [ENGINE]) == (KeepEngine(replica="r1"),)


def test_budgets_are_set_when_only_they_differ():
    """Shares and budgets change without a restart, also while it still starts."""
    new = replace(WANTED, budgets=replace(BUDGETS, offline_share=9.0))
    for state in (ReplicaState.RUNNING, ReplicaState.STARTING):
        (step,) = _steps([new], [replace(ENGINE, state=state)])
        assert step == SetBudgets(replica="r1", budgets=new.budgets)


def test_start_waits_when_another_engine_still_holds_the_devices():
    """Devices of a draining engine are held until it is STOPPED."""
    other = replace(WANTED, replica="r2")
    gone = replace(WANTED, desired=Desired.STOPPED)

    draining = replace(ENGINE, state=ReplicaState.DRAINING)
    assert WaitForDevices(replica="r2", held_by=("r1",)) in _steps([gone, other], [draining])
    stopped = replace(ENGINE, state=ReplicaState.STOPPED)
    assert StartEngine(assigned=other) in _steps([gone, other], [stopped])


def test_second_start_waits_when_two_want_the_same_device():
    """A device is given once in one pass, in order of id."""
    steps = _steps([WANTED, replace(WANTED, replica="r2")])

    assert steps == (
        StartEngine(assigned=WANTED),
        WaitForDevices(replica="r2", held_by=("r1",)),
    )


@pytest.mark.parametrize(
    ("state", "kind"),
    [
        (ReplicaState.RUNNING, DrainEngine),
        (ReplicaState.STARTING, StopEngine),
        (ReplicaState.FAILED, StopEngine),
        (ReplicaState.DRAINING, KeepEngine),
        (ReplicaState.STOPPED, KeepEngine),
    ],
)
def test_unwanted_engine_drains_when_it_serves_and_stops_when_it_does_not(state, kind):
    """Only a serving engine has requests worth a grace."""
    gone = replace(WANTED, desired=Desired.STOPPED, drain_grace_s=5.0)
    (step,) = _steps([gone], [replace(ENGINE, state=state)])

    assert type(step) is kind
    if isinstance(step, DrainEngine):
        assert step.grace_s == 5.0


def test_stopped_is_reported_when_nothing_of_an_unwanted_replica_runs():
    """After a restart of the agent the control plane still learns that it is gone."""
    assert _steps([replace(WANTED, desired=Desired.STOPPED)]) == (ReportStopped(replica="r1"),)


def test_unassigned_engine_is_ended_and_then_forgotten():
    """A replica the newest assignment does not name shall not run."""
    assert type(_steps([], [ENGINE])[0]) is DrainEngine
    stopped = replace(ENGINE, state=ReplicaState.STOPPED)
    assert _steps([], [stopped]) == (ForgetEngine(replica="r1"),)


def test_engine_is_made_anew_when_its_spec_or_devices_changed():
    """Drain first; once stopped, start with what is wanted."""
    for changed in (replace(WANTED, spec_fingerprint="b"), replace(WANTED, devices=(1,))):
        (step,) = _steps([changed], [ENGINE])
        assert type(step) is DrainEngine
        stopped = replace(ENGINE, state=ReplicaState.STOPPED)
        assert _steps([changed], [stopped]) == (StartEngine(assigned=changed),)


def test_replica_is_rejected_when_the_node_lacks_its_devices():
    """One clear error with id, wanted, present and remedy; the others go on."""
    steps = _steps([replace(WANTED, devices=(7,)), replace(WANTED, replica="r2")])

    (rejected,) = [step for step in steps if isinstance(step, RejectReplica)]
    assert "r1" in rejected.reason
    assert "[7]" in rejected.reason
    assert any(isinstance(step, StartEngine) for step in steps)


_ids = st.sampled_from(["r1", "r2", "r3"])
_devices = st.sampled_from([(0,), (1,), (0, 1)])
_assigned = st.lists(
    st.builds(
        AssignedReplica,
        replica=_ids,
        deployment=st.just("chat"),
        spec_fingerprint=st.sampled_from(["a", "b"]),
        devices=_devices,
        budgets=st.just(BUDGETS),
        desired=st.sampled_from(list(Desired)),
    ),
    unique_by=lambda a: a.replica,
)
_observed = st.lists(
    st.builds(
        ObservedEngine,
        replica=_ids,
        spec_fingerprint=st.sampled_from(["a", "b"]),
        devices=_devices,
        state=st.sampled_from([s for s in ReplicaState if s is not ReplicaState.LOST]),
        budgets=st.just(BUDGETS),
    ),
    unique_by=lambda e: e.replica,
)


@settings(max_examples=200, deadline=None)
@given(_assigned, _observed)
def test_steps_start_nothing_on_held_devices_and_name_each_replica_once(desired, observed):
    """Whatever is observed: one step a replica, each device started on at most once."""
    steps = _steps(desired, observed)
    held = [d for e in observed if e.holds_devices for d in e.devices]
    for step in steps:
        if isinstance(step, StartEngine):
            assert not set(step.assigned.devices) & set(held)
            held += step.assigned.devices

    names = [step.replica for step in steps]
    assert sorted(names) == sorted({a.replica for a in desired} | {e.replica for e in observed})
    assert steps == _steps(desired[::-1], observed[::-1])
