"""Fleets put into counts: which nodes are alike, what must be, what may be."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import planner.placement.cells as cells_module
from planner.model import OFFLINE_ONLY, Pin
from planner.placement.counting import counting_of
from planner.placement.fleet import survey
from tests.planner.placement.fleets import deployment, fleet, node, running
from tests.planner.placement.rich_fleets import classes, curves, rich_fleets

_SOME = settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@_SOME
@given(rich_fleets(nodes=6), st.booleans())
def test_cells_hold_nodes_alike_and_every_device_once(snapshot, is_pooled):
    """All devices are in one cell; nodes of a cell differ in nothing a placement may ask for."""
    of = survey(snapshot)
    with pytest.MonkeyPatch.context() as patched:
        if is_pooled:
            patched.setattr(cells_module, "OWN_CELL_UP_TO", 0)
            patched.setattr(cells_module, "ODD_OWN_CELL_UP_TO", 0)
        counting = counting_of(of)
    cells = counting.problem.cells

    assert sum(cell.all_slots for cell in cells) == sum(len(n.devices) for n in snapshot.nodes)
    for cell, names in zip(cells, counting.cells, strict=True):
        own = [of.nodes[name] for name in names]
        assert cell.nodes == len(own)
        assert len({(n.failure_domain, n.group, n.host_memory_bytes) for n in own}) == 1
        assert {len(n.devices) for n in own} == {cell.slots}
        if len(own) > 1:
            assert all(n.takes_new for n in own)
            assert not {pin.node for pin in snapshot.pins}.intersection(names)
    assert all(name in counting.cells[c] for (name, _), c in counting.cell_of.items())


@_SOME
@given(rich_fleets())
def test_what_must_be_can_be(snapshot):
    """Pins ask for no more than devices, host memory, replicas and moves allow beside freezes."""
    of = survey(snapshot)
    problem = counting_of(of).problem

    for c, cell in enumerate(problem.cells):
        own = {q: n for (at, q), n in problem.least.items() if at == c}
        assert sum(n * problem.shapes[q].slots for q, n in own.items()) <= cell.all_slots
        new = any(n > problem.held.get((c, q), 0) for q, n in own.items())
        host = sum(n * problem.shapes[q].host_bytes for q, n in own.items())
        assert not new or host <= cell.nodes * cell.host_bytes
    for d, wanted in enumerate(problem.wanted):
        own = {key: n for key, n in problem.least.items() if problem.shapes[key[1]].deployment == d}
        if any(n > problem.held.get(key, 0) for key, n in own.items()):
            assert sum(own.values()) <= wanted.max_replicas
    moved = sum(max(0, n - problem.held.get(key, 0)) for key, n in problem.least.items())
    assert problem.max_moves is None or moved <= problem.max_moves


@_SOME
@given(rich_fleets())
def test_closed_frozen_and_unsuitable_places_gain_nothing(snapshot):
    """What may be nowhere else than where it runs is bounded by what runs."""
    of = survey(snapshot)
    counting = counting_of(of)
    problem = counting.problem
    for c, names in enumerate(counting.cells):
        place = of.nodes[names[0]]
        for q, (name, kind, slots) in enumerate(counting.shapes):
            spec = of.deployments[name]
            may = (
                place.takes_new
                and not spec.is_frozen
                and kind == place.devices[0].device_type
                and kind in (spec.device_types or (kind,))
                and slots in spec.tensor_parallel_sizes
                and spec.bytes_per_device_of(slots) <= place.devices[0].memory_bytes
                and (not spec.node_groups or place.group in spec.node_groups)
            )
            if not may:
                assert problem.fits(c, q) <= problem.held.get((c, q), 0)


def test_modes_are_in_order_and_useless_ones_left_out():
    """Tightest first; offline-only last, and only where it bears more than any other at rest."""
    spec = deployment("chat", slo_classes=classes(tight=1.0, loose=1.0))
    known = curves("chat", spec.slo_classes, (1,), kinds=("cpu",))
    counting = counting_of(survey(fleet([node("n1")], [spec], frontiers=tuple(known))))
    dull = [one for one in known if one.slo_class != OFFLINE_ONLY]
    without = counting_of(survey(fleet([node("n1")], [spec], frontiers=tuple(dull))))

    assert counting.classes == (("tight", "loose", OFFLINE_ONLY),)
    (shape,) = counting.problem.shapes
    assert [mode.served for mode in shape.modes] == [0, 1, 2]
    assert shape.modes[0].max_online < shape.modes[1].max_online
    assert without.classes == (("tight", "loose"),)


def test_a_pin_takes_what_runs_first_then_the_smallest_size():
    """Of two sizes the one that runs there counts; without any, the one of fewest devices."""
    spec = deployment("chat", other_tensor_parallel_sizes=(2,), max_replicas=9)
    pins = (Pin(deployment="chat", node="n1", replicas=1),)
    nodes = [node("n1", devices=4)]
    empty = counting_of(survey(fleet(nodes, [spec], pins=pins)))
    held = [running("r1", "chat", "n1", 0, 1)]
    runs = counting_of(survey(fleet(nodes, [spec], held, pins=pins)))

    assert empty.problem.least == {(0, empty.shape_of["chat", "cpu", 1]): 1}
    assert runs.problem.least == {(0, runs.shape_of["chat", "cpu", 2]): 1}
