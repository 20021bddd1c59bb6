"""Baselines: placements indeed, the same each time, and as strong as their idea allows."""

from dataclasses import replace
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.placement.baselines import BASELINES, STICKY, run_baseline
from bench.placement.board import Board, Counts, lay_out
from bench.placement.bounds import bound_of
from bench.placement.drift import drifting
from bench.placement.evaluate import evaluate, violations
from bench.placement.generate import generate
from bench.placement.instances import Instance
from bench.placement.linear import SHORTFALLS
from bench.placement.packing import Packing, Policy


def board_of(size: str = "10x3", **fields: object) -> Board:
    """A generated board."""
    return lay_out(generate(Instance(size=size, **fields)))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("shape", ["dividing", "odd"])
@pytest.mark.parametrize("load", ["tight", "loose"])
def test_baseline_places_within_the_fleet(name: str, shape: str, load: str) -> None:
    """No node is overcommitted, and the bound is not passed."""
    board = board_of("50x8", shape=shape, load=load)
    counts, worth = run_baseline(board, name)
    assert violations(board, counts) == []
    assert worth.offline <= bound_of(board, worth.short).offline + 1e-3
    assert worth == evaluate(board, counts)


@pytest.mark.parametrize("name", BASELINES)
def test_baseline_is_the_same_when_run_again(name: str) -> None:
    """No chance in it."""
    board = board_of()
    assert (run_baseline(board, name)[0] == run_baseline(board, name)[0]).all()


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_baseline_serves_all_that_must_be_when_the_fleet_is_loose(name: str, seed: int) -> None:
    """A third online and an eighth of deadlines are no problem for any of them."""
    board = board_of("50x8", load="loose", seed=seed)
    _, worth = run_baseline(board, name)
    assert all(worth.short[tier] < 1e-3 for tier in SHORTFALLS), worth.short


def sticky(board: Board, before: Counts) -> Counts:
    """The sticky greedy's placement after one that runs."""
    return run_baseline(board, STICKY, before=before)[0]


@given(seed=st.integers(0, 50), moves=st.integers(0, 12))
@settings(max_examples=12, deadline=None)
def test_sticky_keeps_to_the_moves(seed: int, moves: int) -> None:
    """However demand drifts, it adds no more than the round allows."""
    snapshot = generate(Instance(size="10x3"))
    before = run_baseline(lay_out(snapshot), "best-fit")[0]
    later = next(islice(drifting(snapshot, seed=seed, step=0.3), 2, None))
    board = lay_out(replace(later, max_moves=moves))
    assert violations(board, sticky(board, before), before=before) == []


def test_sticky_stays_when_nothing_changes() -> None:
    """Its own placement at the same demand needs no loads."""
    board = board_of("50x8")
    first = sticky(board, board.empty())
    again = sticky(board, first)
    assert evaluate(board, again, before=first).loads <= 0.02 * first.sum()


def test_sticky_evicts_offline_for_online_when_no_device_is_free() -> None:
    """Doubled online demand on a full fleet: what ran offline makes room, within a round."""
    snapshot = generate(Instance(size="50x8", load="loose"))
    board = lay_out(snapshot)
    full = Packing(board, run_baseline(board, STICKY)[0])
    for choice in sorted(range(len(board.choices)), key=lambda k: board.choices[k].devices):
        while (node := full.node_for(choice, policy=Policy.BEST)) is not None:
            full.put(node, choice)
    grown = replace(
        snapshot,
        deployments=tuple(
            replace(
                one,
                slo_classes=tuple(
                    replace(c, online_work=1.7 * c.online_work) for c in one.slo_classes
                ),
            )
            for one in snapshot.deployments
        ),
    )
    board = lay_out(grown)
    still = evaluate(board, full.counts)
    assert sum(still.short[tier] for tier in SHORTFALLS[1:5]) > 0.5
    after = evaluate(board, sticky(board, full.counts))
    assert sum(after.short[tier] for tier in SHORTFALLS[:5]) < 1e-3


def test_sticky_drops_what_nobody_needs() -> None:
    """Without any demand, only the least number of replicas stays."""
    snapshot = generate(Instance(size="10x3"))
    before = run_baseline(lay_out(snapshot), "best-fit")[0]
    idle = replace(
        snapshot,
        deployments=tuple(
            replace(one, slo_classes=tuple(replace(c, online_work=0.0) for c in one.slo_classes))
            for one in snapshot.deployments
        ),
        batches=tuple(replace(b, offline_work=0.0, min_offline_work=0.0) for b in snapshot.batches),
    )
    after = sticky(lay_out(idle), before)
    assert after.sum() == len(snapshot.deployments)


def test_packing_refuses_when_a_node_is_full() -> None:
    """Nothing is put where there is no room."""
    board = board_of()
    packing = Packing(board, board.empty())
    choice = next(i for i, c in enumerate(board.choices) if c.devices == 8)
    node = packing.node_for(choice, policy=Policy.FIRST)
    assert node is not None
    packing.put(node, choice)
    with pytest.raises(ValueError, match="no room"):
        packing.put(node, choice)
    packing.take(node, choice)
    assert packing.loads == 0
    assert (packing.counts == 0).all()


def test_packing_spreads_over_domains_when_told() -> None:
    """As many replicas as domains with such nodes lie in as many domains."""
    board = board_of("50x8")
    packing = Packing(board, board.empty())
    choice = next(i for i, c in enumerate(board.choices) if c.devices <= 2)
    domains = set(board.domain[packing.nodes_of(board.choices[choice].kind)].tolist())
    for _ in domains:
        node = packing.node_for(choice, policy=Policy.SPREAD)
        assert node is not None
        packing.put(node, choice)
    assert set(board.domain[packing.counts[:, choice].nonzero()[0]].tolist()) == domains
