"""Devices that cost something: given back where nobody needs them, and by nothing else."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from planner.model import BatchDemand, Desired, MoveKind, ReplicaFrontier, ReplicaState, Stage
from planner.placement.counts.limits import Limits as SearchLimits
from planner.placement.counts.problem import Entitlement
from planner.placement.counts.reserve import DEMAND_TOLERANCE, is_borne
from planner.placement.counts.standing import standing_of
from planner.placement.fleet import survey
from planner.placement.solve import Limits, solve
from planner.placement.verify import verify
from planner.placement.weights import WEIGHTS, weights_at
from tests.planner.placement.drawn_counts import all_counts, problems
from tests.planner.placement.fleets import batch, commit, deployment, fleet, node, running, settle
from tests.planner.placement.rich_fleets import curve, rich_fleets

_QUICK = Limits(
    nodes=(20,), counts=SearchLimits(parts=6, merged_parts=1, prices=4, repairs=2, last_nodes=40)
)
_SOME = settings(
    max_examples=40,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
_TIERS = ("replica_shortfall", "online_shortfall", "failover_shortfall", "deadline_shortfall")
_COSTS = st.sampled_from([0.02, 0.3, 1.0, 8.0])
_DEAR = 20.0  # a device is worth more than all offline work there is

# One replica bears 700 engine-ms per second of online work: `DEFAULT_FRONTIER`.
BULK = batch("bulk", max_replicas=4)


@pytest.fixture(autouse=True)
def _nothing_refused(caplog):
    yield
    assert "placement_plan_refused" not in caplog.text
    assert "placement_solver_failed" not in caplog.text


def _last(snapshot):
    *_, plan = solve(snapshot, work_left=lambda: 1.0, limits=_QUICK)
    assert verify(snapshot, plan) == ()
    return plan


def _changes(snapshot, plan=None):
    """Moves that add or remove."""
    plan = plan or _last(snapshot)
    return [move for move in plan.moves if move.kind is not MoveKind.ADJUST]


def _after(snapshot):
    return settle(commit(snapshot, _last(snapshot)))


def _at_rest(snapshot, *, at_most=16):
    for _ in range(at_most):
        plan = _last(snapshot)
        if not _changes(snapshot, plan):
            return snapshot
        snapshot = settle(commit(snapshot, plan))
    raise AssertionError(f"still moving after {at_most} rounds")


def _scaled(snapshot, factor, *, online=1.0):
    """What deadlines rest on times a factor, and requests' work times that and `online`."""
    more = factor * online
    return replace(
        snapshot,
        deployments=tuple(
            replace(
                d,
                online_work=d.online_work * more,
                min_offline_work=d.min_offline_work * factor,
                slo_classes=tuple(
                    replace(one, online_work=one.online_work * more) for one in d.slo_classes
                ),
            )
            for d in snapshot.deployments
        ),
        batches=tuple(
            replace(one, min_offline_work=one.min_offline_work * factor) for one in snapshot.batches
        ),
    )


def _count(snapshot, of):
    return sum(a.deployment == of and a.desired is Desired.RUNNING for a in snapshot.allocations)


def _terms(plan):
    return {term.name: term.value for term in plan.terms}


def test_weights_are_as_ever_when_devices_are_free():
    """No term of its own, and none raised."""
    assert weights_at(0.0) is WEIGHTS
    assert not {"devices", "reserve_shortfall"} & {
        term.name for term in _last(fleet([node("n1")], [BULK])).terms
    }


@pytest.mark.parametrize("tenants", [1, 2])
def test_offline_work_holds_no_device_when_it_is_worth_less(tenants):
    """At no cost it fills the fleet; at one beyond its worth what runs of it is given back."""
    spec = replace(BULK, min_offline_work=0.0)
    batches = tuple(
        BatchDemand(deployment="bulk", tenant=f"t{i}", offline_work=50_000.0)
        for i in range(tenants)
    )
    free = fleet([node("n1"), node("n2")], [spec], batches=batches)
    full = _at_rest(free)
    assert _count(full, "bulk") == 4

    empty = _at_rest(replace(full, device_cost=_DEAR))
    assert _count(empty, "bulk") == 0
    assert not _changes(replace(free, device_cost=_DEAR))
    assert _count(_at_rest(replace(free, device_cost=0.5)), "bulk") == 4, "worth its devices"


def test_tiers_above_hold_devices_at_any_cost():
    """min_replicas, online work, failover and deadlines each hold what they need."""
    least = deployment("least", min_replicas=1, max_replicas=2)
    online = deployment("online", min_replicas=0, online_work=710.0)
    due = deployment(
        "due",
        min_replicas=0,
        stage=Stage.ACTIVE,
        offline_work=20.0,
        min_offline_work=20.0,
    )
    spare = deployment("spare", min_replicas=0, online_work=300.0, failover_ratio=1.0)
    nodes = [node("n1", devices=4), node("n2", devices=4)]
    snapshot = _at_rest(fleet(nodes, [least, online, due, spare], device_cost=_DEAR))

    assert {name: _count(snapshot, name) for name in ("least", "online", "due", "spare")} == {
        "least": 1,
        "online": 2,
        "due": 1,
        "spare": 2,
    }
    plan = _last(snapshot)
    assert all(_terms(plan)[tier] == pytest.approx(0.0, abs=1e-6) for tier in _TIERS)
    assert _terms(plan)["devices"] == pytest.approx(6.0)


@pytest.mark.parametrize(("price", "kind"), [(1.5, "fast"), (2.5, "slow")])
def test_type_is_chosen_by_price_for_its_work(price, kind):
    """The fast type bears twice the work of the slow one: below twice its price it is taken."""
    chat = deployment("chat", online_work=1000.0, device_types=("fast", "slow"))
    snapshot = fleet(
        [node("n1", kind="fast", devices=4), node("n2", kind="slow", devices=4)],
        [chat],
        frontiers=tuple(
            ReplicaFrontier(deployment="chat", device_type=name, frontier=curve(bears, bears))
            for name, bears in (("fast", 1200.0), ("slow", 600.0))
        ),
        prices=(("fast", price), ("slow", 1.0)),
        device_cost=1.0,
    )
    end = _at_rest(snapshot)
    assert {a.node for a in end.allocations} == {"n1" if kind == "fast" else "n2"}


@pytest.mark.parametrize("work", [1270.0, 1290.0])
def test_replica_goes_only_when_the_rest_bears_the_demand_and_a_reserve(work):
    """Two bear 1400: the third goes at 1270, for a tenth more is 1397; not at 1290."""
    chat = deployment("chat", online_work=work)
    rows = [running(f"r{i}", "chat", "n1", i) for i in range(3)]
    snapshot = fleet([node("n1", devices=4)], [chat], rows, device_cost=1.0)

    end = _at_rest(snapshot)

    assert _count(end, "chat") == (2 if work * (1.0 + DEMAND_TOLERANCE) <= 1400.0 else 3)
    new = replace(snapshot, allocations=())
    assert _count(_at_rest(new), "chat") == 2, "nothing is added for the reserve"


@pytest.mark.parametrize("strong", ["a", "b"])
def test_of_types_that_cost_alike_those_that_bear_more_are_taken(strong):
    """Either bears the demand; one bears half as much again, whichever is named first."""
    chat = deployment("chat", online_work=530.0, device_types=("a", "b"))
    snapshot = fleet(
        [node("n1", kind="a", devices=4), node("n2", kind="b", devices=4)],
        [chat],
        frontiers=tuple(
            ReplicaFrontier(deployment="chat", device_type=name, frontier=curve(bears, bears))
            for name in ("a", "b")
            for bears in (1200.0 if name == strong else 600.0,)
        ),
        device_cost=0.3,
    )
    assert [a.node for a in _at_rest(snapshot).allocations] == ["n1" if strong == "a" else "n2"]


def test_lasting_fall_is_given_back():
    """Seven replicas' work falls to one's: one is left, in one step."""
    chat = deployment("chat", online_work=4_500.0, max_replicas=8)
    high = _at_rest(fleet([node("n1", devices=8)], [chat], device_cost=0.3))
    assert _count(high, "chat") == 7

    low = _after(_scaled(high, 0.1))
    assert _count(low, "chat") == 1
    assert not _changes(_scaled(low, 1.0))


def test_moves_for_cost_alone_wait_for_what_replaces_them():
    """One fast replica for two slow ones: they go once it runs, though one would be enough."""
    kinds = ("fast", "slow")
    chat = deployment("chat", min_replicas=0, online_work=1000.0, device_types=kinds)
    frontiers = tuple(
        ReplicaFrontier(deployment="chat", device_type=name, frontier=curve(bears, bears))
        for name, bears in (("fast", 1300.0), ("slow", 600.0))
    )
    rows = [running(f"r{i}", "chat", "n2", i) for i in range(2)]
    nodes = [node("n1", kind="fast"), node("n2", kind="slow")]
    plan = _last(fleet(nodes, [chat], rows, frontiers=frontiers, device_cost=1.0))

    (new,) = [i for i, placement in enumerate(plan.placements) if placement.replica is None]
    removed = [move for move in plan.moves if move.kind is MoveKind.REMOVE]
    assert [move.after for move in removed] == [(f"new:{new}",)] * 2


def test_no_demand_waits_for_devices_that_are_exchanged_for_cost_alone():
    """A on the fast device and B on both slow ones would hold two devices the other way round.

    Until either has moved neither would serve, so both stay.
    """
    wanted = [
        deployment(name, min_replicas=0, online_work=work, device_types=("fast", "slow"))
        for name, work in (("a", 450.0), ("b", 1000.0))
    ]
    frontiers = tuple(
        ReplicaFrontier(deployment=d.id, device_type=kind, frontier=curve(bears, bears))
        for d in wanted
        for kind, bears in (("fast", 1300.0), ("slow", 600.0))
    )
    rows = [running("a1", "a", "n1", 0)]
    rows += [running(f"b{i}", "b", "n2", i) for i in range(2)]
    nodes = [node("n1", kind="fast", devices=1), node("n2", kind="slow")]
    snapshot = fleet(nodes, wanted, rows, frontiers=frontiers, device_cost=1.0)
    assert not _changes(snapshot)


def test_lost_replica_is_done_without_when_the_rest_bears_the_demand():
    """It would come back with its node to a device that costs something; where it is needed and
    nothing is free, it is kept for then.
    """
    chat = deployment("chat", online_work=600.0)
    rows = [
        running("r1", "chat", "n1", 0),
        running("r2", "chat", "n2", 0, state=ReplicaState.LOST),
    ]
    nodes = [node("n1", devices=1), node("n2", is_ready=False)]
    snapshot = fleet(nodes, [chat], rows, device_cost=1.0)

    assert {p.replica for p in _last(snapshot).placements} == {"r1"}
    short = replace(snapshot, deployments=(replace(chat, online_work=900.0),))
    assert {p.replica for p in _last(short).placements} == {"r1", "r2"}


@_SOME
@given(problems(), st.data())
def test_directions_say_what_counts_bear(problem, data):
    """Counts bear a demand if all directions say so; of one class and mode, only if."""
    problem = replace(
        problem,
        tenants=tuple(Entitlement(most=None, fair=0.0) for _ in problem.tenants),
        shapes=tuple(
            replace(shape, modes=tuple(m for m in shape.modes if m.max_online > 0.0)[:1])
            for shape in problem.shapes
        ),
        wanted=tuple(replace(one, classes=one.classes[:1]) for one in problem.wanted),
    )
    every = [counts for counts, _ in zip(all_counts(problem), range(200), strict=False)]
    assume(every)
    counts = data.draw(st.sampled_from(every))
    missing = standing_of(problem, counts).missing
    for d in range(len(problem.wanted)):
        short = sum(missing["online"].get((d, k), 0.0) for k in range(1))
        short += missing["failover"].get((d,), 0.0)
        short += sum(
            lacks
            for (j,), lacks in missing["deadline"].items()
            if problem.offline[j].deployment == d
        )
        assert is_borne(problem, d, counts) == (short < 1e-5)


@settings(parent=_SOME, max_examples=60)
@given(rich_fleets(), _COSTS, st.sampled_from([0.05, 0.2, 1.0]))
def test_plans_are_verified_and_tiers_above_are_no_worse(snapshot, cost, share):
    """Against the same fleet with free devices: tier by tier, from the first that differs."""
    snapshot = _scaled(snapshot, share)
    assume(not survey(snapshot).is_plain)
    free, dear = _last(snapshot), _last(replace(snapshot, device_cost=cost))
    assert dear.bound <= dear.objective + 1e-6
    for tier in _TIERS:
        before, after = _terms(free)[tier], _terms(dear)[tier]
        if after < before - 1e-4:
            return  # better in an earlier one
        assert after <= before + 1e-4, tier


@settings(parent=_SOME, max_examples=25)
@given(rich_fleets(nodes=3), _COSTS)
def test_rounds_come_to_rest(snapshot, cost):
    """Solve, commit, settle: a fixed point within some rounds."""
    _at_rest(replace(snapshot, device_cost=cost))


# Works about which whole replicas of `DEFAULT_FRONTIER` bear one more or less.
_EDGES = st.sampled_from([0.0, 350.0, 690.0, 700.0, 730.0, 1390.0, 1430.0])


@st.composite
def _on_the_edge(draw):
    """Fleets with room, and demands that whole replicas just bear."""
    nodes = [
        node(f"n{i}", devices=draw(st.integers(2, 5)), kind=draw(st.sampled_from(["a", "b"])))
        for i in range(draw(st.integers(2, 3)))
    ]
    wanted = [
        deployment(
            f"d{i}",
            min_replicas=draw(st.integers(0, 1)),
            max_replicas=8,
            stage=Stage.ACTIVE,
            spread=draw(st.booleans()),
            online_work=draw(_EDGES),
            min_offline_work=draw(st.sampled_from([0.0, 90.0, 400.0])),
            offline_work=draw(st.sampled_from([0.0, 0.0, 3000.0])),
            failover_ratio=draw(st.sampled_from([0.0, 0.0, 0.5])),
        )
        for i in range(draw(st.integers(1, 2)))
    ]
    return fleet(nodes, wanted, prices=draw(st.sampled_from([(), (("a", 2.0), ("b", 1.0))])))


@settings(parent=_SOME, max_examples=40)
@given(_on_the_edge(), _COSTS, st.lists(st.floats(0.96, 1.04), min_size=10, max_size=10))
def test_no_replica_comes_or_goes_while_demand_flickers(snapshot, cost, flicker):
    """Ten rounds within 4 % of a demand, after those that its top asks for."""
    steady = _at_rest(replace(_scaled(snapshot, 1.04), device_cost=cost))
    for factor in flicker:
        now = _scaled(steady, factor / 1.04)
        plan = _last(now)
        assert not _changes(now, plan)
        steady = replace(commit(now, plan), deployments=steady.deployments)
