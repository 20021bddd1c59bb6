"""The calendar of a fleet's replay: loads, outages, batches, and the aggregated mode."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.model import Allocation, Pin, Stage, Tenant
from planner.simulation.fleet.demand import Demand, constant
from planner.simulation.fleet.rounds import GreedyRounds, SolverRounds, resplit
from planner.simulation.fleet.run import replay_fleet
from planner.simulation.fleet.scenario import FleetBatch, FleetScenario, Outage, RoundSettings
from tests.planner.simulation.fleet_examples import fleet, node, questions, service


def replayed(scenario, rounds=None):
    return replay_fleet(scenario, rounds=rounds or GreedyRounds())


def test_fleet_serves_nothing_until_its_first_replica_has_loaded():
    """Requests of the load's 40 s are shed, all later ones attain."""
    record = replayed(fleet())
    assert record.total("requests") == pytest.approx(5.0 * 1200.0)
    assert record.total("shed") == pytest.approx(5.0 * 40.0)
    assert record.attainment_ratio == pytest.approx(1.0 - 40.0 / 1200.0, abs=0.005)


def test_fleet_that_begins_loaded_sheds_nothing():
    """What the first round places has loaded at once."""
    record = replayed(fleet(begins_loaded=True))
    assert record.total("shed") == 0.0


def test_fleet_takes_over_a_live_fleets_allocations():
    """A replica that runs when the replay begins serves from the first second, and stays."""
    live = Allocation(replica="chat-live", deployment="chat", node="n1", devices=(0,))
    record = replayed(fleet(allocations=(live,)))
    assert record.total("shed") == 0.0
    assert record.rounds[0].adds == 0


class Told(GreedyRounds):
    """Keeps the snapshots it plans from."""

    def __init__(self):
        self.snapshots = []

    def plan(self, snapshot):
        self.snapshots.append(snapshot)
        return super().plan(snapshot)


def test_rounds_are_told_pins_tenants_and_whose_a_batch_is():
    """A quota counts though each deployment has batches of one tenant only."""
    pin, told = Pin(deployment="chat", node="n2"), Told()
    batch = FleetBatch(id="b", deployment="chat", items=5000, tenant="red")
    scenario = fleet(
        pins=(pin,), batches=(batch,), tenant_weights={"blue": 2.0}, tenant_quotas={"red": 50.0}
    )
    replayed(scenario, told)
    seen = told.snapshots[1]
    assert seen.pins == (pin,)
    assert seen.tenants == (
        Tenant(id="blue", weight=2.0),
        Tenant(id="red", max_offline_work=50.0),
    )
    assert [(one.deployment, one.tenant) for one in seen.batches] == [("chat", "red")]


def test_replay_is_deterministic():
    """Equal scenarios give equal records, whatever solves them."""
    scenario = fleet(
        batches=(FleetBatch(id="b", deployment="chat", items=200, deadline_s=900.0),),
        outages=(Outage(nodes=("n0",), at_s=300.0, for_s=200.0),),
    )
    for rounds in (GreedyRounds, SolverRounds):
        assert replayed(scenario, rounds()) == replayed(scenario, rounds())


def test_batch_work_is_conserved_when_it_ends():
    """The offline work recorded is that of the items done, no more."""
    record = replayed(fleet(batches=(FleetBatch(id="b", deployment="chat", items=200),)))
    assert record.batches[0].done == 200
    assert record.total("offline_work_ms") == pytest.approx(200 * 500.0, rel=1e-6)


def test_batch_misses_its_deadline_when_the_fleet_is_too_small():
    """A batch that three replicas cannot do in time is told as missed, and not done."""
    record = replayed(
        fleet(batches=(FleetBatch(id="b", deployment="chat", items=100_000, deadline_s=600.0),))
    )
    assert record.missed_deadlines == 1
    assert record.batches[0].done < 100_000
    assert record.batches[0].finish_s is None


def test_no_batch_runs_where_the_stage_does_not_allow_it():
    """At OBSERVE a backlog stays untouched."""
    record = replayed(
        fleet(
            services=(service(stage=Stage.OBSERVE),),
            batches=(FleetBatch(id="b", deployment="chat", items=10),),
        )
    )
    assert record.total("offline_work_ms") == 0.0
    assert record.batches[0].done == 0.0


def test_a_lost_node_is_replaced_by_a_round_that_its_lease_triggers():
    """Of two nodes one has the only replica: it costs the lease and a load; the other nothing."""
    rounds = RoundSettings(interval_s=10_000.0, resplit_s=20.0, lease_s=10.0)
    shed = []
    for name in ("n0", "n1"):
        record = replayed(
            fleet(
                nodes=2,
                services=(service(rate=2.0, max_replicas=1),),
                begins_loaded=True,
                outages=(Outage(nodes=(name,), at_s=300.0, for_s=600.0),),
                rounds=rounds,
            )
        )
        triggered = [one.at_s for one in record.rounds if one.trigger == f"{name} is lost"]
        assert triggered == [310.0]
        assert record.total("down_node_s") == pytest.approx(600.0)
        shed.append(record.total("shed"))
    assert sorted(shed) == [0.0, pytest.approx(2.0 * (10.0 + 40.0))]


def test_nodes_that_fail_together_trigger_one_round():
    """A rack's leases lapse at once; one round answers all of them."""
    outage = Outage(nodes=("n0", "n1"), at_s=300.0, for_s=600.0)
    record = replayed(fleet(begins_loaded=True, outages=(outage,)))
    assert sum(one.trigger.endswith("is lost") for one in record.rounds) == 1


def test_nothing_is_held_on_a_node_that_is_down():
    """A dead node's devices cost nothing until it is back."""
    scenario = fleet(
        nodes=1,
        begins_loaded=True,
        outages=(Outage(nodes=("n0",), at_s=400.0, for_s=400.0),),
        prices={"gpu": 3600.0},
    )
    record = replayed(scenario)
    assert record.total("held_device_s") == pytest.approx(800.0)
    assert record.total("cost") == pytest.approx(800.0)


def test_rounds_add_replicas_when_load_rises():
    """Load for one replica, then for two: the fleet follows within a round and a load."""
    demand = Demand(rates=(4.0,) * 10 + (12.0,) * 10, step_s=60.0, lengths=questions)
    scenario = fleet(
        services=(replace(service(), demand=demand),),
        begins_loaded=True,
        rounds=RoundSettings(interval_s=60.0, resplit_s=20.0),
    )
    record = replayed(scenario)
    assert sum(one.adds for one in record.rounds if one.at_s > 599.0) >= 1
    late = len(record.series["requests"]) - 10
    assert sum(record.series["attained"][late:]) >= 0.99 * sum(record.series["requests"][late:])


@settings(max_examples=15, deadline=None)
@given(
    rates=st.lists(st.floats(0.0, 20.0), min_size=1, max_size=6),
    items=st.integers(0, 2000),
    outages=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 900)), max_size=3),
)
def test_no_device_is_ever_held_twice(rates, items, outages):
    """Whatever load, batches and failures come, a device has one holder and a node its own."""
    seen: list[int] = []

    class Checked(GreedyRounds):
        def plan(self, snapshot):
            held = [
                (one.node, device)
                for one in snapshot.allocations
                if one.holds_devices
                for device in one.devices
            ]
            assert len(held) == len(set(held))
            seen.append(len(held))
            return super().plan(snapshot)

    down = dict(outages)  # one outage a node
    demand = Demand(rates=tuple(rates), step_s=200.0, lengths=questions)
    scenario = fleet(
        nodes=4,
        services=(replace(service(), demand=demand), service("code", rate=3.0)),
        batches=(FleetBatch(id="b", deployment="chat", items=items, deadline_s=1100.0),)
        if items
        else (),
        outages=tuple(
            Outage(nodes=(f"n{number}",), at_s=float(at_s), for_s=150.0)
            for number, at_s in down.items()
        ),
    )
    record = replayed(scenario, Checked())
    assert len(seen) == len(record.rounds)
    assert record.total("attained") <= record.total("requests") * (1 + 1e-9)
    assert record.total("held_device_s") <= 4 * 1200.0 + 1e-6
    assert all(batch.done <= batch.items for batch in record.batches)


def test_nothing_moves_under_constant_load():
    """After the first minutes a constant load moves no replica."""
    record = replayed(fleet(services=(service(), service("code", rate=9.0)), nodes=4))
    assert sum(one.adds + one.removes for one in record.rounds if one.at_s > 300.0) == 0


def test_requests_of_a_deployment_without_room_are_shed():
    """Where the only node is taken by another model, requests are refused, not lost."""
    record = replayed(
        fleet(
            nodes=1,
            services=(service(rate=5.0, min_replicas=1), service("zeta", rate=0.1)),
            begins_loaded=True,
        )
    )
    by_name = {one.deployment: one for one in record.services}
    refused = [one for one in by_name.values() if one.shed > 0.0]
    assert len(refused) == 1
    assert refused[0].shed == pytest.approx(refused[0].requests)
    assert refused[0].attained == 0.0


def test_resplit_gives_every_wanted_replica_a_share():
    """Between rounds shares sum to one over a deployment's replicas."""
    shares = []

    class Watched(GreedyRounds):
        def resplit(self, snapshot):
            found = resplit(snapshot)
            shares.append(sum(one.online_share for one in found))
            return found

    replayed(fleet(services=(service(rate=15.0),), begins_loaded=True), Watched())
    assert shares
    assert all(total == pytest.approx(1.0) for total in shares)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"duration_s": 0.0}, "duration_s"),
        ({"outages": (Outage(nodes=("n9",), at_s=1.0, for_s=1.0),)}, "no node n9"),
        ({"batches": (FleetBatch(id="b", deployment="x", items=1),)}, "no deployment x"),
        ({"nodes": (node(0), node(0))}, "unique"),
    ],
)
def test_scenario_refuses_what_cannot_be(fields, words):
    """Every refusal names what is wrong."""
    with pytest.raises(ValueError, match=words):
        FleetScenario(**{"nodes": (node(0),), "services": (service(),), "duration_s": 1.0} | fields)


def test_demand_means_and_repeats():
    """A rate over several steps is their mean, and the series begins anew after its end."""
    demand = Demand(rates=(1.0, 3.0), step_s=10.0)
    assert demand.rate(0.0, 20.0) == pytest.approx(2.0)
    assert demand.rate(5.0, 15.0) == pytest.approx(2.0)
    assert demand.rate(20.0, 30.0) == pytest.approx(1.0)
    assert demand.rate(32.0, 38.0) == pytest.approx(3.0)
    assert constant(0.0).is_none
    drawn = list(constant(4.0, lengths=questions).requests(seed="s", until_s=500.0))
    assert len(drawn) == pytest.approx(2000, rel=0.1)
    assert all(a.at_s <= b.at_s for a, b in pairwise(drawn))
