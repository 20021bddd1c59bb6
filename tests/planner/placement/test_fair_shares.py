"""Fair shares of tenants: what they are, and that counts keep them where they can."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planner.model import BatchDemand, MoveKind, Placement, Stage, Tenant
from planner.placement.carrying import carried, short_of_shares
from planner.placement.counting import counting_of
from planner.placement.counts.claims import GUARANTEED, with_fair_shares
from planner.placement.counts.limits import Limits as SearchLimits
from planner.placement.counts.merging import merged_cells
from planner.placement.counts.problem import Entitlement, OfflineDemand
from planner.placement.counts.programme import Programme, whole
from planner.placement.counts.solver import solve_lp
from planner.placement.counts.standing import standing_of
from planner.placement.fleet import survey
from planner.placement.solve import Limits, solve
from planner.placement.verify import verify
from tests.planner.placement.drawn_counts import CELL, MODE, SHAPE, WANTED, problem_of, problems
from tests.planner.placement.fleets import batch, commit, fleet, node, settle

_FEW = settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
_LIMITS = Limits(nodes=(20,), counts=SearchLimits(parts=6, merged_parts=2, repairs=2))
_QUIET = replace(WANTED, classes=())
_NEAR = 2e-3  # of a share: the step by which a tenant has to be able to rise


def _solved(snapshot):
    """The last plan of a short solve; every one on the way passed the verifier."""
    plans = list(solve(snapshot, work_left=lambda: 1.0, limits=_LIMITS))
    assert all(verify(snapshot, plan) == () for plan in plans)
    return plans[-1]


@st.composite
def _shared(draw):
    """A drawn problem whose offline work is up to four tenants', and their weights."""
    problem = draw(problems(spare=True))
    offline = tuple(
        OfflineDemand(
            deployment=draw(st.integers(0, len(problem.wanted) - 1)),
            tenant=draw(st.integers(0, 3)),
            weight=draw(st.sampled_from([0.5, 1.0, 3.0])),
            least=draw(st.sampled_from([0.0, 0.0, 0.2])),
            most=draw(st.sampled_from([0.3, 1.0, 5.0])),
        )
        for _ in range(draw(st.integers(2, 7)))
    )
    tenants = tuple(
        Entitlement(most=draw(st.sampled_from([None, None, 0.4, 2.0])), fair=0.0) for _ in range(4)
    )
    weights = [draw(st.sampled_from([1.0, 1.0, 2.0, 0.5])) for _ in range(4)]
    return replace(problem, offline=offline, tenants=tenants), weights


def _shares(problem):
    return [one.fair / GUARANTEED for one in problem.tenants]


def _most_of(problem, tenant, floors):
    """Most claims one tenant can have while others keep `floors`, and what floors lack."""
    merged, _ = merged_cells(replace(problem, held={}, max_moves=None))
    merged = replace(merged, tenants=tuple(replace(one, fair=0.0) for one in merged.tenants))
    programme = Programme(merged, whole(merged), counts={})
    sparse = programme.sparse
    early = {
        column
        for tier in ("replica", "online", "failover", "deadline")
        for column in programme.short[tier].values()
    }
    for column in range(len(sparse.cost)):
        sparse.cost[column] = sparse.cost[column] if column in early else 0.0
    lacks = []
    for t, floor in floors.items():
        own = [(k, problem.offline[j].claim) for j, k in programme.o.items() if _is(problem, j, t)]
        lacks.append(sparse.column(cost=20.0))
        sparse.at_least([*own, (lacks[-1], 1.0)], floor)
    for j, column in programme.o.items():
        if _is(problem, j, tenant):
            sparse.cost[column] = -0.01 * problem.offline[j].claim
    values = solve_lp(sparse.proto(is_relaxed=True)).values
    got = sum(
        values[k] * problem.offline[j].claim
        for j, k in programme.o.items()
        if _is(problem, j, tenant)
    )
    return got, sum(values[k] for k in lacks)


def _is(problem, j, tenant):
    return problem.offline[j].tenant == tenant


@_FEW
@given(_shared())
def test_shares_are_the_weighted_max_min_of_what_the_fleet_carries(drawn):
    """All are attained together; none can be raised but at the cost of one with no more."""
    before, weights = drawn
    problem = with_fair_shares(before, weights)
    shares = _shares(problem)
    scale = max(1.0, *shares)

    for t in {one.tenant for one in problem.offline if one.claim > 0.0}:
        _, lacking = _most_of(problem, t, dict(enumerate(shares)))
        assert lacking <= 2 * _NEAR * scale
        level = shares[t] / weights[t]
        poorer = {
            u: share
            for u, share in enumerate(shares)
            if u != t and share / weights[u] <= level * (1.0 + _NEAR) + 1e-6
        }
        most, _ = _most_of(problem, t, {u: share * (1.0 - _NEAR) for u, share in poorer.items()})
        if sum(one.fair > 0.0 for one in problem.tenants) >= 2:
            assert shares[t] >= most - 0.02 * scale, (t, shares, most)


@_FEW
@given(_shared(), st.data())
def test_shares_are_the_same_whatever_runs_and_within_demand_and_quota(drawn, data):
    """So that solving again asks for the same; and nobody is entitled to what it may not have."""
    problem, weights = drawn
    shared = with_fair_shares(problem, weights)
    others = with_fair_shares(replace(problem, held={}, max_moves=1), weights)

    assert _shares(shared) == pytest.approx(_shares(others), abs=1e-6)
    for t, (one, share) in enumerate(zip(shared.tenants, _shares(shared), strict=True)):
        own = [demand for demand in shared.offline if demand.tenant == t]
        dearest = max((demand.claim for demand in own), default=0.0)
        wanted = sum(demand.most * demand.claim for demand in own)
        assert share <= wanted + 1e-6
        assert one.most is None or share <= one.most * dearest + 1e-6


@_FEW
@given(_shared(), st.data())
def test_nobody_is_short_of_a_share_while_another_has_more_than_its_own_of_the_same(drawn, data):
    """On replicas both could use, a share goes before what is no share, whatever the weights."""
    problem, weights = drawn
    problem = with_fair_shares(problem, weights)
    counts = {
        (c, q): data.draw(st.integers(0, problem.fits(c, q)))
        for c in range(len(problem.cells))
        for q in range(len(problem.shapes))
        if problem.fits(c, q)
    }
    found = standing_of(problem, counts)
    got = [
        sum(
            one.claim * found.offline.get(j, 0.0)
            for j, one in enumerate(problem.offline)
            if one.tenant == t
        )
        for t in range(4)
    ]
    used = [
        sum(found.offline.get(j, 0.0) for j, one in enumerate(problem.offline) if one.tenant == t)
        for t in range(4)
    ]

    for j, mine in enumerate(problem.offline):
        t = mine.tenant
        quota = problem.tenants[t].most
        if (
            got[t] >= problem.tenants[t].fair - 1e-4
            or found.offline.get(j, 0.0) >= mine.most - 1e-4
            or (quota is not None and used[t] >= quota - 1e-4)
        ):
            continue
        for k, other in enumerate(problem.offline):
            u = other.tenant
            if other.deployment == mine.deployment and u != t:
                spare = min(
                    found.offline.get(k, 0.0) - other.least, got[u] - problem.tenants[u].fair
                )
                assert spare <= 1e-3, (j, k, got, problem.tenants)


def _two(weights=(1.0, 1.0), *, quotas=(None, None), most=(5.0, 5.0), **fields):
    """One deployment of offline work on two devices, which bear 0.8 each; two tenants."""
    offline = tuple(
        OfflineDemand(deployment=0, tenant=t, weight=1.0 + 2.0 * t, least=0.0, most=each)
        for t, each in enumerate(most)
    )
    problem = problem_of(
        wanted=(_QUIET,),
        offline=offline,
        tenants=tuple(Entitlement(most=quota, fair=0.0) for quota in quotas),
        **fields,
    )
    return with_fair_shares(problem, list(weights))


@pytest.mark.parametrize(
    ("fields", "shared"),
    [
        ({}, (1.0, 1.0)),
        ({"weights": (3.0, 1.0)}, (1.5, 0.5)),
        ({"quotas": (0.2, None)}, (0.25, 1.75)),
        ({"most": (5.0, 0.4)}, (1.5, 0.5)),
        ({"weights": (0.0, 1.0)}, (0.0, 0.0)),
        ({"most": (0.1, 0.2)}, (0.125, 0.25)),
    ],
    ids=["alike", "weights", "quota", "demand", "no weight", "all fits"],
)
def test_shares_of_two_tenants_are_as_reckoned_by_hand(fields, shared):
    """In devices: two of them bear 0.8 each."""
    problem = _two(**fields)
    in_devices = [share / problem.claim_unit for share in _shares(problem)]

    assert in_devices == pytest.approx(shared, abs=1e-3)


def test_dear_work_claims_as_many_devices_as_it_takes_when_models_differ():
    """A device bears a tenth as much of the second model: shares are equal in devices."""
    heavy = replace(SHAPE, deployment=1, modes=(replace(MODE, segments=((1.0, 1.0, 0.08),)),))
    problem = problem_of(
        shapes=(SHAPE, heavy),
        wanted=(_QUIET, _QUIET),
        offline=tuple(
            OfflineDemand(deployment=d, tenant=d, weight=1.0, least=0.0, most=5.0) for d in (0, 1)
        ),
        tenants=(Entitlement(most=None, fair=0.0),) * 2,
    )
    problem = with_fair_shares(problem, [1.0, 1.0])

    in_devices = [share / problem.claim_unit for share in _shares(problem)]
    assert in_devices == pytest.approx([1.0, 1.0], abs=1e-3)


def test_a_tenant_whose_model_fits_nowhere_or_in_a_corner_lowers_nobody_elses_share():
    """Tenant 1 wants a model that no cell takes, tenants 2 and 3 share one small corner."""
    corner = replace(CELL, kind=1, slots=1)
    shapes = (SHAPE, replace(SHAPE, deployment=1), replace(SHAPE, deployment=2, kind=1))
    problem = problem_of(
        cells=(replace(CELL, slots=8), corner),
        shapes=shapes,
        wanted=(_QUIET,) * 3,
        offline=tuple(
            OfflineDemand(deployment=d, tenant=t, weight=1.0, least=0.0, most=50.0)
            for t, d in ((0, 0), (1, 1), (2, 2), (3, 2), (4, 0))
        ),
        tenants=(Entitlement(most=None, fair=0.0),) * 5,
        most={(0, 1): 0},
    )
    problem = with_fair_shares(problem, [1.0] * 5)

    in_devices = [share / problem.claim_unit for share in _shares(problem)]
    assert in_devices == pytest.approx([4.0, 0.0, 0.5, 0.5, 4.0], abs=1e-2)


def _snapshot(whose, *, weight=1.0, **fields):
    """Two models on two devices, one tenant's each; the second pays `weight` times as well."""
    demands = tuple(
        BatchDemand(
            deployment=f"d{i}",
            tenant=tenant,
            offline_work=5000.0,
            weight=1.0 if i == 0 else weight,
        )
        for i, tenant in enumerate(whose)
    )
    return fleet(
        [node("n1", devices=2)],
        [batch("d0", stage=Stage.ACTIVE), batch("d1", stage=Stage.ACTIVE)],
        batches=demands,
        **fields,
    )


def test_a_tenant_is_not_starved_when_another_pays_better():
    """Weights alone would give both devices to the dearer batches."""
    alone = _solved(_snapshot(["red", "red"], weight=4.0))
    shared = _solved(_snapshot(["red", "blue"], weight=4.0))

    assert {p.deployment for p in alone.placements} == {"d1"}
    assert {p.deployment for p in shared.placements} == {"d0", "d1"}
    assert next(t.value for t in shared.terms if t.name == "fair_shortfall") == pytest.approx(0.0)


def test_nothing_changes_when_there_is_one_tenant():
    """Its share is all there is, so there is nothing to divide."""
    counting = counting_of(survey(_snapshot(["red", "red"])))
    plain = counting_of(survey(_snapshot(["red", "red"])), has_shares=False)

    assert counting.problem == plain.problem
    weighty = _snapshot(["red", "red"], tenants=(Tenant(id="red", weight=7.0),))
    assert counting_of(survey(weighty)).problem == plain.problem


def test_outcome_says_who_lacks_of_its_share_by_how_much_and_what_binds():
    """Blue's model may have no replica: it gets nothing of its half of half the devices."""
    snapshot = _snapshot(["red", "blue"], weight=4.0)
    snapshot = replace(
        snapshot,
        deployments=(
            replace(snapshot.deployments[0], max_replicas=2),
            replace(snapshot.deployments[1], max_replicas=1),
        ),
    )
    of = survey(snapshot)
    both = [
        Placement(replica=None, deployment="d0", node="n1", devices=(0,)),
        Placement(replica=None, deployment="d0", node="n1", devices=(1,)),
    ]
    _, short = carried(of, both)
    misfits = short_of_shares(short)

    assert [(m.deployment, m.dimension) for m in misfits] == [("d1", "fair_share")]
    assert misfits[0].needed == pytest.approx(0.5, abs=1e-3)
    assert misfits[0].available == 0.0
    assert "tenant blue" in misfits[0].message
    assert "add devices" in misfits[0].message

    _, enough = carried(of, [both[0], replace(both[1], deployment="d1")])
    assert short_of_shares(enough) == ()
    assert short_of_shares(None) == ()


def test_fleets_decided_node_by_node_have_no_tenants_to_be_fair_to():
    """Whoever batches are of, they are decided in counts; a tenant without any changes nothing."""
    with_batches = _snapshot(["red", "blue"])
    plain = replace(with_batches, batches=())
    known = replace(plain, tenants=(Tenant(id="red", weight=3.0, max_offline_work=1.0),))

    assert not survey(with_batches).is_plain
    assert survey(known).is_plain
    assert _solved(known) == _solved(plain)


def test_solving_again_moves_nothing_when_shares_are_kept():
    """Shares do not follow what runs, so a plan that keeps them is at rest."""
    snapshot = _snapshot(["red", "blue"], weight=4.0)
    first = _solved(snapshot)
    rested = settle(commit(snapshot, first))
    again = _solved(rested)

    assert not any(move.kind is not MoveKind.ADJUST for move in again.moves)
    assert (
        counting_of(survey(rested)).problem.tenants == counting_of(survey(snapshot)).problem.tenants
    )
