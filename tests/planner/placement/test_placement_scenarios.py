"""What operators of small fleets rely on, one sentence each."""

from dataclasses import replace

from planner.model import (
    Desired,
    MoveKind,
    PlanStatus,
    ReplicaState,
    Stage,
)
from tests.planner.placement.fleets import (
    batch,
    commit,
    deployment,
    edit_node,
    edit_replica,
    fleet,
    node,
    rounds,
    running,
    settle,
    solved,
    where,
)

CHAT = deployment("chat", min_replicas=2, max_replicas=2, spread=True, online_work=300.0)
TWO_NODES = (node("n1"), node("n2"))
SERVING = (running("r1", "chat", "n1", 0), running("r2", "chat", "n2", 0))
DRAINING = {"is_cordoned": True, "is_draining": True}
OPEN = {"is_cordoned": False, "is_draining": False}


def _moves(plan, kind):
    return [move for move in plan.moves if move.kind is kind]


def test_plan_places_one_replica_on_each_node_when_two_are_spread_over_two():
    """Two spread replicas on two empty nodes go to one node each, proved best."""
    plan = solved(fleet(TWO_NODES, [CHAT]))

    assert sorted(p.node for p in plan.placements) == ["n1", "n2"]
    assert plan.status is PlanStatus.OPTIMAL
    assert [p.online_share for p in plan.placements] == [0.5, 0.5]
    assert plan.misfits == ()


def test_plan_places_a_second_deployment_beside_when_devices_are_free():
    """A second deployment takes free devices and touches no replica of the first."""
    serving, _ = rounds(fleet(TWO_NODES, [CHAT]))
    plan = solved(replace(serving, deployments=(CHAT, deployment("code"))))

    assert [(m.kind, m.deployment) for m in plan.moves] == [(MoveKind.ADD, "code")]
    assert {p.replica for p in plan.placements if p.deployment == "chat"} == {
        a.replica for a in serving.allocations
    }


def test_plan_moves_by_add_then_remove_when_a_node_drains():
    """A drained node's replica is added elsewhere, and removed only after that one runs."""
    plan = solved(edit_node(fleet(TWO_NODES, [CHAT], SERVING), "n1", **DRAINING))

    (add,) = _moves(plan, MoveKind.ADD)
    (remove,) = _moves(plan, MoveKind.REMOVE)
    assert (add.node, remove.replica, remove.after) == ("n2", "r1", (add.replica,))
    assert add.group == remove.group
    assert "draining" in remove.reason


def test_replica_is_not_stopped_when_its_replacement_does_not_run_yet():
    """Between add and drop, further rounds change nothing."""
    snapshot = edit_node(fleet(TWO_NODES, [CHAT], SERVING), "n1", **DRAINING)
    after_add = commit(snapshot, solved(snapshot))

    assert solved(after_add).moves == ()


def test_spread_is_restored_once_when_a_node_is_uncordoned():
    """Worst-domain loss (weight 5) is worth one move (2 + 0.5), and then all is quiet."""
    drained, _ = rounds(edit_node(fleet(TWO_NODES, [CHAT], SERVING), "n1", **DRAINING))
    assert where(drained, "chat") == ["n2", "n2"]

    back = solved(edit_node(drained, "n1", **OPEN))
    assert len(_moves(back, MoveKind.ADD)) == 1
    settled, count = rounds(edit_node(drained, "n1", **OPEN))

    assert where(settled, "chat") == ["n1", "n2"]
    assert count == 1


def test_plan_moves_nothing_when_a_node_without_spread_is_uncordoned():
    """Uncordoning is no reason to move what need not spread."""
    chat = replace(CHAT, spread=False)
    drained, _ = rounds(edit_node(fleet(TWO_NODES, [chat], SERVING), "n1", **DRAINING))

    assert solved(edit_node(drained, "n1", **OPEN)).moves == ()


def test_draining_replica_keeps_running_when_nothing_has_room():
    """Drained with no room anywhere: it stays, and the misfit says why and what helps."""
    nodes = (node("n1", devices=1), node("n2", devices=1))
    plan = solved(edit_node(fleet(nodes, [CHAT], SERVING), "n1", **DRAINING))

    assert plan.moves == () or all(m.kind is MoveKind.ADJUST for m in plan.moves)
    assert {p.replica for p in plan.placements} == {"r1", "r2"}
    assert plan.status is PlanStatus.INFEASIBLE
    (misfit,) = plan.misfits
    assert misfit.dimension == "devices"
    assert "r1" in misfit.message
    assert "add a node" in misfit.message


def test_offline_replica_yields_first_when_a_drained_one_needs_room():
    """No room to add before dropping: the offline-only replica goes, then the add follows."""
    chat = deployment("chat", max_replicas=1, online_work=100.0)
    allocations = [
        running("r1", "chat", "n1", 0),
        running("b1", "bulk", "n2", 0),
    ]
    nodes = (node("n1", devices=1), node("n2", devices=1))
    snapshot = edit_node(fleet(nodes, [chat, batch("bulk")], allocations), "n1", **DRAINING)

    plan = solved(snapshot)
    (remove,) = _moves(plan, MoveKind.REMOVE)
    assert (remove.replica, remove.after) == ("b1", ())
    assert "yields its devices to deployment chat" in remove.reason
    assert [(p.deployment, p.node) for p in plan.waiting] == [("chat", "n2")]
    assert "waits until" in plan.misfits[0].message

    settled, _ = rounds(snapshot)
    assert where(settled, "chat") == ["n2"]
    assert where(settled, "bulk") == []


def test_new_online_deployment_gets_a_device_when_offline_surplus_holds_all():
    """Offline-only surplus gives way to a new online deployment, over two rounds."""
    chat = replace(CHAT, max_replicas=4, stage=Stage.ACTIVE, offline_work=100_000.0)
    full, _ = rounds(fleet(TWO_NODES, [chat]))
    assert len(where(full, "chat")) == 4

    settled, _ = rounds(replace(full, deployments=(chat, deployment("code"))))

    assert len(where(settled, "code")) == 1
    assert len(where(settled, "chat")) == 3


def test_lost_replicas_are_replaced_when_a_node_is_lost():
    """A node's loss places its replicas elsewhere; the lost one goes once they run."""
    lost = edit_replica(
        edit_node(fleet(TWO_NODES, [CHAT], SERVING), "n1", is_ready=False),
        "r1",
        state=ReplicaState.LOST,
    )
    plan = solved(lost)

    (add,) = _moves(plan, MoveKind.ADD)
    (remove,) = _moves(plan, MoveKind.REMOVE)
    assert (add.node, remove.replica, remove.after) == ("n2", "r1", (add.replica,))
    settled, _ = rounds(lost)
    assert where(settled, "chat") == ["n2", "n2"]


def test_lost_replica_stays_wanted_when_nothing_else_has_room():
    """With no room, the lost replica comes back with its node."""
    nodes = (node("n1", devices=1), node("n2", devices=1))
    lost = edit_replica(
        edit_node(fleet(nodes, [CHAT], SERVING), "n1", is_ready=False),
        "r1",
        state=ReplicaState.LOST,
    )
    plan = solved(lost)

    assert {p.replica for p in plan.placements} == {"r1", "r2"}
    assert "lost" in plan.misfits[0].message or "min_replicas" in plan.misfits[0].message
    returned = edit_node(lost, "n1", is_ready=True)
    assert not _moves(solved(returned), MoveKind.ADD)


def test_failed_replica_is_placed_on_another_node_when_one_has_room():
    """A crash loop moves to another node, not to another device of the same one."""
    failed = edit_replica(fleet(TWO_NODES, [CHAT], SERVING), "r1", state=ReplicaState.FAILED)
    plan = solved(failed)

    (add,) = _moves(plan, MoveKind.ADD)
    (remove,) = _moves(plan, MoveKind.REMOVE)
    assert (add.node, remove.replica, remove.after) == ("n2", "r1", (add.replica,))


def test_failed_replicas_do_not_wander_when_they_failed_everywhere():
    """A model that crashes on each node stays put and says so; no oscillation."""
    snapshot = fleet(TWO_NODES, [CHAT], SERVING)
    for name in ("r1", "r2"):
        snapshot = edit_replica(snapshot, name, state=ReplicaState.FAILED)
    plan = solved(snapshot)

    assert not _moves(plan, MoveKind.ADD)
    assert not _moves(plan, MoveKind.REMOVE)
    assert plan.status is PlanStatus.INFEASIBLE
    assert "failed on node" in plan.misfits[0].message


def test_failed_offline_replica_does_not_wander_when_it_failed_everywhere():
    """The same for an offline-only deployment without min_replicas."""
    bulk = batch("bulk", max_replicas=1)
    snapshot = fleet(
        [node("n1")], [bulk], [running("b1", "bulk", "n1", 0, state=ReplicaState.FAILED)]
    )

    assert not [m for m in solved(snapshot).moves if m.kind is not MoveKind.ADJUST]


def test_allocations_are_removed_when_their_deployment_is_deleted():
    """A deleted deployment's replicas are removed at once."""
    plan = solved(fleet(TWO_NODES, [], SERVING))

    assert plan.placements == ()
    assert [(m.kind, m.replica, m.after) for m in plan.moves] == [
        (MoveKind.REMOVE, "r1", ()),
        (MoveKind.REMOVE, "r2", ()),
    ]
    assert "deleted" in plan.moves[0].reason


def test_devices_are_not_given_away_when_their_replica_still_drains():
    """Devices of a draining replica are held until it is STOPPED."""
    going = running("r0", "old", "n1", 0, desired=Desired.STOPPED, state=ReplicaState.DRAINING)
    one = deployment("chat")
    busy = fleet([node("n1", devices=1)], [one], [going])

    plan = solved(busy)
    assert plan.placements == ()
    assert [(p.node, p.devices) for p in plan.waiting] == [("n1", (0,))]

    stopped = edit_replica(busy, "r0", state=ReplicaState.STOPPED)
    assert [(p.node, p.devices) for p in solved(stopped).placements] == [("n1", (0,))]


def test_new_generation_is_added_before_the_old_is_dropped_when_there_is_room():
    """A changed spec rolls by add, then drop, while devices are free."""
    snapshot = fleet(TWO_NODES, [replace(CHAT, generation=2)], SERVING)
    plan = solved(snapshot)

    removes = _moves(plan, MoveKind.REMOVE)
    assert {m.replica for m in removes} == {"r1", "r2"}
    assert all(m.after for m in removes)
    settled, _ = rounds(snapshot)
    assert {a.generation for a in settled.allocations} == {2}
    assert where(settled, "chat") == ["n1", "n2"]


def test_new_generation_rolls_one_by_one_when_there_is_no_room():
    """Without free devices one goes at a time, and one of two always runs."""
    nodes = (node("n1", devices=1), node("n2", devices=1))
    snapshot = fleet(nodes, [replace(CHAT, generation=2)], SERVING)
    for _ in range(10):
        plan = solved(snapshot)
        if not plan.moves:
            break
        assert len(_moves(plan, MoveKind.REMOVE)) <= 1
        snapshot = settle(commit(snapshot, plan))
        assert any(a.state is ReplicaState.RUNNING for a in snapshot.allocations)

    assert {a.generation for a in snapshot.allocations} == {2}
    assert where(snapshot, "chat") == ["n1", "n2"]


def test_only_replica_rolls_in_place_when_there_is_no_other_device():
    """A single replica on a single device is dropped first: nothing else is possible."""
    one = deployment("chat", max_replicas=1, generation=2)
    snapshot = fleet([node("n1", devices=1)], [one], [running("r1", "chat", "n1", 0)])

    settled, _ = rounds(snapshot)

    assert [(a.node, a.generation) for a in settled.allocations] == [("n1", 2)]


def test_removal_gets_a_new_condition_when_its_replacement_failed():
    """A removal that waits for a failed replacement is tied to the next one."""
    going = running("r1", "chat", "n1", 0, desired=Desired.STOPPED, after=("r2",))
    failed = running("r2", "chat", "n2", 0, state=ReplicaState.FAILED)
    one = deployment("chat", max_replicas=1)
    nodes = (node("n1", **DRAINING), node("n2"), node("n3"))
    plan = solved(fleet(nodes, [one], [going, failed]))

    (add,) = _moves(plan, MoveKind.ADD)
    assert add.node == "n3"
    removes = {m.replica: m.after for m in _moves(plan, MoveKind.REMOVE)}
    assert set(removes) == {"r2", "r1"}
    assert removes["r1"] == (add.replica,)


def test_replicas_are_added_when_online_demand_exceeds_what_runs_bear():
    """Demand above two replicas' online limit adds a third; backlog alone at OBSERVE none."""
    chat = replace(CHAT, max_replicas=4, online_work=1500.0, offline_work=9_000.0)
    plan = solved(fleet(TWO_NODES, [chat], SERVING))

    assert len(plan.placements) == 3
    assert all(p.offline_share == 0.0 for p in plan.placements)


def test_tensor_parallel_group_sits_on_one_node_when_devices_are_scattered():
    """Two free devices on two nodes are no room for TP 2."""
    wide = deployment("wide", tensor_parallel_size=2)
    closed = node("n3", is_cordoned=True)
    chat = replace(CHAT, min_replicas=3, max_replicas=3)
    plan = solved(fleet((*TWO_NODES, closed), [chat, wide], SERVING))

    assert {p.deployment for p in plan.placements} == {"chat"}
    assert plan.status is PlanStatus.INFEASIBLE
    assert plan.misfits[0].dimension in ("cordoned", "devices")


def test_replica_moves_over_when_another_needs_its_node_whole():
    """A TP 2 replica gets a whole node: what is in its way is added elsewhere first."""
    wide = deployment("wide", tensor_parallel_size=2)
    snapshot = fleet(TWO_NODES, [CHAT, wide], SERVING)
    plan = solved(snapshot)

    (remove,) = _moves(plan, MoveKind.REMOVE)
    (add,) = _moves(plan, MoveKind.ADD)
    assert (add.deployment, remove.after) == ("chat", (add.replica,))
    settled, _ = rounds(snapshot)
    assert len(where(settled, "wide")) == 1
    assert len(set(where(settled, "chat"))) == 1


def test_moves_are_bounded_when_the_round_says_so():
    """Two replicas are wanted, one move is allowed: one now, one in the next round."""
    snapshot = fleet(TWO_NODES, [CHAT], max_moves=1)
    plan = solved(snapshot)

    assert len(_moves(plan, MoveKind.ADD)) == 1
    assert "this round's 1 move is spent" in plan.misfits[0].message
    settled, count = rounds(snapshot)
    assert (where(settled, "chat"), count) == (["n1", "n2"], 2)


def test_shares_stay_when_demand_changes_a_little():
    """Noise in backlog and demand commits nothing."""
    chat = replace(CHAT, stage=Stage.ACTIVE, offline_work=500.0)
    settled, _ = rounds(fleet(TWO_NODES, [chat]))

    noisy = replace(chat, online_work=310.0, offline_work=515.0)
    assert solved(replace(settled, deployments=(noisy,))).moves == ()
    grown = replace(chat, offline_work=900.0)
    kinds = {m.kind for m in solved(replace(settled, deployments=(grown,))).moves}
    assert kinds == {MoveKind.ADJUST}


def test_plan_is_empty_when_the_fleet_is():
    """An empty fleet has a typed answer with a remedy."""
    plan = solved(fleet([], [CHAT]))

    assert plan.placements == ()
    assert plan.status is PlanStatus.INFEASIBLE
    assert "no node" in plan.misfits[0].message
    assert solved(fleet([], [])).status in (PlanStatus.OPTIMAL, PlanStatus.KEPT_INCUMBENT)
