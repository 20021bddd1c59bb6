"""Counts made concrete on nodes alike: what stays, what moves over, what waits."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import planner.placement.cells as cells_module
import planner.placement.seating as seating_module
from planner.model import ReplicaState
from planner.placement.counting import counting_of
from planner.placement.fleet import Seat, survey
from planner.placement.seating import seated
from tests.planner.placement.fleets import GIB, deployment, fleet, node, running


@pytest.fixture(autouse=True)
def _nodes_alike_share_a_cell(monkeypatch):
    """As in large fleets, whatever the shapes."""
    monkeypatch.setattr(cells_module, "OWN_CELL_UP_TO", 0)
    monkeypatch.setattr(cells_module, "ODD_OWN_CELL_UP_TO", 0)


def _spec(name, **fields):
    """One that is not alone in its ways, so that the fleet is counted."""
    return deployment(
        name, **({"min_replicas": 0, "max_replicas": 9, "failover_ratio": 0.5} | fields)
    )


def _draft(nodes, specs, held, wanted, **fields):
    """The draft of so many replicas by (deployment, devices), all in the one cell there is."""
    of = survey(fleet(nodes, specs, held, **fields))
    counting = counting_of(of)
    assert len(counting.cells) == 1
    counts = {
        (0, counting.shape_of[name, "cpu", size]): count for (name, size), count in wanted.items()
    }
    return seated(of, counting, counts)


def _alike(count, **fields):
    fields.setdefault("failure_domain", "d")
    return [node(f"n{i}", **({"devices": 4, "gib": 8} | fields)) for i in range(count)]


def test_kept_replicas_stay_when_more_are_wanted():
    """What runs keeps node and devices; the others sit on the fullest node that fits."""
    held = [running("r1", "small", "n1", 2), running("r2", "small", "n1", 1)]
    draft = _draft(_alike(2), [_spec("small")], held, {("small", 1): 3})

    assert draft.kept == {"r1", "r2"}
    assert draft.new == (Seat(deployment="small", node="n1", devices=(0,)),)


def test_smaller_replicas_move_over_when_a_larger_one_finds_no_seat():
    """Two devices are free on each node: one small replica moves, not two, and none is lost."""
    held = [
        running("r1", "small", "n0", 0),
        running("r2", "small", "n0", 1),
        running("r3", "pair", "n1", 0, 1),
    ]
    specs = [
        _spec("small"),
        _spec("pair", tensor_parallel_size=2),
        _spec("big", tensor_parallel_size=4),
    ]
    wanted = {("small", 1): 2, ("pair", 2): 1, ("big", 4): 1}
    draft = _draft(_alike(2), specs, held, wanted)

    assert draft.kept == {"r1", "r2"}
    assert [(seat.deployment, seat.node) for seat in draft.new] == [("pair", "n0")]
    assert draft.waiting == (Seat(deployment="big", node="n1", devices=(0, 1, 2, 3)),)


@pytest.mark.parametrize(
    ("spec", "fields"),
    [({"is_frozen": True}, {}), ({}, {"max_moves": 1})],
    ids=["frozen", "moves"],
)
def test_nothing_moves_over_when_it_may_not(spec, fields):
    """A larger replica is left out where the smaller are frozen or moves are spent."""
    held = [running("r1", "small", "n0", 0), running("r2", "small", "n1", 0)]
    specs = [_spec("small", **spec), _spec("big", tensor_parallel_size=4)]
    draft = _draft(_alike(2), specs, held, {("small", 1): 2, ("big", 4): 1}, **fields)

    assert draft.kept == {"r1", "r2"}
    assert (draft.new, draft.waiting) == ((), ())


def test_equal_replicas_never_move_over():
    """A replica makes way only for a larger one: all else would be moves for nothing."""
    held = [running("r1", "pair", "n0", 1, 2), running("r2", "pair", "n1", 0, 1)]
    specs = [_spec("pair", tensor_parallel_size=2), _spec("other", tensor_parallel_size=2)]
    draft = _draft(_alike(2), specs, held, {("pair", 2): 2, ("other", 2): 3})

    assert draft.kept == {"r1", "r2"}
    assert sorted((s.node, s.devices) for s in draft.new) == [("n0", (0, 3)), ("n1", (2, 3))]


def test_seats_go_where_weights_are_warm_when_both_nodes_fit():
    """Before the fullest node: a warm model loads in a fraction of the time."""
    nodes = [*_alike(1), node("n1", devices=4, gib=8, failure_domain="d", warm_models=("small",))]
    held = [running("r1", "other", "n0", 0)]
    draft = _draft(
        nodes, [_spec("small"), _spec("other")], held, {("small", 1): 1, ("other", 1): 1}
    )

    assert [seat.node for seat in draft.new] == ["n1"]


def test_seats_keep_apart_and_within_host_memory_in_a_cell_of_nodes_alike():
    """Two a node by devices, one by host memory; and none beside what it is apart from."""
    specs = [
        _spec("heavy", host_memory_bytes=3 * GIB),
        _spec("shy", anti_affinity=("loud",)),
        _spec("loud"),
    ]
    held = [running("r1", "loud", "n0", 0)]
    draft = _draft(
        _alike(2, host_memory_bytes=4 * GIB),
        specs,
        held,
        {("heavy", 1): 2, ("shy", 1): 3, ("loud", 1): 1},
    )
    seats = [(seat.deployment, seat.node) for seat in draft.new]

    assert sorted(n for d, n in seats if d == "heavy") == ["n0", "n1"]
    assert {n for d, n in seats if d == "shy"} == {"n1"}


@pytest.mark.parametrize(
    ("state", "generation", "waits"),
    [(ReplicaState.FAILED, 1, True), (ReplicaState.RUNNING, 2, False)],
    ids=["broken", "due"],
)
def test_devices_are_waited_for_only_when_their_replica_serves_nothing(state, generation, waits):
    """A broken replica yields; one of an old generation serves until it is replaced."""
    held = [
        running("r0", "old", "n0", 0, state=state, generation=1),
        running("r1", "old", "n0", 1, generation=generation),
    ]
    specs = [_spec("old", generation=generation), _spec("new")]
    draft = _draft(_alike(1, devices=3), specs, held, {("new", 1): 2, ("old", 1): 1})

    assert draft.new[0].devices == (2,)
    assert bool(draft.waiting) == waits
    assert ("r0" in draft.kept) != waits


def test_larger_replicas_sit_first():
    """Four single devices would leave no room for the pair."""
    specs = [_spec("small"), _spec("pair", tensor_parallel_size=3)]
    draft = _draft(_alike(1), specs, [], {("small", 1): 4, ("pair", 3): 1})

    assert sorted(len(seat.devices) for seat in draft.new) == [1, 3]


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(st.data())
def test_seats_are_those_of_a_look_at_every_node(data):
    """The node that was best before is tried first; that changes no seat."""
    count = data.draw(st.integers(3, 5))
    warm = [
        (_spec("small").model,) if data.draw(st.booleans()) else () for _ in range(count)
    ]  # of the one model
    nodes = [
        replace(one, warm_models=models) for one, models in zip(_alike(count), warm, strict=True)
    ]
    held = [
        running(f"r{i}", "small", f"n{i}", data.draw(st.integers(0, 3)))
        for i in sorted(data.draw(st.sets(st.integers(0, count - 1))))
    ]
    specs = [
        _spec("small"),
        _spec("pair", tensor_parallel_size=2),
        _spec("big", tensor_parallel_size=4),
    ]
    wanted = {
        ("small", 1): data.draw(st.integers(0, 4 * count)),
        ("pair", 2): data.draw(st.integers(0, 2)),
        ("big", 4): data.draw(st.integers(0, 1)),
    }
    found = _draft(nodes, specs, held, wanted)
    seat = seating_module._Room.seat

    def looking_everywhere(self, key):
        self._last = None
        return seat(self, key)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(seating_module._Room, "seat", looking_everywhere)
        assert _draft(nodes, specs, held, wanted) == found
