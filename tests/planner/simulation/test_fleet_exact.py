"""The exact mode of a fleet's replay, and the aggregated one beside it."""

from dataclasses import replace
from functools import cache

import pytest

from planner.model import Stage
from planner.simulation.fleet.demand import constant
from planner.simulation.fleet.rounds import GreedyRounds
from planner.simulation.fleet.run import Mode, replay_fleet
from planner.simulation.fleet.scenario import FleetBatch, Outage
from tests.planner.simulation.fleet_examples import engine_service, fleet, questions, service


@cache
def profiled():
    return engine_service()


def at(load, **fields):
    """The service at that share of what one replica does saturated."""
    one = profiled()
    full = one.profiles["gpu"].capacity_work / one.request_work_ms
    one = replace(one, demand=constant(load * full, lengths=questions))
    return replace(one, deployment=replace(one.deployment, **fields))


def exact(scenario):
    return replay_fleet(scenario, rounds=GreedyRounds(), mode=Mode.EXACT)


def test_every_request_ends_once_when_replicas_fail_and_return():
    """Attained, failed and shed requests are no more than all; all of them arrived."""
    record = exact(
        fleet(
            services=(at(1.0),),
            duration_s=120.0,
            begins_loaded=True,
            outages=(Outage(nodes=("n0", "n1"), at_s=40.0, for_s=40.0),),
            batches=(FleetBatch(id="b", deployment="chat", items=100_000),),
        )
    )
    ended = record.total("attained") + record.total("failed") + record.total("shed")
    assert record.total("attained") > 0
    assert ended <= record.total("requests")
    assert record.total("failed") < record.total("requests") * 0.1


def test_items_of_a_lost_engine_are_done_elsewhere():
    """A batch that outlives two of three nodes is done whole, each item once."""
    record = exact(
        fleet(
            services=(at(0.2, min_replicas=3),),
            duration_s=300.0,
            begins_loaded=True,
            outages=(Outage(nodes=("n0", "n1"), at_s=10.0, for_s=100.0),),
            batches=(FleetBatch(id="b", deployment="chat", items=150),),
        )
    )
    assert record.batches[0].done == 150
    assert record.batches[0].finish_s is not None


def test_exact_replay_is_deterministic():
    """Equal scenarios give equal records."""
    scenario = fleet(services=(at(0.8),), duration_s=60.0, begins_loaded=True)
    assert exact(scenario) == exact(scenario)


def test_no_item_is_pulled_where_the_stage_does_not_allow_it():
    """The dispatch's own gate holds in the replay."""
    record = exact(
        fleet(
            services=(at(0.2, stage=Stage.OBSERVE),),
            duration_s=60.0,
            begins_loaded=True,
            batches=(FleetBatch(id="b", deployment="chat", items=50),),
        )
    )
    assert record.batches[0].done == 0
    assert record.total("offline_work_ms") == 0.0


def test_exact_replay_refuses_a_service_without_engines():
    """A service that has only a profile can be replayed aggregated alone."""
    with pytest.raises(ValueError, match="needs an engine"):
        exact(fleet(services=(service(),)))


@pytest.mark.parametrize(
    ("load", "batches", "outages"),
    [
        (0.5, 100_000, ()),
        (1.6, 100_000, ()),
        (1.0, 0, ()),
        (1.2, 100_000, (Outage(nodes=("n0",), at_s=80.0, for_s=80.0),)),
    ],
)
def test_aggregated_mode_is_near_the_exact_one(load, batches, outages):
    """Within 10 % of its throughput and 2 points of its attainment, on three replicas."""
    scenario = fleet(
        services=(at(load),),
        duration_s=220.0,
        begins_loaded=True,
        outages=outages,
        batches=(FleetBatch(id="b", deployment="chat", items=batches),) if batches else (),
    )
    flows = replay_fleet(scenario, rounds=GreedyRounds())
    passes = exact(scenario)
    for names in (("online_work_ms",), ("online_work_ms", "offline_work_ms")):
        ratio = sum(map(flows.total, names)) / sum(map(passes.total, names))
        assert ratio == pytest.approx(1.0, abs=0.1)
    assert flows.attainment_ratio == pytest.approx(passes.attainment_ratio, abs=0.02)
