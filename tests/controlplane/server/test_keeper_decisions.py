"""What is due between rounds, and what an agent's words change: pure decisions."""

from dataclasses import replace

from controlplane.keeper import Dues, dues
from controlplane.observed import Observation, settle
from planner.model import Allocation, Desired, Device, ReplicaState
from storage.records import AllocationRecord, EngineSpec, FleetState, FleetView, NodeRecord

ENGINE = EngineSpec(model="tiny", weights_bytes=1, kv_bytes_per_token=1)
NODE = NodeRecord(
    id="n1",
    devices=(Device(index=0, device_type="cpu", memory_bytes=1),),
    failure_domain="n1",
)


def record(
    replica: str,
    *,
    node: str = "n1",
    state: ReplicaState = ReplicaState.RUNNING,
    desired: Desired = Desired.RUNNING,
    after: tuple[str, ...] = (),
) -> AllocationRecord:
    """An allocation of deployment chat."""
    return AllocationRecord(
        allocation=Allocation(
            replica=replica,
            deployment="chat",
            node=node,
            devices=(0,),
            state=state,
            desired=desired,
            after=after,
        ),
        engine=ENGINE,
        round=1,
    )


def view(*records: AllocationRecord, node: NodeRecord = NODE) -> FleetView:
    """A fleet of two nodes."""
    return FleetView(state=FleetState(), nodes=(node, replace(NODE, id="n2")), allocations=records)


def test_nothing_is_due_when_all_stands_as_wanted() -> None:
    """The idle tick decides nothing, so it writes nothing."""
    assert dues(view(record("a")), lapsed=(), now_s=0.0) == Dues()


def test_removal_is_released_when_what_it_waits_for_runs() -> None:
    """The condition lies in the state: any leader releases it."""
    old = record("old", desired=Desired.STOPPED, after=("new",))
    starting = record("new", node="n2", state=ReplicaState.STARTING)
    assert not dues(view(old, starting), lapsed=(), now_s=0.0)
    assert dues(view(old, record("new", node="n2")), lapsed=(), now_s=0.0).released == ("old",)


def test_removal_is_taken_back_when_what_it_waits_for_is_gone() -> None:
    """What runs goes on rather than wait for what never comes."""
    old = record("old", desired=Desired.STOPPED, after=("new",))
    lost = record("new", node="n2", state=ReplicaState.LOST)
    assert dues(view(old), lapsed=(), now_s=0.0).taken_back == ("old",)
    assert dues(view(old, lost), lapsed=(), now_s=0.0).taken_back == ("old",)


def test_replicas_are_evicted_when_their_drain_deadline_passes() -> None:
    """Also those that wait for a replacement; not before the deadline."""
    draining = replace(NODE, drain_deadline_s=100.0)
    old = record("old", desired=Desired.STOPPED, after=("new",))
    fleet = view(old, record("b"), record("new", node="n2", state=ReplicaState.STARTING))
    fleet = replace(fleet, nodes=(draining, *fleet.nodes[1:]))
    assert dues(fleet, lapsed=(), now_s=99.0).evicted == ()
    assert dues(fleet, lapsed=(), now_s=100.0).evicted == ("b", "old")


def test_node_is_lost_once_when_its_lease_lapsed() -> None:
    """A node that is LOST already is not declared again."""
    assert dues(view(), lapsed=("n1",), now_s=0.0).lost_nodes == ("n1",)
    gone = view(node=replace(NODE, is_ready=False))
    assert not dues(gone, lapsed=("n1",), now_s=0.0)


def test_replica_retires_when_it_is_unwanted_and_lost() -> None:
    """Nobody will report it stopped."""
    old = record("old", desired=Desired.STOPPED, state=ReplicaState.LOST)
    assert dues(view(old), lapsed=(), now_s=0.0).retired == ("old",)


def test_lost_replica_comes_back_when_its_agent_still_runs_it() -> None:
    """A hello reconciles LOST ones to what is reported."""
    lost = record("a", state=ReplicaState.LOST)
    said = {"a": Observation(state=ReplicaState.RUNNING)}
    (changed,) = settle((lost,), said, is_hello=True).changed
    assert changed.allocation.state is ReplicaState.RUNNING


def test_silence_is_believed_only_from_a_hello_or_an_accepted_stop() -> None:
    """A report made before the agent knew of a replica says nothing about it."""
    fresh = record("a", state=ReplicaState.PENDING)
    stopped = record("b", desired=Desired.STOPPED)
    assert not settle((fresh, stopped), {}, is_hello=False)
    accepted = settle((fresh, stopped), {}, is_hello=False, accepted_stops=frozenset({"b"}))
    assert accepted.retired == ("b",)
    hello = settle((record("c"), stopped), {}, is_hello=True)
    assert hello.retired == ("b",)
    assert hello.changed[0].allocation.state is ReplicaState.PENDING


def test_repeated_report_changes_nothing() -> None:
    """One report a second of a settled node commits nothing."""
    said = {
        "a": Observation(state=ReplicaState.RUNNING),
        "unknown": Observation(state=ReplicaState.RUNNING),
    }
    assert not settle((record("a"),), said, is_hello=False)
