"""Ways to load replicas, to wait and to move that a rule names, and the rule that refuses them."""

from dataclasses import replace
from math import inf, nan

import pytest
from hypothesis import assume

from planner.model import OFFLINE_ONLY, Move, MoveKind, Placement
from tests.planner.placement.fleets import node, running
from tests.planner.placement.test_verify_cases import Spoilers
from tests.planner.placement.test_verify_valid import plans

SPOILERS = Spoilers()


def _kept_chat(case, **fields):
    return case.with_placement(case.placement("chat", is_new=False), **fields)


def _waiting(case, **fields):
    base = Placement(replica=None, deployment="chat", node="n0", devices=(1,), slo_class="tight")
    return replace(case, plan=replace(case.plan, waiting=(replace(base, **fields),)))


# ------------------------------------------------------------------ what it carries


@SPOILERS.by("shares")
def has_shares_that_do_not_add_up(case):
    index = case.placement("chat", is_new=False)
    return case.with_placement(index, online_share=case.plan.placements[index].online_share + 0.5)


@SPOILERS.by("shares")
def has_many_shares_that_are_each_a_little_short(case):
    """A fleet of replicas, each within the allowance of one, together far from whole."""
    one = case.plan.placements[case.placement("solo", is_new=False)]
    nodes = [node(f"m{i}", kind="a", devices=3) for i in range(20)]
    held = [running(f"m{i}", "solo", f"m{i}", 2) for i in range(20)]
    share = 0.85 / (20 + sum(p.deployment == "solo" for p in case.plan.placements))
    wide = replace(
        case,
        snapshot=replace(
            case.snapshot,
            nodes=(*case.snapshot.nodes, *nodes),
            allocations=(*case.snapshot.allocations, *held),
        ),
    ).with_deployment("solo", max_replicas=40)
    many = [replace(one, replica=a.replica, node=a.node, offline_share=0.0) for a in held]
    return wide.with_placements(
        [
            replace(p, online_share=share) if p.deployment == "solo" else p
            for p in (*case.plan.placements, *many)
        ]
    )


@SPOILERS.by("shares")
def has_a_negative_online_share(case):
    return _kept_chat(case, online_share=-0.1)


@SPOILERS.by("shares")
def has_a_negative_offline_share(case):
    return _kept_chat(case, offline_share=-1.0)


@SPOILERS.by("shares")
def has_an_online_share_that_is_no_number(case):
    return _kept_chat(case, online_share=nan)


@SPOILERS.by("shares")
def has_an_offline_share_that_is_no_number(case):
    return _kept_chat(case, offline_share=nan)


@SPOILERS.by("shares")
def has_an_infinite_offline_share(case):
    return _kept_chat(case, offline_share=inf)


@SPOILERS.by("budget")
def has_no_latency_budget(case):
    return _kept_chat(case, latency_budget_ms=0.0)


@SPOILERS.by("budget")
def has_a_latency_budget_that_is_no_number(case):
    return _kept_chat(case, latency_budget_ms=nan)


@SPOILERS.by("frontier")
def carries_more_offline_work_than_it_bears(case):
    index = case.placement("batch", is_new=True)
    return case.with_placement(index, offline_share=1.01 * 900.0)


@SPOILERS.by("frontier")
def carries_online_work_beyond_its_class(case):
    """A loose replica bears 0.8 * 800 on type a; the tight class 0.8 * 500."""
    indices = [i for i, p in enumerate(case.plan.placements) if p.slo_class == "loose"]
    index = next(i for i in indices if case.plan.placements[i].node == "n2")
    chat = next(d for d in case.snapshot.deployments if d.id == "chat")
    served = sum(one.online_work for one in chat.slo_classes)
    assume(case.plan.placements[index].online_share * served > 0.8 * 500.0 * 1.01)
    return case.with_placement(index, slo_class="tight")


@SPOILERS.by("frontier")
def hides_load_in_shares_that_sum_to_less(case):
    """The gateway weighs shares against their sum: at its limit a replica carries more."""
    index = case.placement("solo", is_new=False)
    own = [p for p in case.plan.placements if p.deployment == "solo"]
    assume(len(own) == 2)
    other = next(i for i, p in enumerate(case.plan.placements) if p in own and i != index)
    limits = [0.8 * 700.0 * (2.0 if int(p.node[1:]) % 2 else 1.0) for p in own]
    work = sum(limits) * 0.9
    spoilt = case.with_deployment("solo", online_work=work)
    share = 0.99 * limits[0] / work  # of 0.97: 2 % more than it bears
    spoilt = spoilt.with_placement(index, online_share=share, offline_share=0.0)
    return spoilt.with_placement(other, online_share=0.97 - share, offline_share=0.0)


@SPOILERS.by("slo_class")
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


@SPOILERS.by("slo_class")
def gives_an_online_share_to_an_offline_only_replica(case):
    return case.with_placement(case.placement("batch", is_new=True), online_share=0.5)


# ------------------------------------------------------------------ offline work


def _offline(case, of):
    return sum(p.offline_share for p in case.plan.placements if p.deployment == of)


@SPOILERS.by("stage")
def runs_offline_work_before_its_stage(case):
    assume(_offline(case, "batch") > 0.0)
    chat = next(d for d in case.snapshot.deployments if d.id == "other")
    return case.with_deployment("batch", stage=chat.stage)


@SPOILERS.by("demand")
def runs_offline_work_nobody_wants(case):
    many = sum(p.deployment == "solo" for p in case.plan.placements)
    assume(0.85 * _offline(case, "solo") > 10.0 * many)
    return case.with_deployment("solo", offline_work=0.0)


@SPOILERS.by("quota")
def runs_more_of_its_batches_than_is_wanted(case):
    assume(0.85 * _offline(case, "batch") > 20.0)
    batches = tuple(replace(b, offline_work=0.0) for b in case.snapshot.batches)
    return replace(case, snapshot=replace(case.snapshot, batches=batches))


@SPOILERS.by("quota")
def exceeds_the_quotas_together(case):
    carried = _offline(case, "batch") + _offline(case, "chat")
    assume(carried > 0.0)
    tenants = tuple(
        replace(tenant, max_offline_work=0.49 * carried) for tenant in case.snapshot.tenants
    )
    return replace(case, snapshot=replace(case.snapshot, tenants=tenants))


@SPOILERS.by("quota")
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


@SPOILERS.by("exclusive")
def waits_for_a_device_that_is_not_to_go(case):
    return _waiting(case, devices=(0,))


@SPOILERS.by("cordon")
def waits_for_a_cordoned_node(case):
    nodes = (*case.snapshot.nodes, node("closed", is_cordoned=True))
    wider = replace(case, snapshot=replace(case.snapshot, nodes=nodes))
    return _waiting(wider, node="closed")


@SPOILERS.by("anti_affinity")
def waits_for_a_node_it_is_to_be_apart_from(case):
    return _waiting(case, deployment="solo", slo_class="", devices=(1,))


@SPOILERS.by("host_memory")
def waits_for_host_memory_that_is_planned(case):
    return _waiting(case, deployment="batch", slo_class=OFFLINE_ONLY)


# ------------------------------------------------------------------ moves


@SPOILERS.by("moves")
def adds_without_a_move(case):
    first = next(m for m in case.plan.moves if m.kind is MoveKind.ADD)
    return case.with_moves([m for m in case.plan.moves if m is not first])


@SPOILERS.by("moves")
def adds_with_two_moves(case):
    return case.with_moves([*case.plan.moves, case.plan.moves[0]])


@SPOILERS.by("moves")
def drops_without_a_move(case):
    return replace(
        case,
        plan=replace(
            case.plan,
            placements=tuple(p for p in case.plan.placements if p.replica != "r-chat"),
        ),
    )


@SPOILERS.by("moves")
def removes_what_it_keeps(case):
    move = Move(group=1, kind=MoveKind.REMOVE, replica="r-chat", deployment="chat", node="n0")
    return case.with_moves([*case.plan.moves, move])


@SPOILERS.by("moves")
def waits_for_a_replica_that_is_not_planned(case):
    first, *rest = case.plan.moves
    return case.with_moves([replace(first, after=("ghost",)), *rest])


@SPOILERS.by("moves")
def says_another_node_than_it_plans(case):
    first, *rest = case.plan.moves
    return case.with_moves([replace(first, node="n9"), *rest])


@SPOILERS.by("moves")
def adjusts_what_it_does_not_keep(case):
    move = Move(group=1, kind=MoveKind.ADJUST, replica="ghost", deployment="chat", node="n0")
    return case.with_moves([*case.plan.moves, move])


@pytest.mark.parametrize("name", SPOILERS.names)
def test_verify_names_the_rule_when_a_plan_says_what_cannot_be(name):
    """Style 22: whatever fleet is drawn, the one change is refused by the rule it breaks."""
    SPOILERS.refuse(name, plans())
