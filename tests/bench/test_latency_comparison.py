"""The comparison with HyGen's regression: fair splits, errors as stated, samples kept."""

import json
import random

import pytest

from bench.latency.compare import (
    ARMS,
    Split,
    cell_of,
    errors_of,
    judge,
    longer_contexts,
    longest_context,
    noise_of,
    random_splits,
)
from bench.latency.drifting import drift_rows
from bench.latency.report import engine_figures, profile_figures
from bench.latency.samples import EngineSamples, read_samples, write_samples
from bench.latency.sweep import CHUNK_TOKENS, DECODE_ROWS, sweep, warm_prefixes
from planner.latency.coefficients import Coefficients
from planner.latency.features import BatchShape
from planner.latency.predictor import LatencyModel, default_model
from planner.latency.sample import IterationSample

CONTEXTUAL = LatencyModel(
    identity="truth",
    decode=Coefficients(constant=5.0, decode_rows=0.5, decode_context=2e-3),
    prefill=Coefficients(constant=5.0, prefill_tokens=0.2, prefill_padded_sq=4e-5),
)
BLIND = LatencyModel(
    identity="truth",
    decode=Coefficients(constant=5.0, decode_rows=0.5),
    prefill=Coefficients(constant=5.0, prefill_tokens=0.2),
)


def _samples(truth, *, seed=1, count=1200, noise=0.02):
    rng = random.Random(seed)
    samples = []
    for index in range(count):
        shape = BatchShape()
        if index % 2:
            for _ in range(rng.randint(1, 32)):
                shape = shape.with_decode(context_tokens=rng.randint(16, 2048))
        else:
            shape = shape.with_prefill(
                new_tokens=rng.randint(16, 512), cached_tokens=rng.randint(0, 1536)
            )
        measured_ms = truth.predict_ms(shape) * rng.gauss(1.0, noise)
        samples.append(IterationSample(shape=shape, measured_ms=measured_ms))
    return samples


def test_splits_share_no_sample_and_lose_none():
    """Training and held-out are parts of the whole, for every split."""
    samples = _samples(CONTEXTUAL, count=300)
    splits = [
        *random_splits(samples, seed=1, count=3),
        longer_contexts(samples, trained_tokens=1024),
    ]
    for split in splits:
        parts = [*split.training, *split.held_out]
        assert sorted(map(repr, parts)) == sorted(map(repr, samples))
    assert max(longest_context(s.shape) for s in splits[-1].training) <= 1024
    assert min(longest_context(s.shape) for s in splits[-1].held_out) > 1024
    assert splits[0].training != splits[1].training


def test_comparison_favours_context_terms_only_where_context_matters():
    """Where time depends on context ours errs far less; where it does not, alike."""
    ratios = {}
    for truth in (CONTEXTUAL, BLIND):
        split = next(random_splits(_samples(truth), seed=1, count=1))
        verdict = judge(split, incumbent=default_model("cpu"))
        assert set(verdict.errors) == set(ARMS)
        errors = {arm: verdict.errors[arm]["all"].mape for arm in ARMS}
        ratios[truth is BLIND] = [errors["slacktide"] / errors[a] for a in ARMS[:2]]
    assert max(ratios[False]) < 0.5
    assert all(0.8 < ratio < 1.25 for ratio in ratios[True])


def test_hygen_gets_the_better_of_its_two_forms():
    """S_d^2 in or out, whichever errs less on the held-out samples."""
    rng = random.Random(5)
    samples = []
    for _ in range(800):
        rows = rng.randint(1, 32)
        shape = BatchShape(
            decode_rows=rows, decode_context_tokens=100 * rows, decode_max_context_tokens=100
        )
        samples.append(IterationSample(shape=shape, measured_ms=5.0 + 0.1 * rows * rows))
    split = next(random_splits(samples, seed=1, count=1))
    verdict = judge(split, incumbent=default_model("cpu"))
    assert verdict.errors["hygen"]["all"].mape < 1e-6 < verdict.errors["slacktide"]["all"].mape


def test_errors_are_those_of_samples_and_of_medians_of_like_iterations():
    """One wild repeat of three moves the mean error and not the median's."""
    shape = BatchShape(decode_rows=1, decode_context_tokens=100, decode_max_context_tokens=100)
    samples = [IterationSample(shape=shape, measured_ms=ms) for ms in (10.0, 10.0, 40.0)]
    errors = errors_of(lambda _: 12.0, samples)
    assert errors.samples == 3 and errors.cells == 1
    assert errors.mape == pytest.approx((0.2 + 0.2 + 0.7) / 3)
    assert errors.cell_mape == pytest.approx(0.2)
    assert noise_of(samples) == pytest.approx(1.0)  # 0, 0 and 3 from the median, mean
    assert errors_of(lambda _: 12.0, samples[:2]).cell_mape is None
    assert noise_of(samples[:2]) is None


def test_like_iterations_have_the_same_rows_and_near_contexts():
    """A decode step longer is alike, twice the context is not."""
    base = BatchShape().with_decode(context_tokens=1000)
    assert cell_of(base) == cell_of(BatchShape().with_decode(context_tokens=1001))
    assert cell_of(base) != cell_of(BatchShape().with_decode(context_tokens=2000))
    assert cell_of(base) != cell_of(base.with_decode(context_tokens=1000))


def test_figures_judge_what_the_bench_promises():
    """Ratios, profile errors and coverage have targets; extrapolated profile errors none."""
    samples = _samples(CONTEXTUAL)
    verdicts = [
        judge(split, incumbent=default_model("cpu"))
        for split in [
            *random_splits(samples, seed=1, count=2),
            longer_contexts(samples, trained_tokens=1024),
        ]
    ]
    engine = {f.name: f for f in engine_figures(verdicts)}
    assert engine["engine, random, decode: error over hygen's"].target == "<= 0.5"
    assert engine["engine, longer contexts, all: error over hygen_terms's"].met is True
    assert engine["engine, random, decode: coverage off its target of 90%"].target == "<= 2"
    profiles = {f.name: f for f in profile_figures({"gpu": verdicts})}
    name = "profiles (synthetic), {}, decode: MAPE slacktide, worst profile"
    assert profiles[name.format("random")].target == "<= 3"
    assert profiles[name.format("longer contexts")].target is None


def test_drift_rows_show_the_slowdown_at_which_the_window_turns():
    """As measured it holds; at twice the time it does not, within a window."""
    samples = _samples(CONTEXTUAL, count=1400)
    split = Split(name="random", training=tuple(samples), held_out=tuple(samples))
    model = judge(split, incumbent=default_model("cpu")).model
    rows = {(row["kind"], row["slowdown"]): row for row in drift_rows(model, samples)}
    for kind in ("decode", "prefill"):
        assert rows[kind, 1.0]["verdict"] == "holds"
        assert rows[kind, 1.0]["seen_after_iterations"] is None
        assert rows[kind, 2.0]["verdict"] == "error too large"
        assert 0 < rows[kind, 2.0]["seen_after_iterations"] <= 512
    assert json.dumps(list(rows.values()))


def test_saved_samples_are_read_as_they_were(tmp_path):
    """The file round-trips, and one of another format is refused by name."""
    samples = tuple(_samples(CONTEXTUAL, count=20))
    run = EngineSamples(
        identity="m|cpu",
        configuration={"seed": 1},
        machine={"cpu": "x"},
        lost=3,
        samples=samples,
        parts=("decode",) * len(samples),
    )
    path = tmp_path / "kept" / "samples.json"
    write_samples(path, run)
    assert read_samples(path) == run
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 9}))
    with pytest.raises(ValueError, match="format 9"):
        read_samples(path)


def test_sweep_covers_every_size_with_prefixes_that_are_warm():
    """All rows, contexts and chunks once a repeat; prefixes begin the warmed prompts."""
    groups = list(sweep(seed=1, repeat=0))
    decodes = [g for g in groups if g.part == "decode"]
    assert {len(g.requests) for g in decodes} == set(DECODE_ROWS)
    assert max(len(g.requests[0].prompt) for g in decodes) == 2048
    warmed = [g.requests[0].prompt for g in warm_prefixes(seed=1)]
    for group in decodes:
        for request in group.requests:
            prefix = request.prompt[: max(0, len(request.prompt) - 8)]
            assert any(prompt[: len(prefix)] == prefix for prompt in warmed)
    single = [g.requests[0] for g in groups if g.part == "prefill" and len(g.requests) == 1]
    assert {len(r.prompt) for r in single} >= set(CHUNK_TOKENS)
    assert groups == list(sweep(seed=1, repeat=0)) != list(sweep(seed=1, repeat=1))
