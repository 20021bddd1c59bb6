"""The arms of the fleet bench: what they plan, what they give back, what is told of them."""

from collections import Counter
from dataclasses import replace

import pytest

from bench.fleet.arms import ARMS, OFFLINE_SUFFIX, costed, forecast_of, run_arm, separated
from bench.fleet.families import FAMILIES, Profiled
from bench.fleet.figures import arm_figures, done_ratio, held_hours, peak_hours
from bench.fleet.matching import Tried, matched, matched_figures
from bench.fleet.rivals import MelangeLike, PerModel, cheapest_mix
from bench.fleet.run import main
from bench.fleet.settings import FleetSettings, scenario
from bench.fleet.steadiness import at_rest, moved_at_rest, reversals
from bench.fleet.thrift import trimmed
from planner.model import Frontier, Placement, ReplicaFrontier, Segment, Snapshot, Stage
from planner.placement.verify import verify
from planner.simulation.fleet.forecasts import LastValue
from planner.simulation.fleet.profile import Level, ReplicaProfile
from planner.simulation.fleet.recording import RoundRecord
from planner.simulation.fleet.rounds import GreedyRounds, SolverRounds
from planner.simulation.fleet.run import replay_fleet
from planner.simulation.fleet.scenario import FleetBatch
from tests.planner.simulation.fleet_examples import fleet, node, service

LINE = Frontier(
    max_online_work=1000.0,
    segments=(Segment(alpha=1.0, beta=1.0, gamma=1000.0),),
    source="test",
)
HALF = Frontier(
    max_online_work=500.0,
    segments=(Segment(alpha=1.0, beta=1.0, gamma=500.0),),
    source="test",
)


def snapshot(deployments, *, nodes, frontiers, prices=()):
    return Snapshot(
        revision=1,
        nodes=nodes,
        deployments=deployments,
        allocations=(),
        frontiers=tuple(
            ReplicaFrontier(deployment=d.id, device_type=kind, frontier=curve)
            for d in deployments
            for kind, curve in frontiers.items()
        ),
        prices=prices,
    )


def wanting(name="chat", *, online=0.0, least=0.0, **fields):
    one = service(name, **{"device_types": ("fast", "slow"), **fields}).deployment
    return replace(one, online_work=online, min_offline_work=least, offline_work=least)


NODES = (
    node(0, devices=4, device_type="fast"),
    node(1, devices=4, device_type="slow"),
)
CURVES = {"fast": LINE, "slow": HALF}


@pytest.mark.parametrize("prices", [{"fast": 1.0, "slow": 1.0}, {"fast": 3.0, "slow": 1.0}])
def test_cheapest_mix_is_the_cheapest(prices):
    """Against all counts there are: the programme's costs no more, and bears the demand."""
    deployment = wanting(online=1700.0, least=600.0)
    best = cheapest_mix(deployment, curves=CURVES, prices=prices, most=Counter(fast=4, slow=4))
    cost = sum(best[kind] * prices[kind] for kind in best)
    able = [
        (fast, slow)
        for fast in range(5)
        for slow in range(5)
        if 1000 * fast + 500 * slow >= 2300  # both curves are lines to their ends
    ]
    assert (best["fast"], best["slow"]) in able
    assert cost == min(fast * prices["fast"] + slow * prices["slow"] for fast, slow in able)


def test_cheapest_mix_is_none_where_all_devices_do_not_suffice():
    """It does not pretend."""
    deployment = wanting(online=99_000.0)
    most = Counter(fast=4, slow=4)
    assert cheapest_mix(deployment, curves=CURVES, prices={}, most=most) is None


@pytest.mark.parametrize("rival", [PerModel, MelangeLike])
def test_rivals_plans_pass_the_verifier(rival):
    """Two models on a fleet that has room for both: demand borne, no rule broken."""
    asked = snapshot(
        (wanting("a", online=1500.0), wanting("b", online=900.0, least=400.0)),
        nodes=NODES,
        frontiers=CURVES,
        prices=(("fast", 2.0), ("slow", 1.0)),
    )
    plan = rival().plan(asked)
    assert verify(asked, plan) == ()
    kinds = {"n0": 1000.0, "n1": 500.0}
    for name, work in (("a", 1500.0), ("b", 1300.0)):
        borne = sum(kinds[p.node] for p in plan.placements if p.deployment == name)
        assert borne >= work


def test_thrift_drops_what_is_not_needed_and_keeps_what_is():
    """Of three fast replicas for one's work, one stays; of one for one's work, one."""
    asked = snapshot((wanting(online=900.0),), nodes=NODES, frontiers=CURVES)
    placements = tuple(
        Placement(replica=None, deployment="chat", node="n0", devices=(i,)) for i in range(3)
    )
    assert len(trimmed(asked, placements)) == 1
    assert len(trimmed(asked, placements[:1])) == 1


def test_thrift_keeps_a_reserve_for_replicas_that_run():
    """A replica that runs stays where the others would bear the demand only just."""
    asked = snapshot((wanting(online=1990.0),), nodes=NODES, frontiers=CURVES)
    new = tuple(
        Placement(replica=None, deployment="chat", node="n0", devices=(i,)) for i in range(3)
    )
    running = tuple(replace(p, replica=f"r{i}") for i, p in enumerate(new))
    assert len(trimmed(asked, new)) == 2
    assert len(trimmed(asked, running)) == 3


def test_thrift_keeps_min_replicas():
    """Without any demand as many stay as must."""
    asked = snapshot((wanting(min_replicas=2),), nodes=NODES, frontiers=CURVES)
    placements = tuple(
        Placement(replica=None, deployment="chat", node="n0", devices=(i,)) for i in range(4)
    )
    assert len(trimmed(asked, placements)) == 2


def test_slacktide_gives_back_what_nobody_needs_by_itself():
    """A backlog without a deadline fills three nodes; with a cost beyond its worth one serves."""
    scenario = fleet(
        nodes=3,
        batches=(FleetBatch(id="b", deployment="chat", items=10_000),),
        begins_loaded=True,
        prices={"gpu": 2.0},
    )
    ran = run_arm("slacktide", scenario, forecast="last")
    assert held_hours(ran.record) > 2.0 * scenario.duration_s / 3600.0, "it is worth 0.3"
    dear = replace(costed(scenario).rounds, device_cost=5.0)
    record = replay_fleet(
        replace(scenario, rounds=dear), rounds=SolverRounds(), forecast=LastValue(margin_ratio=0.25)
    )
    assert held_hours(record) == pytest.approx(scenario.duration_s / 3600.0)
    assert ran.given_back == 0


def test_separated_fleets_do_the_same_work_apart():
    """Requests to the one half, batches to the other, none to both."""
    scenario = fleet(
        batches=(FleetBatch(id="b", deployment="chat", items=100, deadline_s=1000.0),),
        begins_loaded=True,
    )
    apart = separated(scenario)
    online, offline = apart.services
    assert online.deployment.stage is Stage.OBSERVE
    assert offline.deployment.id == "chat" + OFFLINE_SUFFIX
    assert offline.demand.is_none
    assert [batch.deployment for batch in apart.batches] == [offline.deployment.id]
    ran = run_arm("separate", scenario, forecast="last")
    assert done_ratio(ran.record) == pytest.approx(1.0)
    by_name = {one.deployment: one for one in ran.record.services}
    assert by_name["chat"].offline_work_ms == 0.0
    assert by_name["chat+batch"].online_work_ms == 0.0
    assert by_name["chat+batch"].offline_work_ms == pytest.approx(100 * 500.0)


def change(at_s, name, added, removed):
    return RoundRecord(
        at_s=at_s, trigger="interval", solver="x", status="feasible", objective=0.0, gap=0.0,
        adds=added, removes=removed, adjusts=0, misfits=0, changes=((name, added, removed),),
    )  # fmt: skip


def test_reversals_count_what_came_and_went_within_a_while():
    """Up three and down two within half an hour are two; later, or another's, are none."""
    assert reversals([change(0, "a", 3, 0), change(900, "a", 0, 2)]) == 2
    assert reversals([change(0, "a", 3, 0), change(3600, "a", 0, 2)]) == 0
    assert reversals([change(0, "a", 3, 0), change(900, "b", 0, 2)]) == 0
    assert reversals([change(0, "a", 2, 2), change(900, "a", 1, 1)]) == 0
    assert reversals([change(0, "a", 1, 0), change(60, "a", 0, 1), change(120, "a", 1, 0)]) == 1


def test_constant_load_moves_nothing_after_an_hour():
    """The greedy rests where nothing changes."""
    scenario = at_rest(fleet(nodes=3), hours=2.0)
    ran = run_arm("slacktide-greedy", scenario, forecast="last")
    assert moved_at_rest(ran.record.rounds) == 0
    assert ran.greedy_ratio == 1.0


def test_arms_are_compared_by_what_they_held():
    """Ratios are of held device-hours; the bound's is against the number given."""
    scenario = fleet(begins_loaded=True, prices={"gpu": 2.0})
    one = run_arm("slacktide-greedy", scenario, forecast="last")
    ours, other = replace(one, arm="slacktide"), replace(one, arm="separate")
    bounds = {"device-hours": held_hours(one.record) / 2, "cost": one.record.total("cost")}
    bounds |= {f"{name}, by rounds": value for name, value in bounds.items()}
    found = {f.name: f for f in arm_figures([ours, other], bounds=bounds)}
    assert found["device-hours: slacktide / separate"].value == pytest.approx(1.0)
    assert found["device-hours: slacktide / separate"].met is None  # no equals: `matching`
    assert found["device-hours: slacktide / clairvoyant bound"].value == pytest.approx(2.0)
    assert found["cost: slacktide / clairvoyant bound"].met is True
    assert peak_hours(one.record) >= held_hours(one.record) - 1e-9


def test_rival_is_held_to_the_attainment_of_ours():
    """The cheapest day that attains no less; where none does, the one that attains most."""
    priced = fleet(begins_loaded=True, prices={"gpu": 2.0})
    ours = run_arm("slacktide-greedy", priced, forecast="last")

    def day(quantile, *, attained, held):
        """A day that attains and holds by so much more than ours."""
        series = dict(ours.record.series)
        for name, by in (("attained", attained), ("held_device_s", held)):
            series[name] = tuple(by * one for one in series[name])
        record = replace(ours.record, series=series)
        return Tried(arm="separate", quantile=quantile, record=record)

    tried = [
        day(0.7, attained=0.9, held=1.0),
        day(0.9, attained=1.0, held=2.0),
        day(0.8, attained=1.0, held=1.6),
        day(0.99, attained=1.0, held=3.0),
    ]
    assert matched(tried, ours.record).quantile == 0.8
    assert matched(tried[:1], ours.record).quantile == 0.7
    best = replace(ours, arm="slacktide")
    found = {f.name: f for f in matched_figures(tried, [best])}
    name = "device-hours: slacktide / separate at equal service (quantile 0.8)"
    assert found[name].value == pytest.approx(1 / 1.6)
    assert found[name].met is True
    (short, _) = matched_figures(tried[:1], [best])
    assert "attainment +" in short.name
    assert matched_figures(tried, [replace(ours, arm="separate")]) == []


def test_forecast_of_an_arm_has_seen_the_day_before():
    """Before the first observation it expects about the load of the hour, not nothing."""
    scenario = fleet(services=(service(rate=5.0),))
    expected = forecast_of(scenario, "seasonal").upper("chat", at_s=0.0, horizon_s=120.0)
    assert 500.0 <= expected <= 1000.0


def test_day_is_the_same_for_a_seed_and_within_its_fleet():
    """Equal settings, equal day; nodes, models and batches as asked; ids unique."""
    profile = ReplicaProfile(
        levels=(
            Level(online_work=0.0, offline_work=1000.0),
            Level(online_work=800.0, offline_work=100.0),
        ),
        capacity_work=1000.0,
        saturated_ratio=0.5,
        wait_s=1.0,
    )
    families = tuple(
        Profiled(
            family=family,
            profiles=dict.fromkeys(family.device_types, profile),
            request_work_ms=100.0,
            item_work_ms=300.0,
        )
        for family in FAMILIES
    )
    settings = FleetSettings(nodes=20, models=20, hours=6.0)
    one, other = scenario(settings, families), scenario(settings, families)
    assert one == other
    assert len(one.services) == 20
    assert len({n.devices[0].device_type for n in one.nodes}) == 3
    assert all(b.submit_s < b.deadline_s <= one.duration_s for b in one.batches)
    assert any(len(outage.nodes) > 0 for outage in one.outages)
    other_seed = scenario(replace(settings, seed=1), families)
    assert other_seed.outages != one.outages


def test_arms_know_their_names():
    """Names of arms are those of the table; an unknown one is refused by the command."""
    assert all(name == arm.name for name, arm in ARMS.items())
    assert isinstance(ARMS["slacktide-greedy"].make()._rounds, GreedyRounds)
    with pytest.raises(SystemExit):
        main(["--arms", "nobody"])
