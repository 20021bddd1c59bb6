"""What real iterations do beyond the smooth sum, one effect at a time."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from machines import decodes, effects, machines, measured, of_curve, shapes

from planner.hardware.duration import Duration
from planner.hardware.effects import CAPTURED_ROWS, NO_EFFECTS, Effects
from planner.latency.features import BatchShape

GRID = {1.0: 8.0, 8.0: 9.0, 16.0: 10.0, 64.0: 12.0, 128.0: 16.0, 256.0: 32.0, 512.0: 64.0}
MACHINE = of_curve(GRID)
SUMS = [field.name for field in fields(BatchShape)]


@given(machine=machines(), effects=effects, shape=shapes, data=st.data())
def test_time_never_falls_as_any_sum_grows(machine, effects, shape, data):
    """Each of the sums by itself, with any tables and any effects."""
    duration = Duration(machine, effects)
    name = data.draw(st.sampled_from(SUMS))
    more = data.draw(st.integers(1, 500))
    grown = replace(shape, **{name: getattr(shape, name) + more})
    assert duration(grown) >= duration(shape) - 1e-9


@given(machine=machines(), effects=effects, rows=st.integers(0, 320), new=st.integers(1, 40))
def test_prompt_beside_decodes_never_shortens_them(machine, effects, rows, new):
    """Also where decodes alone are padded to more tokens than both have together."""
    duration = Duration(machine, effects)
    alone = decodes(rows, context_tokens=100)
    mixed = alone.with_prefill(new_tokens=new, cached_tokens=0)
    assert duration(mixed) >= duration(alone) - 1e-9


@given(machine=machines(), shape=shapes)
def test_without_effects_it_is_the_machines_smooth_time(machine, shape):
    """Where the machine's own tables never fall."""
    smooth = replace(
        machine,
        operators_ms=machine.operators_ms.monotone(),
        all_reduce_ms=None if machine.all_reduce_ms is None else machine.all_reduce_ms.monotone(),
    )
    if not shape.prefill_rows:  # else sums that no rows have
        shape = decodes(shape.decode_rows, context_tokens=100)
    assert Duration(machine, NO_EFFECTS)(shape) == pytest.approx(smooth.iteration_ms(shape))


@given(machine=machines(), effects=effects)
def test_empty_iteration_takes_no_time(machine, effects):
    """With any effects."""
    assert Duration(machine, effects)(BatchShape()) == 0.0


def test_decodes_run_as_the_next_captured_batch():
    """Nine rows run as twelve; beside a prompt they are not padded beyond its tokens."""
    duration = Duration(MACHINE, replace(NO_EFFECTS, pads_decodes=True))
    assert CAPTURED_ROWS[:7] == (1, 2, 4, 8, 12, 16, 24) and CAPTURED_ROWS[-1] == 256
    for rows, run in ((1, 1), (3, 4), (9, 12), (12, 12), (13, 16), (17, 24), (256, 256)):
        expected = MACHINE.iteration_ms(decodes(run, context_tokens=0))
        assert duration(decodes(rows, context_tokens=0)) == pytest.approx(expected)
    mixed = decodes(9, context_tokens=0).with_prefill(new_tokens=100, cached_tokens=0)
    assert duration(mixed) == pytest.approx(MACHINE.iteration_ms(mixed))
    beyond = decodes(300, context_tokens=10)
    assert duration(beyond) == pytest.approx(MACHINE.iteration_ms(beyond))


def test_matrices_step_from_one_measured_number_of_tokens_to_the_next():
    """65 tokens take as long as 128, and so on beyond the table by its last step."""
    duration = Duration(MACHINE, replace(NO_EFFECTS, steps_tables=True))

    def matrices_ms(tokens):
        shape = BatchShape().with_prefill(new_tokens=tokens, cached_tokens=0)
        attention_ms = MACHINE.iteration_ms(shape) - MACHINE.operators_ms(tokens)
        return duration(shape) - attention_ms

    assert matrices_ms(64) == pytest.approx(12.0)
    assert matrices_ms(65) == matrices_ms(128) == pytest.approx(16.0)
    assert matrices_ms(513) == pytest.approx(64.0 + 256 * 32.0 / 256)


def test_prompts_launch_their_kernels_one_by_one():
    """By layers; decodes do only beyond the largest captured batch."""
    with_launches = Duration(MACHINE, replace(NO_EFFECTS, launches_kernels=True))
    without = Duration(MACHINE, NO_EFFECTS)
    prompt = decodes(4, context_tokens=100).with_prefill(new_tokens=10, cached_tokens=5)
    for shape, launches_ms in (
        (prompt, 32 * 0.2),
        (decodes(256, context_tokens=100), 0.0),
        (decodes(257, context_tokens=100), 32 * 0.2),
    ):
        assert with_launches(shape) - without(shape) == pytest.approx(launches_ms)


def test_attention_is_less_efficient_where_prompts_are_short():
    """Time a query-key pair falls as chunks grow, and as contexts do, toward the peak's."""
    smooth = of_curve({1.0: 0.0, 2.0: 0.0})
    duration = Duration(smooth, replace(NO_EFFECTS, ramps_attention=True))

    def pair_ms(new, cached):
        shape = BatchShape().with_prefill(new_tokens=new, cached_tokens=cached)
        return duration(shape) / shape.prefill_attention / smooth.pair_ms

    by_chunk = [pair_ms(new, 4096) for new in (16, 64, 128, 256, 1024, 4096)]
    by_context = [pair_ms(512, cached) for cached in (0, 512, 4096, 40_960)]
    assert by_chunk == sorted(by_chunk, reverse=True) and by_chunk[0] > 4 * by_chunk[-1]
    assert by_context == sorted(by_context, reverse=True)
    assert pair_ms(4096, 1_000_000) == pytest.approx(1 / 0.63, rel=0.02)
    assert pair_ms(2048, 0) == pytest.approx(1 / 0.63 / 0.7, rel=0.01)


def test_decodes_of_short_contexts_reach_less_of_the_bandwidth():
    """Half of it at 64 tokens a row, four fifths at 1,000; as many rows as there are."""
    smooth = of_curve({1.0: 0.0, 2.0: 0.0})
    duration = Duration(smooth, replace(NO_EFFECTS, ramps_attention=True))
    for rows in (1, 40):
        for context, ratio in ((64, 0.5), (1000, 0.8), (16_384, 0.94)):
            reading_ms = rows * context * smooth.read_ms
            took = duration(decodes(rows, context_tokens=context))
            assert reading_ms / took == pytest.approx(ratio, rel=0.01)


def test_short_chunk_fills_a_tile_of_queries():
    """Up to 128 queries over one prefix compute alike."""
    smooth = of_curve({1.0: 0.0, 2.0: 0.0}, model="llama2-70b")
    duration = Duration(smooth, replace(NO_EFFECTS, ramps_attention=True))
    one, tile = (
        duration(BatchShape().with_prefill(new_tokens=new, cached_tokens=100_000))
        for new in (1, 128)
    )
    assert one == pytest.approx(tile, rel=0.001)


def test_times_match_conserves_point_on_an_h100():
    """2,048 tokens at context 0 and at 40K: 51 and 124 ms (ConServe), within 4 and 1 %.

    The one at 40K is calibrated, so the other is the check. Llama-2-7B stands for a model of
    7-8B; an A100 cannot be meant, whose table alone has 133 ms.
    """
    duration = Duration(measured("h100", "llama2-7b"), Effects())
    at_0, at_40k = (
        duration(BatchShape().with_prefill(new_tokens=2048, cached_tokens=cached))
        for cached in (0, 40_960)
    )
    assert at_0 == pytest.approx(51.0, rel=0.04)
    assert at_40k == pytest.approx(124.0, rel=0.01)
    a100 = measured("a100-80gb", "llama2-7b")
    assert a100.operators_ms(2048) == pytest.approx(133.0, rel=0.01)


@pytest.mark.parametrize(
    "wrong",
    [
        {"captured_rows": ()},
        {"captured_rows": (0, 1)},
        {"captured_rows": (1, 4, 2)},
        {"captured_rows": (1, 1)},
        {"launch_layer_ms": -0.1},
        {"launch_layer_ms": float("nan")},
    ],
)
def test_nonsense_effects_are_refused(wrong):
    """Captured batches rise from 1 on; no launch takes less than no time."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Effects(**wrong)
