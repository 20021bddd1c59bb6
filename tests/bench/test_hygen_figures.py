"""What panels come to, on panels made by hand."""

import pytest

from bench.hygen.bounds import Bounded
from bench.hygen.cells import ARRIVAL, CELLS, PAIRS, TOLERANCES, Cell, Judged, value_of
from bench.hygen.figures import figures_of, samples_of, show_cells
from bench.hygen.panel import Panel
from bench.hygen.pool import Seen
from bench.hygen.settings import Spec
from planner.batching.state import Budgets
from planner.interference.search import ProbeResult
from planner.replay.policies import policy_named
from planner.slo import Quantiles

MEAN = Cell(metrics=("itl_mean",), tolerance_ratio=0.5)
TIGHT = Cell(metrics=("itl_mean",), tolerance_ratio=0.05)
TAIL = Cell(metrics=("ttft_p99",), tolerance_ratio=0.5)
PAIR = Cell(metrics=("ttft_p99", "itl_p99"), tolerance_ratio=0.1)


def seen(offline, *, name="slacktide", total=None):
    """A replay of so much offline work, and 100 tokens a second of online."""
    values = Quantiles(count=100, mean=10.0, p50=9.0, p90=15.0, p99=20.0, max=30.0)
    return Seen(
        choice=policy_named(name, budgets=Budgets()),
        probe=ProbeResult(ttft=values, itl=values, offline_tokens_per_s=offline),
        total_tokens_per_s=offline + 100.0 if total is None else total,
        busy_ratio=1.0,
        evicted=3,
        recomputed_tokens=7,
        over_bound_ratio=0.0,
    )


def judged(policy, cell, offline, *, misses=False, idle=None):
    name = "slacktide" if policy == ARRIVAL else policy
    return Judged(
        cell=cell,
        policy=policy,
        seen=seen(offline, name=name),
        worst_ratio=1.2 if misses else 0.9,
        idle_tokens_per_s=idle,
    )


def panel(*entries, number=1, bounds=()):
    return Panel(
        spec=Spec(setting="hygen", rate=1.0, number=number, duration_s=8.0),
        floor=seen(0.0, name="online-only"),
        ceiling=seen(2000.0, name="offline-only:512", total=2000.0),
        judged=entries,
        bounds=bounds,
        replays=9,
    )


def named(panels, cells):
    return {figure.name.removeprefix("t: "): figure for figure in figures_of("t", panels, cells)}


def test_ratio_is_the_median_over_tolerances_of_medians_over_slices():
    """Slices 2.0, 4.0 and 3.0 of one tolerance, 1.0 of the other: median 2, the least 1."""
    slices = [
        panel(
            judged("hygen", MEAN, 100.0),
            judged("slacktide", MEAN, 100.0 * ratio),
            judged("hygen", TIGHT, 50.0),
            judged("slacktide", TIGHT, 50.0),
            number=number,
        )
        for number, ratio in enumerate((2.0, 4.0, 3.0))
    ]
    found = named(slices, [MEAN, TIGHT])
    ratio = found["itl_mean: Slacktide / HyGen, offline"]
    assert ratio.value == 2.0 and ratio.spread == 1.0 and ratio.met
    assert found["itl_mean: the least of its tolerances"].value == 1.0


def test_slice_on_which_slacktide_misses_is_lost_and_one_on_which_hygen_does_not_counted():
    """1.5 where both keep the SLO; 0 where Slacktide alone misses it."""
    kept = panel(judged("slacktide", MEAN, 150.0), judged("hygen", MEAN, 100.0), number=2)
    missed = panel(judged("hygen", MEAN, 9000.0, misses=True), judged("slacktide", MEAN, 10.0))
    found = named([missed, kept], [MEAN])
    assert found["itl_mean: Slacktide / HyGen, offline"].value == 1.5
    assert found["HyGen† keeps the SLO, share of cells"].value == 0.5
    assert "itl_mean: Slacktide / HyGen, offline" not in named([missed], [MEAN])
    # Nor does the work of a missed cell count as throughput.
    assert found["HyGen† total / online only, best SLO"].value == 2.0
    lost = panel(judged("slacktide", MEAN, 9000.0, misses=True), judged("hygen", MEAN, 10.0))
    found = named([lost, kept], [MEAN])
    assert found["itl_mean: Slacktide / HyGen, offline"].value == 0.75
    assert found["itl_mean: the least of its tolerances and slices"].value == 0.0
    share = found["Slacktide keeps the SLO, share of cells"]
    assert share.value == 0.5 and not share.met


def test_best_rival_is_that_of_each_slo_among_those_that_keep_it():
    """At one SLO the cap, at the other HyGen*; Sarathi++ does most and keeps none."""
    entries = [
        judged("slacktide", MEAN, 300.0),
        judged("cap", MEAN, 200.0),
        judged("hygen", MEAN, 100.0),
        judged("blind-hybrid", MEAN, 900.0, misses=True),
        judged("slacktide", TIGHT, 40.0),
        judged("rate-cap", TIGHT, 50.0),
        judged("hygen", TIGHT, 10.0),
    ]
    found = named([panel(*entries)], [MEAN, TIGHT])
    over = found["Slacktide / best rival of each SLO, offline"]
    assert over.value == pytest.approx((1.5 + 0.8) / 2) and over.met
    least = found["Slacktide / best rival of each SLO, offline: the least SLO"]
    assert least.value == pytest.approx(0.8)
    alone = [judged("slacktide", MEAN, 300.0), judged("hygen", MEAN, 100.0)]
    assert "Slacktide / best rival of each SLO, offline" not in named([panel(*alone)], [MEAN])


def test_share_is_told_where_no_slo_is_kept_and_nothing_else_of_the_policy():
    """0, and not met: a policy cannot hide by missing all."""
    found = named([panel(judged("slacktide", MEAN, 500.0, misses=True))], [MEAN])
    share = found.pop("Slacktide keeps the SLO, share of cells")
    assert share.value == 0.0 and share.met is False
    assert not found


def test_pair_counts_in_the_share_and_in_no_metrics_ratio():
    """Two SLOs at once are cells of their own."""
    entries = [judged(p, PAIR, 100.0, misses=p == "slacktide") for p in ("hygen", "slacktide")]
    entries += [judged(p, TAIL, 100.0) for p in ("hygen", "slacktide")]
    found = named([panel(*entries)], [TAIL, PAIR])
    assert found["Slacktide keeps the SLO, share of cells"].value == 0.5
    assert found["ttft_p99: Slacktide / HyGen, offline"].value == 1.0
    assert not any(name.startswith("itl") for name in found)


def test_rival_without_any_work_gives_no_ratio_and_none_of_ours_gives_zero():
    """Nothing over nothing is no gain; nothing over something is a loss."""
    nothing = panel(judged("slacktide", MEAN, 10.0), judged("hygen", MEAN, 0.0))
    assert "itl_mean: Slacktide / HyGen, offline" not in named([nothing], [MEAN])
    lost = panel(judged("slacktide", MEAN, 0.0), judged("hygen", MEAN, 10.0))
    assert named([lost], [MEAN])["itl_mean: Slacktide / HyGen, offline"].value == 0.0


def test_policy_is_set_against_floor_ceiling_cap_and_bound():
    """Its best SLO of a slice over each; medians of slices."""
    bounds = (
        Bounded(
            policy="slacktide",
            slo=MEAN.name,
            offline_tokens_per_s=900.0,
            bound_tokens_per_s=1000.0,
            binding="time",
        ),
    )
    entries = [
        judged("slacktide", MEAN, 1500.0, idle=1900.0),
        judged("slacktide", TIGHT, 300.0),
        judged("rate-cap", MEAN, 500.0),
        judged("rate-cap", TIGHT, 50.0),
    ]
    found = named([panel(*entries, bounds=bounds)], [MEAN, TIGHT])
    assert found["Slacktide total / online only, best SLO"].value == 16.0
    assert found["Slacktide total / ceiling, best SLO"].value == 0.8
    assert found["Slacktide total / ceiling, every SLO"].value == 0.5
    assert found["Slacktide / HyGen*, offline, every SLO"].value == 4.5
    assert found["Slacktide / HyGen*, offline, best SLO"].value == 6.0
    assert found["Slacktide / clairvoyant bound"].value == pytest.approx(0.9)
    assert found["Slacktide / ceiling while nobody is online"].value == pytest.approx(0.95)


def test_table_has_medians_and_brackets_where_a_slice_missed(capsys):
    """One missed slice brackets the cell; a policy that was not run there has a dash."""
    slices = [
        panel(
            judged("hygen", MEAN, 100.0, misses=number == 2),
            judged("slacktide", MEAN, 300.0 + number),
            judged("slacktide", TIGHT, 40.0),
            number=number,
        )
        for number in (1, 2, 3)
    ]
    show_cells("t", slices, [MEAN, TIGHT])
    out = capsys.readouterr().out
    assert "3 slice(s); online alone does 100, the batch alone 2000" in out
    rows = {
        line.split("%")[0]: line.split("%")[1].split() for line in out.splitlines() if "%" in line
    }
    assert rows == {"itl_mean 50": ["[100]", "302"], "itl_mean 5": ["-", "40"]}
    header = next(line for line in out.splitlines() if line.startswith("SLO"))
    assert header.split() == ["SLO", "HYGEN†", "SLACKTIDE"]


def test_samples_name_every_slice_policy_and_slo():
    """With what each came to, so that figures can be reckoned again."""
    bound = Bounded(
        policy="hygen",
        slo="x",
        offline_tokens_per_s=1.0,
        bound_tokens_per_s=2.0,
        binding="time",
    )
    (sample,) = samples_of([panel(judged("hygen", MEAN, 123.456, misses=True), bounds=(bound,))])
    assert sample["slice"] == "hygen 1/s slice 1" and sample["ceiling"] == "offline-only:512"
    assert sample["bounds"][0]["ratio"] == 0.5
    (entry,) = sample["judged"]
    assert (entry["policy"], entry["slo"]) == ("hygen", "itl_mean 50%")
    assert entry["keeps_slo"] is False and entry["worst_ratio"] == 1.2
    assert entry["offline_tokens_per_s"] == 123.5 and entry["itl_p99_ms"] == 20.0


def test_cells_are_every_metric_by_every_tolerance_the_loosest_first():
    """16 of one statistic, 4 of two; targets are so much above the floor's own."""
    assert len(CELLS) == len(set(CELLS)) == 16 and len(PAIRS) == 4
    for metric in ("ttft_mean", "ttft_p99", "itl_mean", "itl_p99"):
        tolerances = [cell.tolerance_ratio for cell in CELLS if cell.metrics == (metric,)]
        assert tolerances == sorted(TOLERANCES, reverse=True)
    ttft = Quantiles(count=100, mean=50.0, p50=1.0, p90=1.0, p99=200.0, max=1.0)
    itl = Quantiles(count=100, mean=10.0, p50=1.0, p90=1.0, p99=40.0, max=1.0)
    floor = ProbeResult(ttft=ttft, itl=itl, offline_tokens_per_s=0.0)
    assert value_of(floor, "ttft_p99") == 200.0 and value_of(floor, "itl_mean") == 10.0
    targets = PAIR.targets(floor)
    assert targets.ttft_p99_ms == pytest.approx(220.0)
    assert targets.itl_p99_ms == pytest.approx(44.0)
    assert targets.itl_mean_ms is None and targets.ttft_mean_ms is None
