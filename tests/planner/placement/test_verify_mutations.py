"""Every way to spoil a valid plan that a rule names, and the rule that refuses it."""

from collections.abc import Callable
from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import assume, given

from planner.model import (
    OFFLINE_ONLY,
    Desired,
    Device,
    Misfit,
    Move,
    MoveKind,
    Pin,
    Placement,
    ReplicaState,
)
from planner.placement.verify import verify
from tests.planner.placement.fleets import GIB, node, running
from tests.planner.placement.test_verify_valid import QUICK, Case, plans

Mutation = Callable[[Case], Case]
MUTATIONS: dict[str, tuple[str, Mutation]] = {}


def spoils(rule):
    """Registers a mutation with the rule that has to refuse it."""

    def register(mutate):
        MUTATIONS[mutate.__name__] = (rule, mutate)
        return mutate

    return register


def _new_chat(case, **fields):
    return case.with_placement(case.placement("chat", is_new=True), **fields)


def _kept_chat(case, **fields):
    return case.with_placement(case.placement("chat", is_new=False), **fields)


def _more(case, placement):
    return case.with_placements([*case.plan.placements, placement])


def _waiting(case, **fields):
    base = Placement(replica=None, deployment="chat", node="n0", devices=(1,), slo_class="tight")
    return replace(case, plan=replace(case.plan, waiting=(replace(base, **fields),)))


def _beside(case, *allocations):
    """More allocations of the snapshot, all of them kept."""
    rows = (*case.snapshot.allocations, *allocations)
    kept = [
        Placement(
            replica=a.replica,
            deployment=a.deployment,
            node=a.node,
            devices=a.devices,
            online_share=1.0,
            latency_budget_ms=20.0,
        )
        for a in allocations
        if a.desired is Desired.RUNNING
    ]
    grown = replace(case, snapshot=replace(case.snapshot, allocations=rows))
    return grown.with_placements([*case.plan.placements, *kept])


def _edit_allocation(case, name, **fields):
    rows = tuple(
        replace(a, **fields) if a.replica == name else a for a in case.snapshot.allocations
    )
    return replace(case, snapshot=replace(case.snapshot, allocations=rows))


def _with_moves(case, moves):
    return replace(case, plan=replace(case.plan, moves=tuple(moves)))


# ------------------------------------------------------------------ what exists


@spoils("exists")
def keeps_a_replica_that_is_not_there(case):
    return _kept_chat(case, replica="ghost")


@spoils("exists")
def keeps_a_replica_whose_removal_is_committed(case):
    return _edit_allocation(case, "r-chat", desired=Desired.STOPPED)


@spoils("stays")
def moves_a_kept_replica_to_another_node(case):
    return _kept_chat(case, node="n2", devices=(3,))


@spoils("stays")
def moves_a_kept_replica_to_another_device(case):
    return _kept_chat(case, devices=(1,))


@spoils("stays")
def turns_a_kept_replica_into_another_deployments(case):
    return _kept_chat(case, deployment="other", slo_class="")


@spoils("deployment")
def places_a_deployment_nobody_wants(case):
    wanted = tuple(d for d in case.snapshot.deployments if d.id != "chat")
    return replace(case, snapshot=replace(case.snapshot, deployments=wanted))


@spoils("node")
def places_on_a_node_that_is_gone(case):
    nodes = tuple(n for n in case.snapshot.nodes if n.id != "n1")
    return replace(case, snapshot=replace(case.snapshot, nodes=nodes))


# ------------------------------------------------------------------ where it may go


@spoils("cordon")
def adds_to_a_cordoned_node(case):
    return case.with_node("n1", is_cordoned=True)


@spoils("cordon")
def adds_to_a_draining_node(case):
    return case.with_node("n1", is_draining=True)


@spoils("cordon")
def adds_to_a_lost_node(case):
    return case.with_node("n1", is_ready=False)


@spoils("frozen")
def adds_to_a_frozen_node(case):
    return case.with_node("n1", is_frozen=True)


@spoils("frozen")
def adds_to_a_frozen_deployment(case):
    return case.with_deployment("chat", is_frozen=True)


@spoils("frozen")
def drops_from_a_frozen_node(case):
    frozen = case.with_node("n0", is_frozen=True)
    left = [p for p in case.plan.placements if p.node != "n0"]
    return frozen.with_placements(left)


@spoils("frozen")
def drops_from_a_frozen_deployment(case):
    frozen = case.with_deployment("chat", is_frozen=True)
    return frozen.with_placements([p for p in case.plan.placements if p.deployment != "chat"])


@spoils("node_group")
def adds_outside_the_node_groups(case):
    return case.with_deployment("chat", node_groups=("north", "west"))


@spoils("slo_class")
def adds_for_a_class_that_is_not_known(case):
    return _new_chat(case, slo_class="gold")


@spoils("slo_class")
def keeps_for_a_class_that_is_not_known(case):
    return _kept_chat(case, slo_class="gold")


# ------------------------------------------------------------------ what fits


@spoils("devices")
def names_a_device_the_node_lacks(case):
    return _new_chat(case, devices=(0, 7))


@spoils("devices")
def names_a_device_twice(case):
    return _new_chat(case, devices=(0, 0))


@spoils("tensor_parallel")
def has_a_size_that_is_not_allowed(case):
    return _new_chat(case, devices=(0, 1, 2))


@spoils("tensor_parallel")
def has_no_devices(case):
    return _new_chat(case, devices=())


@spoils("device_type")
def mixes_device_types(case):
    n1 = next(n for n in case.snapshot.nodes if n.id == "n1")
    other = Device(index=1, device_type="c", memory_bytes=8 * GIB)
    return case.with_node("n1", devices=(n1.devices[0], other, *n1.devices[2:]))


@spoils("device_type")
def takes_a_device_type_that_is_not_allowed(case):
    return case.with_deployment("chat", device_types=("a",))


@spoils("memory")
def does_not_fit_its_devices(case):
    return case.with_deployment("chat", weights_bytes=17 * GIB)


# ------------------------------------------------------------------ who shares a node


@spoils("exclusive")
def adds_onto_a_device_of_a_kept_replica(case):
    return _more(
        case, Placement(replica=None, deployment="chat", node="n0", devices=(0,), slo_class="tight")
    )


@spoils("exclusive")
def adds_twice_onto_one_device(case):
    return _more(
        case, Placement(replica=None, deployment="chat", node="n1", devices=(1,), slo_class="tight")
    )


@spoils("exclusive")
def adds_onto_a_device_that_is_being_freed(case):
    going = running("going", "other", "n1", 0, desired=Desired.STOPPED, state=ReplicaState.DRAINING)
    return _beside(case, going)


@spoils("exclusive")
def places_a_replica_twice(case):
    return _more(case, case.plan.placements[case.placement("chat", is_new=False)])


@spoils("host_memory")
def takes_more_host_memory_than_is_left(case):
    return case.with_deployment("batch", host_memory_bytes=GIB + 1)


@spoils("host_memory")
def takes_host_memory_that_what_leaves_still_holds(case):
    going = running("going", "batch", "n0", 1, desired=Desired.STOPPED)
    return _beside(case, going)


@spoils("anti_affinity")
def joins_a_node_with_a_forbidden_replica(case):
    return _beside(case, running("r-other", "other", "n1", 2))


@spoils("anti_affinity")
def joins_a_node_with_one_that_forbids_it(case):
    apart = case.with_deployment("chat", anti_affinity=())
    apart = apart.with_deployment("other", anti_affinity=("chat",))
    return _beside(apart, running("r-other", "other", "n1", 2))


@spoils("anti_affinity")
def has_two_of_a_deployment_that_is_apart_from_itself(case):
    return _more(case, Placement(replica=None, deployment="solo", node="n0", devices=(1,)))


# ------------------------------------------------------------------ how many


@spoils("max_replicas")
def has_more_than_max_replicas(case):
    return case.with_deployment("chat", max_replicas=2)


@spoils("max_moves")
def adds_more_than_a_round_may(case):
    most = case.snapshot.max_moves
    return replace(case, snapshot=replace(case.snapshot, max_moves=most - 1))


@spoils("pin")
def falls_short_of_a_pin_in_silence(case):
    pins = (Pin(deployment="batch", node="n0", replicas=2),)
    return replace(case, snapshot=replace(case.snapshot, pins=pins))


@spoils("pin")
def falls_short_of_a_pin_and_speaks_of_another_node(case):
    short = falls_short_of_a_pin_in_silence(case)
    return replace(short, plan=replace(short.plan, misfits=(_misfit("pin", "batch", "n1"),)))


# ------------------------------------------------------------------ what it carries


@spoils("shares")
def has_shares_that_do_not_add_up(case):
    index = case.placement("chat", is_new=False)
    return case.with_placement(index, online_share=case.plan.placements[index].online_share + 0.5)


@spoils("shares")
def has_a_negative_online_share(case):
    return _kept_chat(case, online_share=-0.1)


@spoils("shares")
def has_a_negative_offline_share(case):
    return _kept_chat(case, offline_share=-1.0)


@spoils("shares")
def has_an_online_share_that_is_no_number(case):
    return _kept_chat(case, online_share=nan)


@spoils("shares")
def has_an_offline_share_that_is_no_number(case):
    return _kept_chat(case, offline_share=nan)


@spoils("shares")
def has_an_infinite_offline_share(case):
    return _kept_chat(case, offline_share=inf)


@spoils("budget")
def has_no_latency_budget(case):
    return _kept_chat(case, latency_budget_ms=0.0)


@spoils("budget")
def has_a_latency_budget_that_is_no_number(case):
    return _kept_chat(case, latency_budget_ms=nan)


@spoils("frontier")
def carries_more_offline_work_than_it_bears(case):
    index = case.placement("batch", is_new=True)
    return case.with_placement(index, offline_share=1.01 * 900.0)


@spoils("frontier")
def carries_online_work_beyond_its_class(case):
    """A loose replica bears 0.8 * 800 on type a; the tight class 0.8 * 500."""
    indices = [i for i, p in enumerate(case.plan.placements) if p.slo_class == "loose"]
    index = next(i for i in indices if case.plan.placements[i].node == "n2")
    chat = next(d for d in case.snapshot.deployments if d.id == "chat")
    served = sum(one.online_work for one in chat.slo_classes)
    assume(case.plan.placements[index].online_share * served > 0.8 * 500.0 * 1.01)
    return case.with_placement(index, slo_class="tight")


@spoils("slo_class")
def serves_a_tight_class_from_loose_replicas(case):
    chat = next(d for d in case.snapshot.deployments if d.id == "chat")
    loose = sum(p.online_share for p in case.plan.placements if p.slo_class == "loose")
    online = [p for p in case.plan.placements if p.deployment == "chat" and p.online_share]
    assume(loose > 0.03 * len(online))
    tight, rest = chat.slo_classes
    whole = tight.online_work + rest.online_work
    return case.with_deployment(
        "chat",
        slo_classes=(replace(tight, online_work=whole), replace(rest, online_work=0.0)),
    )


@spoils("slo_class")
def gives_an_online_share_to_an_offline_only_replica(case):
    return case.with_placement(case.placement("batch", is_new=True), online_share=0.5)


# ------------------------------------------------------------------ offline work


def _offline(case, of):
    return sum(p.offline_share for p in case.plan.placements if p.deployment == of)


@spoils("stage")
def runs_offline_work_before_its_stage(case):
    assume(_offline(case, "batch") > 0.0)
    chat = next(d for d in case.snapshot.deployments if d.id == "other")
    return case.with_deployment("batch", stage=chat.stage)


@spoils("demand")
def runs_offline_work_nobody_wants(case):
    many = sum(p.deployment == "solo" for p in case.plan.placements)
    assume(0.85 * _offline(case, "solo") > 10.0 * many)
    return case.with_deployment("solo", offline_work=0.0)


@spoils("quota")
def runs_more_of_its_batches_than_is_wanted(case):
    assume(0.85 * _offline(case, "batch") > 20.0)
    batches = tuple(replace(b, offline_work=0.0) for b in case.snapshot.batches)
    return replace(case, snapshot=replace(case.snapshot, batches=batches))


@spoils("quota")
def exceeds_the_quotas_together(case):
    carried = _offline(case, "batch") + _offline(case, "chat")
    assume(carried > 0.0)
    tenants = tuple(
        replace(tenant, max_offline_work=0.49 * carried) for tenant in case.snapshot.tenants
    )
    return replace(case, snapshot=replace(case.snapshot, tenants=tenants))


@spoils("quota")
def exceeds_the_quota_of_the_only_tenant_that_wants_it(case):
    """Both quotas together would do, but t1 wants nothing of batch."""
    carried = _offline(case, "batch")
    assume(carried > 100.0)
    batches = tuple(
        replace(b, offline_work=carried if (b.tenant, b.deployment) == ("t0", "batch") else 1e5)
        for b in case.snapshot.batches
        if (b.tenant, b.deployment) != ("t1", "batch")
    )
    tenants = tuple(
        replace(tenant, max_offline_work=0.99 * carried if tenant.id == "t0" else None)
        for tenant in case.snapshot.tenants
    )
    return replace(case, snapshot=replace(case.snapshot, batches=batches, tenants=tenants))


# ------------------------------------------------------------------ what waits


@spoils("exclusive")
def waits_for_a_device_that_is_not_to_go(case):
    return _waiting(case, devices=(0,))


@spoils("cordon")
def waits_for_a_cordoned_node(case):
    nodes = (*case.snapshot.nodes, node("closed", is_cordoned=True))
    wider = replace(case, snapshot=replace(case.snapshot, nodes=nodes))
    return _waiting(wider, node="closed")


@spoils("anti_affinity")
def waits_for_a_node_it_is_to_be_apart_from(case):
    return _waiting(case, deployment="solo", slo_class="", devices=(1,))


@spoils("host_memory")
def waits_for_host_memory_that_is_planned(case):
    return _waiting(case, deployment="batch", slo_class=OFFLINE_ONLY)


# ------------------------------------------------------------------ moves


@spoils("moves")
def adds_without_a_move(case):
    first = next(m for m in case.plan.moves if m.kind is MoveKind.ADD)
    return _with_moves(case, [m for m in case.plan.moves if m is not first])


@spoils("moves")
def adds_with_two_moves(case):
    return _with_moves(case, [*case.plan.moves, case.plan.moves[0]])


@spoils("moves")
def drops_without_a_move(case):
    return replace(
        case,
        plan=replace(
            case.plan,
            placements=tuple(p for p in case.plan.placements if p.replica != "r-chat"),
        ),
    )


@spoils("moves")
def removes_what_it_keeps(case):
    move = Move(group=1, kind=MoveKind.REMOVE, replica="r-chat", deployment="chat", node="n0")
    return _with_moves(case, [*case.plan.moves, move])


@spoils("moves")
def waits_for_a_replica_that_is_not_planned(case):
    first, *rest = case.plan.moves
    return _with_moves(case, [replace(first, after=("ghost",)), *rest])


@spoils("moves")
def says_another_node_than_it_plans(case):
    first, *rest = case.plan.moves
    return _with_moves(case, [replace(first, node="n9"), *rest])


@spoils("moves")
def adjusts_what_it_does_not_keep(case):
    move = Move(group=1, kind=MoveKind.ADJUST, replica="ghost", deployment="chat", node="n0")
    return _with_moves(case, [*case.plan.moves, move])


# ------------------------------------------------------------------ the tests


@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_verify_names_the_rule_when_a_valid_plan_is_spoilt(name):
    """Style 22: whatever fleet is drawn, the one change is refused by the rule it breaks."""
    rule, mutate = MUTATIONS[name]

    @QUICK
    @given(plans())
    def spoilt(case):
        assert case.rules() == set()
        assert rule in mutate(case).rules()

    spoilt()


def _misfit(dimension, of, where=None):
    return Misfit(
        deployment=of,
        node=where,
        dimension=dimension,
        needed=2.0,
        available=1.0,
        message="short; add nodes",
    )


@QUICK
@given(plans())
def test_verify_passes_a_plan_short_of_a_pin_when_it_says_so(case):
    """A misfit of that deployment and node with dimension pin."""
    short = falls_short_of_a_pin_in_silence(case)
    told = replace(short, plan=replace(short.plan, misfits=(_misfit("pin", "batch", "n0"),)))
    assert told.rules() == set()


@QUICK
@given(plans())
def test_verify_passes_a_drop_from_what_is_frozen_when_nothing_could_stay(case):
    """A removal committed before, a node that is gone, a broken replica on a draining node."""
    others = [p for p in case.plan.placements if p.node != "n0" and p.deployment != "chat"]
    frozen = case.with_node("n0", is_frozen=True).with_placements(others)
    assert "frozen" in frozen.rules()

    for row in case.snapshot.allocations:
        frozen = _edit_allocation(frozen, row.replica, desired=Desired.STOPPED)
    frozen = frozen.with_placements([])
    assert "frozen" not in frozen.rules()
    broken = case.with_node("n0", is_frozen=True, is_draining=True, is_ready=False)
    assert "frozen" not in {v.rule for v in verify(broken.snapshot, frozen.plan)}


@QUICK
@given(plans())
def test_verify_judges_memory_by_the_size_of_each_replica(case):
    """What fits two devices each with half of it does not fit one."""
    heavy = case.with_deployment("chat", weights_bytes=7 * GIB, kv_cache_bytes=GIB)
    for one in case.snapshot.nodes:
        devices = tuple(replace(d, memory_bytes=4 * GIB) for d in one.devices)
        heavy = heavy.with_node(one.id, devices=devices)

    refused = {v.subject for v in verify(heavy.snapshot, heavy.plan) if v.rule == "memory"}

    assert refused == {
        f"new:{i}"
        for i, p in enumerate(case.plan.placements)
        if p.replica is None and p.deployment == "chat" and len(p.devices) == 1
    }
    assert f"new:{case.placement('chat', is_new=True)}" not in refused  # over two devices
