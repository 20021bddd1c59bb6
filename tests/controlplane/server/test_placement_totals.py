"""Totals and explanations of any fleet: sums that add up, and claims that agree."""

from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.rounds.explanation import explained
from controlplane.rounds.totals import Totals, by_deployment, running, summed
from planner.interference.frontier import DEFAULT_FRONTIER
from planner.model import (
    OFFLINE_ONLY,
    Placement,
    ReplicaFrontier,
    ReplicaState,
    Slo,
    SloClass,
    Snapshot,
    Stage,
)
from planner.placement.explain import misfits
from planner.placement.explaining.differences import ChangeKind
from planner.placement.fleet import survey
from planner.placement.greedy import keep_all
from planner.placement.objective import total
from tests.controlplane.server.test_rollback_ways import fleet, node, runs, wanted, ways

TIGHT = SloClass(id="tight", slo=Slo(ttft_ms=500.0, itl_ms=50.0), online_work=600.0)
LOOSE = SloClass(id="loose", slo=Slo(ttft_ms=500.0, itl_ms=200.0), online_work=500.0)


def placed(device: int, slo_class: str = "", **shares: float) -> Placement:
    """A new replica of chat on node n1."""
    return Placement(
        replica=None, deployment="chat", node="n1", devices=(device,), slo_class=slo_class, **shares
    )


@pytest.mark.parametrize(
    ("classes", "served"),
    [
        ((), 0.0),
        (("tight",), 700.0),  # 600 tight, and 100 loose beside it
        (("loose",), 500.0),  # a loose one serves nothing tight
        (("tight", "loose"), 1100.0),
        (("", ""), 1100.0),  # of all classes
        ((OFFLINE_ONLY, OFFLINE_ONLY), 0.0),
    ],
)
def test_replica_serves_its_class_and_looser_ones_when_classes_differ(
    classes: tuple[str, ...], served: float
) -> None:
    """Of the default frontier: 700 engine-ms/s of online work a replica, in any class."""
    deployment = wanted("chat", slo_classes=(TIGHT, LOOSE), online_work=1100.0)
    known = tuple(
        ReplicaFrontier(
            deployment="chat", device_type="cpu", slo_class=one, frontier=DEFAULT_FRONTIER
        )
        for one in ("tight", "loose")
    )
    snapshot = fleet(deployments=(deployment,), nodes=(node("n1", 4),), frontiers=known)
    placements = tuple(placed(i, one) for i, one in enumerate(classes))
    totals = by_deployment(snapshot, placements)["chat"]
    assert (totals.online_work_wanted, totals.online_work_served) == (1100.0, served)


def test_offline_work_counts_when_its_stage_allows() -> None:
    """Wanted by tenants' demands where there are some; served by shares, up to what is wanted."""
    chat = wanted("chat", stage=Stage.ACTIVE, offline_work=400.0, min_offline_work=100.0)
    snapshot = fleet(deployments=(chat,), prices=(("cpu", 0.25),))
    totals = by_deployment(snapshot, (placed(0, offline_share=300.0),))["chat"]
    assert (totals.offline_work_wanted, totals.offline_work_served) == (400.0, 300.0)
    assert (totals.deadline_work_wanted, totals.deadline_work_served) == (100.0, 100.0)
    assert totals.price_per_hour == 0.25
    quiet = replace(snapshot, deployments=(replace(chat, stage=Stage.SHADOW),))
    totals = by_deployment(quiet, (placed(0, offline_share=300.0),))["chat"]
    assert (totals.offline_work_wanted, totals.offline_work_served) == (0.0, 0.0)


def test_nothing_is_served_by_what_failed_or_is_lost() -> None:
    """Kept by a plan or not."""
    chat = wanted("chat", online_work=500.0)
    snapshot = fleet(
        runs("chat-a", "n1", 0, state=ReplicaState.FAILED),
        runs("chat-b", "n2", 0),
        deployments=(chat,),
        nodes=(node("n1"), node("n2", is_ready=False)),
    )
    totals = summed(snapshot, running(snapshot), by_deployment(snapshot, running(snapshot)))
    assert (totals.online_work_served, totals.replicas, totals.nodes_used) == (0.0, 0, 0)
    assert (totals.missing_replicas, totals.nodes_ready, totals.devices_ready) == (1, 1, 2)


@settings(max_examples=100, deadline=None)
@given(ways(), st.data())
def test_totals_add_up_and_grow_with_what_is_placed(
    case: tuple[Snapshot, tuple[Placement, ...]], data: st.DataObject
) -> None:
    """Nothing is served beyond what is wanted; more replicas never serve less."""
    snapshot, _ = case
    every = running(snapshot)
    some = data.draw(st.sets(st.sampled_from(every))) if every else set()
    few = tuple(one for one in every if one in some)
    more, less = by_deployment(snapshot, every), by_deployment(snapshot, few)
    for id_, totals in more.items():
        for kind in ("online", "offline", "deadline"):
            wanted_work = getattr(totals, f"{kind}_work_wanted")
            served = getattr(totals, f"{kind}_work_served")
            assert getattr(less[id_], f"{kind}_work_served") <= served + 1e-9
            assert served <= wanted_work + 1e-9
        assert totals.replicas >= less[id_].replicas
    whole = summed(snapshot, every, more)
    for one in fields(Totals):
        if one.name not in ("nodes_used", "nodes_ready", "devices_ready"):
            each = sum(getattr(totals, one.name) for totals in more.values())
            assert getattr(whole, one.name) == pytest.approx(each)
    assert whole.devices_used <= whole.devices_ready
    assert whole.nodes_used <= whole.nodes_ready


@settings(max_examples=100, deadline=None)
@given(ways(), st.booleans())
def test_explanation_agrees_with_misfits_and_with_its_own_terms(
    case: tuple[Snapshot, tuple[Placement, ...]], is_fleet_frozen: bool
) -> None:
    """One more fits where no misfit says otherwise and the bound allows, and only there."""
    snapshot, _ = case
    for deployment in snapshot.deployments:
        said = explained(snapshot, deployment.id, is_fleet_frozen=is_fleet_frozen)
        kept = keep_all(survey(snapshot)).kept
        held = [one for one in snapshot.allocations if one.deployment == deployment.id]
        own = sum(one.replica in kept for one in held)
        why = misfits(snapshot, deployment)
        assert said.misfits == why
        more = [one for one in said.differences if one.kind is ChangeKind.ONE_MORE_REPLICA]
        fits = not why and own < deployment.max_replicas and not deployment.is_frozen
        assert [one.fits for one in more] == [fits]
        assert fits or more[0].would_fit_if
        for one in said.differences:
            assert one.objective == pytest.approx(total(one.terms))
            assert all(abs(term.value) > 0 for term in one.terms)
        ranks = [(not one.fits, one.objective) for one in said.differences]
        assert ranks == sorted(ranks), "what brings most comes first"
        served = said.totals
        if served.online_work_served < served.online_work_wanted - 1e-3:
            assert said.binding != "none"
            is_frozen = is_fleet_frozen or deployment.is_frozen
            is_full = own >= deployment.max_replicas
            nearest = why[0].dimension if why and not is_full else ""
            assert (said.binding == "frozen") == (is_frozen or nearest == "frozen")


def test_explanation_names_the_rule_when_devices_are_free_and_it_fits_nowhere() -> None:
    """Groups, anti-affinity and host memory: told as misfits with a remedy, never as fitting."""
    small = replace(node("n1", 4), host_memory_bytes=50)
    snapshot = fleet(
        runs("code-a", "n1", 0),
        nodes=(small,),
        deployments=(
            wanted("chat", node_groups=("a",), online_work=500.0),
            wanted("code", anti_affinity=("code",), online_work=1500.0),
            wanted("docs", host_memory_bytes=60, online_work=500.0),
        ),
    )
    for deployment, rule, remedy in (
        ("chat", "node_group", "label a node"),
        ("code", "anti_affinity", "add a node"),
        ("docs", "host_memory", "lower host_memory_bytes"),
    ):
        said = explained(snapshot, deployment)
        (more,) = [one for one in said.differences if one.kind is ChangeKind.ONE_MORE_REPLICA]
        assert not more.fits and more.misfit is not None
        assert (more.misfit.dimension, said.binding) == (rule, rule)
        assert remedy in more.would_fit_if
