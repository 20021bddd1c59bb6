"""The clairvoyant bound: by hand, and below whatever a replay held."""

from dataclasses import replace

import pytest

from bench.fleet.clairvoyant import InfeasibleError, clairvoyant
from planner.simulation.fleet.demand import Demand
from planner.simulation.fleet.profile import Level, ReplicaProfile
from planner.simulation.fleet.rounds import GreedyRounds
from planner.simulation.fleet.run import replay_fleet
from planner.simulation.fleet.scenario import FleetBatch, Outage
from tests.planner.simulation.fleet_examples import fleet, node, questions, service

LINE = ReplicaProfile(
    levels=(
        Level(online_work=0.0, offline_work=1000.0),
        Level(online_work=1000.0, offline_work=0.0, beside_ratio=1.0),
    ),
    capacity_work=1000.0,
    saturated_ratio=1.0,
    wait_s=1.0,
)
HOURS = 2.0


def day(*, rates=(5.0,), batches=(), devices=4, min_replicas=0, **fields):
    """One model at 100 ms a request, for two hours; a replica bears 1000 ms/s of anything."""
    one = service(profile=LINE, min_replicas=min_replicas)
    demand = Demand(rates=rates, step_s=HOURS * 3600.0 / len(rates), lengths=questions)
    return fleet(
        nodes=devices,
        services=(replace(one, demand=demand),),
        duration_s=HOURS * 3600.0,
        batches=batches,
        **fields,
    )


def least(scenario, **prices):
    return clairvoyant(scenario, prices=prices or {"gpu": 1.0})


def test_bound_of_online_load_alone_is_its_work():
    """500 ms/s for two hours is half a device all the time."""
    assert least(day()) == pytest.approx(1.0)
    assert least(day(), gpu=3.0) == pytest.approx(3.0)


def test_bound_adds_batch_work_that_online_load_leaves_no_room_for():
    """A batch of 3600 items of 500 ms is half a device-hour more, whenever it runs."""
    batch = FleetBatch(id="b", deployment="chat", items=3600)
    assert least(day(batches=(batch,))) == pytest.approx(1.5)


def test_bound_uses_room_that_must_be_held_anyway():
    """With a replica that must always be there, a batch that fits beside it costs nothing."""
    batch = FleetBatch(id="b", deployment="chat", items=3600)
    assert least(day(min_replicas=1)) == pytest.approx(2.0)
    assert least(day(min_replicas=1, batches=(batch,))) == pytest.approx(2.0)


def test_bound_knows_when_a_batch_may_run():
    """Room before it is submitted, or after it is due, is of no use to it."""
    busy_then_idle = (10.0, 0.0)  # a whole device for an hour, then none
    early = FleetBatch(id="b", deployment="chat", items=3600, deadline_s=3600.0)
    late = FleetBatch(id="b", deployment="chat", items=3600, submit_s=3600.0)
    for batch, extra in ((early, 0.5), (late, 0.0)):
        found = least(day(rates=busy_then_idle, min_replicas=1, batches=(batch,)))
        assert found == pytest.approx(2.0 + extra)


def test_bound_refuses_what_the_fleet_cannot_do():
    """More load than devices, a deadline too near, or all nodes down: infeasible, and says so."""
    with pytest.raises(InfeasibleError, match="beyond the fleet"):
        least(day(rates=(50.0,)))
    hasty = FleetBatch(id="b", deployment="chat", items=36_000, deadline_s=900.0)
    with pytest.raises(InfeasibleError):
        least(day(batches=(hasty,)))
    outage = Outage(nodes=("n0", "n1"), at_s=0.0, for_s=7200.0)
    with pytest.raises(InfeasibleError):
        least(day(rates=(15.0,), devices=3, outages=(outage,)))


def test_replays_hold_no_less_than_the_bound():
    """A replay that served all and ended its batch held at least as much."""
    scenario = replace(
        day(
            rates=(6.0, 12.0, 9.0),
            min_replicas=1,
            batches=(FleetBatch(id="b", deployment="chat", items=2000, deadline_s=7000.0),),
        ),
        begins_loaded=True,
        nodes=tuple(node(i) for i in range(4)),
    )
    record = replay_fleet(scenario, rounds=GreedyRounds())
    assert record.batches[0].done == 2000
    assert record.total("shed") == 0.0
    assert record.total("held_device_s") / 3600.0 >= least(scenario) * (1.0 - 1e-6)


def test_bound_by_rounds_holds_whole_replicas_for_the_greatest_part_of_a_round():
    """500 and then 1500 ms/s within an hour: the mean is one device, the second half needs two."""
    scenario = day(rates=(5.0, 15.0, 5.0, 15.0))
    asked = {"prices": {"gpu": 1.0}, "slot_s": 3600.0}
    assert clairvoyant(scenario, **asked) == pytest.approx(2.0)
    assert clairvoyant(scenario, **asked, steps=2) == pytest.approx(4.0)


def test_bound_by_rounds_is_never_below_the_other():
    """Parts only add what must hold; batch work still goes where there is room."""
    batch = FleetBatch(id="b", deployment="chat", items=3600, deadline_s=5400.0)
    scenario = day(rates=(2.0, 9.0, 4.0, 7.0), batches=(batch,))
    by_rounds = clairvoyant(scenario, prices={"gpu": 1.0}, steps=3)
    assert by_rounds >= least(scenario) - 1e-9
