"""Explanations by small changes: the part that is evaluated stands for the whole fleet."""

from dataclasses import dataclass, replace
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.model import (
    Allocation,
    BatchDemand,
    Desired,
    Placement,
    Plan,
    PlanStatus,
    ReplicaState,
    Stage,
    Tenant,
)
from planner.placement import carrying
from planner.placement.counting import Counting, counting_of
from planner.placement.counts.standing import standing_of
from planner.placement.explaining.differences import (
    ChangeKind,
    best_seat,
    differences,
    is_full,
)
from planner.placement.explaining.nodefit import misfits
from planner.placement.explaining.scope import Worth, scope_of
from planner.placement.fleet import Fleet, survey
from planner.placement.greedy import keep_all
from planner.placement.objective import evaluate, total
from planner.placement.seats import by_type, choose_devices
from planner.placement.verify import verify
from tests.planner.placement.fleets import batch, deployment, fleet, node, running
from tests.planner.placement.rich_fleets import rich_fleets
from tests.planner.placement.test_placement_properties import snapshots

SCOPE = "planner.placement.explaining.scope"
ANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def asked(scope, wanted, *, at=None):
    """Differences by what they are about."""
    why = misfits(scope.whole, wanted, only=at)
    found = differences(scope, scope.base(), wanted, node=at, why=why)
    return {
        (one.kind, one.fits, one.change.split(" on node ")[0].split(" replica ")[0]): one
        for one in found
    }


def evaluated_whole(scope):
    """The same scope whose part is all: every draft is evaluated as a round does."""
    counting = scope._sharing.counting if scope._sharing is not None else None

    def measure_of(of, _sharing, *, is_plain):
        return WholeMeasure(fleet=of, is_plain=is_plain, entitled=counting)

    return replace(scope, _part=scope.whole), mock.patch(f"{SCOPE}._measure_of", measure_of)


@dataclass(frozen=True, kw_only=True)
class WholeMeasure:
    """The objective of a round, tenants entitled to what they are in another counting."""

    fleet: Fleet
    is_plain: bool
    entitled: Counting | None

    def worth(self, draft):
        if self.is_plain:
            return Worth(terms=evaluate(self.fleet, draft))
        counting = counting_of(self.fleet, has_shares=False)
        problem = counting.problem
        if self.entitled is not None:
            known = self.entitled.problem
            claims = {self.entitled.deployments[one.deployment]: one.claim for one in known.offline}
            problem = replace(
                problem,
                tenants=known.tenants,
                offline=tuple(
                    replace(one, claim=claims[counting.deployments[one.deployment]])
                    for one in problem.offline
                ),
            )
        counting = replace(counting, problem=problem)
        standing = standing_of(problem, counting.count(self.fleet, draft))
        terms = carrying.terms_of(counting, standing)
        return Worth(terms=evaluate(self.fleet, draft, work_terms=terms))


@st.composite
def contended(draw):
    """Fleets whose deployments all have batches of two tenants, mostly more than they carry."""
    snapshot = draw(rich_fleets(nodes=5))
    return replace(
        snapshot,
        deployments=tuple(
            replace(one, stage=Stage.ACTIVE, generation=1) for one in snapshot.deployments
        ),
        allocations=tuple(
            replace(one, state=ReplicaState.RUNNING) if draw(st.booleans()) else one
            for one in snapshot.allocations
        ),
        batches=tuple(
            BatchDemand(
                deployment=one.id,
                tenant=tenant,
                offline_work=draw(st.sampled_from([200.0, 1500.0, 5000.0])),
                min_offline_work=draw(st.sampled_from([0.0, 200.0])),
                weight=draw(st.sampled_from([0.5, 1.0, 3.0])),
            )
            for one in snapshot.deployments
            for tenant in ("red", "blue")
        ),
        device_cost=draw(st.sampled_from([0.0, 0.0, 0.5])),
    )


@settings(ANY, max_examples=40)  # linear programmes, some twenty an example
@given(st.one_of(rich_fleets(nodes=7), contended()))
def test_difference_on_the_part_is_that_on_the_whole_fleet(snapshot):
    """Same changes, same effect, up to the solver's gap, in fleets of every kind."""
    for wanted in snapshot.deployments:
        part = scope_of(snapshot, wanted.id)
        few = asked(part, wanted)
        whole, patch = evaluated_whole(part)
        with patch:
            slack = 1e-3 + 2e-5 * abs(total(whole.base().worth.terms))
            all_ = asked(whole, wanted)
        assert few.keys() == all_.keys()
        for key, one in few.items():
            assert one.objective == pytest.approx(all_[key].objective, abs=slack), key
            assert one.would_fit_if == all_[key].would_fit_if


@settings(ANY, max_examples=40)
@given(contended())
def test_difference_has_fair_shares_in_it_as_the_objective_of_a_round_has(snapshot):
    """One replica less, by the objective that plans are compared by, shares found anew."""
    whole = survey(snapshot)
    kept = keep_all(whole)
    before = evaluate(whole, kept)
    slack = 1e-3 + 2e-5 * abs(total(before))
    for wanted in snapshot.deployments:
        for (kind, _, change), one in asked(scope_of(snapshot, wanted.id), wanted).items():
            if kind is not ChangeKind.ONE_LESS_REPLICA:
                continue
            replica = one.change.removeprefix("without replica ")
            after = evaluate(whole, replace(kept, kept=kept.kept - {replica}))
            assert one.objective == pytest.approx(total(after) - total(before), abs=slack), change


def test_one_more_replica_brings_a_fair_share_when_its_tenant_lacks_one():
    """Both devices are red's; half of one is guaranteed to blue, whose batches weigh less."""
    specs = [batch("d0", stage=Stage.ACTIVE), batch("d1", stage=Stage.ACTIVE)]
    snapshot = fleet(
        [node("n1", devices=3)],
        specs,
        [running(f"r{i}", "d0", "n1", i) for i in range(2)],
        batches=tuple(
            BatchDemand(deployment=f"d{i}", tenant=tenant, offline_work=5000.0, weight=weight)
            for i, (tenant, weight) in enumerate([("red", 4.0), ("blue", 1.0)])
        ),
    )
    found = {key[0]: one for key, one in asked(scope_of(snapshot, "d1"), specs[1]).items()}
    terms = {one.name: one.value for one in found[ChangeKind.ONE_MORE_REPLICA].terms}
    problem = counting_of(survey(snapshot)).problem
    lacking = next(one.fair for one in problem.tenants if one.fair > 0.0)
    assert terms["fair_shortfall"] == pytest.approx(-lacking, rel=1e-3)


@ANY
@given(snapshots())
def test_difference_is_the_objective_with_less_without_when_the_fleet_is_plain(snapshot):
    """By the objective a round minimises, on the whole fleet, term by term."""
    whole = survey(snapshot)
    kept = keep_all(whole)
    before = {one.name: one.value for one in evaluate(whole, kept)}
    for wanted in snapshot.deployments:
        base = scope_of(snapshot, wanted.id).base()
        found = None if is_full(base, wanted) else best_seat(base, wanted, None)
        if found is None:
            continue
        seat, terms = found
        after = evaluate(whole, replace(kept, new=(seat,)))
        changed = {one.name: one.value - before[one.name] for one in after}
        told = {one.name: one.value for one in terms}
        for name, value in changed.items():
            assert told.get(name, 0.0) == pytest.approx(value, abs=2e-6), name


def test_opened_node_serves_others_again_when_they_share_a_quota():
    """What d0 carries there once it no longer drains is all that red's quota allows."""
    specs = [batch("d0", stage=Stage.ACTIVE), batch("d1", stage=Stage.ACTIVE)]
    snapshot = fleet(
        [node("n1", devices=2, is_cordoned=True, is_draining=True)],
        specs,
        [running("r", "d0", "n1", 0)],
        tenants=(Tenant(id="red", max_offline_work=500.0),),
        batches=tuple(
            BatchDemand(deployment=one.id, tenant="red", offline_work=5000.0) for one in specs
        ),
    )
    found = {key[0]: one for key, one in asked(scope_of(snapshot, "d1"), specs[1]).items()}
    opened = {one.name: one.value for one in found[ChangeKind.NODE_OPENED].terms}
    assert opened["moves"] > 0.0
    assert "offline_work" not in opened


def refused(snapshot, placement):
    """Rules that one more replica breaks by where it sits, by the verifier."""
    kept = tuple(
        Placement(replica=a.replica, deployment=a.deployment, node=a.node, devices=a.devices)
        for a in snapshot.allocations
        if a.replica in keep_all(survey(snapshot)).kept
    )
    plan = Plan(
        base_revision=snapshot.revision,
        status=PlanStatus.FEASIBLE,
        solver="",
        objective=0.0,
        bound=0.0,
        terms=(),
        placements=(*kept, placement),
        moves=(),
    )
    rules = ("moves", "max_replicas")
    return [
        one.rule
        for one in verify(snapshot, plan)
        if (one.subject == f"new:{len(kept)}" and one.rule not in rules)
        or (one.subject == placement.node and one.rule == "host_memory")
    ]


@ANY
@given(rich_fleets())
def test_node_has_a_misfit_when_the_verifier_lets_no_seat_through(snapshot):
    """Node by node; a node where a replica failed is avoided, not forbidden."""
    whole = survey(snapshot)
    for wanted in snapshot.deployments:
        if wanted.is_frozen:
            continue
        for place in snapshot.nodes:
            held = {
                index
                for a in whole.allocations.values()
                if a.node == place.id
                for index in a.devices
            }
            free = frozenset(d.index for d in place.devices) - held
            passed = False
            for size in wanted.tensor_parallel_sizes:
                shaped = replace(wanted, tensor_parallel_size=size)
                for kind in by_type(place, free, shaped).values():
                    devices = choose_devices(kind, size)
                    if devices is not None:
                        new = Placement(
                            replica=None, deployment=wanted.id, node=place.id, devices=devices
                        )
                        passed = passed or not refused(snapshot, new)
            found = misfits(snapshot, wanted, only=place.id)
            if [one.dimension for one in found] != ["capacity"]:
                assert bool(found) != passed, found


def test_part_is_small_when_the_fleet_is_large():
    """Of nodes alike that hold none of it, one; of other deployments none."""
    nodes = [node(f"n{i:04d}", devices=8, failure_domain=f"x{i % 4}") for i in range(2000)]
    specs = [deployment(f"d{i}", max_replicas=500, online_work=9000.0) for i in range(20)]
    rows = [
        Allocation(
            replica=f"r{i}",
            deployment=f"d{i % 20}",
            node=f"n{i // 2:04d}",
            devices=(i % 2,),
            state=ReplicaState.RUNNING,
        )
        for i in range(3000)
    ]
    part = scope_of(fleet(nodes, specs, rows), "d7").base().fleet
    assert list(part.deployments) == ["d7"]
    assert len(part.nodes) <= 150 + 8  # its own, and four domains of two kinds
    assert len(part.of("d7")) == 150


def test_device_comes_free_when_a_removal_is_decided():
    """The remedy is to wait, not to add a node."""
    wanted = deployment("chat", max_replicas=2)
    rows = [
        Allocation(
            replica="code-a",
            deployment="code",
            node="n1",
            devices=(0,),
            state=ReplicaState.RUNNING,
            desired=Desired.STOPPED,
        )
    ]
    snapshot = fleet([node("n1", devices=1)], [wanted, deployment("code")], rows)
    (misfit,) = misfits(snapshot, wanted)
    assert misfit.dimension == "devices"
    assert misfit.message.endswith("wait until replica code-a has stopped, which is decided")


def test_frozen_node_is_named_frozen_when_it_would_fit():
    """Not cordoned: another command opens it."""
    (misfit,) = misfits(fleet([node("n1", is_frozen=True)], []), deployment("chat"))
    assert (misfit.dimension, misfit.node) == ("frozen", "n1")
    assert "thaw it" in misfit.message


def test_node_fits_when_another_replica_size_does():
    """Four devices are wanted, two are allowed and free."""
    wanted = deployment("chat", tensor_parallel_size=4, other_tensor_parallel_sizes=(2,))
    snapshot = fleet([node("n1", devices=2)], [wanted])
    assert misfits(snapshot, wanted) == ()
    found = best_seat(scope_of(snapshot, "chat").base(), wanted, None)
    assert found is not None and found[0].devices == (0, 1)
