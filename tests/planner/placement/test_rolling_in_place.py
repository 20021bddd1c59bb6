"""A new generation where nothing but the old one's own room takes it."""

import pytest

from planner.model import MoveKind
from planner.placement.fleet import Standing, survey
from tests.planner.placement.fleets import (
    GIB,
    commit,
    deployment,
    fleet,
    node,
    running,
    settle,
    solved,
)

_ROUNDS = 8


def _rolled(snapshot):
    """What runs once rounds have come to rest."""
    for _ in range(_ROUNDS):
        plan = solved(snapshot)
        if not any(move.kind is not MoveKind.ADJUST for move in plan.moves):
            return snapshot
        snapshot = settle(commit(snapshot, plan))
    raise AssertionError(plan.moves)


def _generations(snapshot, name):
    return [a.generation for a in snapshot.allocations if a.deployment == name]


@pytest.mark.parametrize(
    ("node_fields", "spec_fields"),
    [
        ({"host_memory_bytes": 4 * GIB}, {"host_memory_bytes": 3 * GIB}),
        ({}, {"anti_affinity": ("d",)}),
        ({"group": "g"}, {"node_groups": ("g",), "anti_affinity": ("d",)}),
    ],
    ids=["host memory", "anti-affinity", "node group"],
)
def test_new_generation_rolls_in_place_when_devices_are_free_but_it_may_not_join_the_old(
    node_fields, spec_fields
):
    """Free devices are of no use to a successor that may not stand beside the old replica."""
    places = [
        node("n1", devices=4, **node_fields),
        node("n2", devices=4, **node_fields),
        node("other", devices=4, is_cordoned=True),
    ]
    spec = deployment("d", min_replicas=2, max_replicas=2, generation=2, **spec_fields)
    held = [running("r1", "d", "n1", 0), running("r2", "d", "n2", 0)]

    rested = _rolled(fleet(places, [spec], held))

    assert _generations(rested, "d") == [2, 2]


def test_new_generation_rolls_in_place_when_only_a_node_of_another_group_has_devices():
    """A node that may not take it is no room for it."""
    places = [node("n1", devices=1, group="g"), node("n2", devices=4, group="h")]
    spec = deployment("d", max_replicas=1, generation=2, node_groups=("g",))

    rested = _rolled(fleet(places, [spec], [running("r1", "d", "n1", 0)]))

    assert _generations(rested, "d") == [2]
    assert {a.node for a in rested.allocations} == {"n1"}


@pytest.mark.parametrize(
    "spec_fields",
    [
        {"tensor_parallel_size": 4},
        {"weights_bytes": 9 * GIB},
        {"host_memory_bytes": 5 * GIB},
        {"anti_affinity": ("e",)},
    ],
    ids=["devices", "memory", "host memory", "anti-affinity"],
)
def test_old_generation_stays_when_its_own_room_would_not_take_a_successor(spec_fields):
    """Nothing is dropped for a successor that could not come."""
    places = [node("n1", devices=2, host_memory_bytes=4 * GIB)]
    specs = [
        deployment("d", generation=2, **spec_fields),
        deployment("e"),
    ]
    held = [running("r1", "d", "n1", 0), running("r2", "e", "n1", 1)]
    snapshot = fleet(places, specs, held)

    assert survey(snapshot).standing["r1"] is Standing.DUE
    assert _generations(_rolled(snapshot), "d") == [1]


def test_new_generation_waits_for_a_node_when_another_takes_it():
    """With room elsewhere the old one serves until its successor does."""
    places = [node(name, devices=2, host_memory_bytes=4 * GIB) for name in ("n1", "n2")]
    spec = deployment("d", generation=2, host_memory_bytes=3 * GIB)
    snapshot = fleet(places, [spec], [running("r1", "d", "n1", 0)])

    assert survey(snapshot).standing["r1"] is Standing.DUE
    rested = _rolled(snapshot)
    assert [(a.node, a.generation) for a in rested.allocations] == [("n2", 2)]
