"""GPU iterations composed from operator profiles: what is read, summed and drawn."""

import csv

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.latency.profiles import (
    GPUS,
    LLAMAS,
    LONGEST_CONTEXT_TOKENS,
    AllReduce,
    Curve,
    Profile,
    draw_iterations,
    read_profiles,
    traces_folder,
)

A100 = next(gpu for gpu in GPUS if gpu.name == "a100")
SEVEN_B = next(llama for llama in LLAMAS if llama.name == "7b")


def _write_profile(folder, *, rows):
    """A profile of two operators and the embedding, in the published columns."""
    columns = [f"time_stats.{name}.median" for name in ("emb", "mlp_up_proj", "add")]
    with (folder / "vidur_a100_llama2_7b_mlp.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*columns, "num_tokens", "num_tensor_parallel_workers"])
        writer.writerows(rows)


def _write_all_reduce(folder, *, medians):
    with (folder / "vidur_a100_dgx_all_reduce.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["time_stats.all_reduce.median", "num_workers", "size", "devices_per_node"])
        for size, value in medians.items():
            writer.writerow([value, 2, size, 2])
            writer.writerow([99.0, 2, size, 1])  # over two nodes: not this profile's


def test_profile_sums_operators_attention_and_all_reduces(tmp_path):
    """Layers x operators without the embedding, the roofline, and two all-reduces a layer."""
    _write_profile(tmp_path, rows=[[9.0, 0.2, 0.1, 1, 2], [9.0, 0.4, 0.1, 101, 2]])
    _write_all_reduce(tmp_path, medians={8192: 0.01, 819_200: 0.05})
    (profile,) = read_profiles(tmp_path, all_reduce=AllReduce.MONOTONE)
    assert profile.name == "a100 llama2-7b tp2"
    assert profile.operators_ms(1) == pytest.approx(32 * 0.3)
    assert profile.operators_ms(51) == pytest.approx(32 * 0.4)  # half way
    kv_bytes = 2 * 32 * 32 * 128 * 2  # README of the profiles: 524,288 B a token
    assert SEVEN_B.kv_bytes == kv_bytes == 524_288
    read_ms = 1e3 * kv_bytes * (1000 + 1) / 2.039e12 / 2
    alone = profile.iteration_ms(decodes=[1000], prefills=[])
    assert alone == pytest.approx(32 * 0.3 + read_ms + 64 * 0.01)


def test_prefill_attention_is_the_slower_of_arithmetic_and_reading(tmp_path):
    """A long chunk is bound by arithmetic, a short one over a long prefix by memory."""
    _write_profile(tmp_path, rows=[[0.0, 0.2, 0.1, 1, 1], [0.0, 0.4, 0.1, 101, 1]])
    (profile,) = read_profiles(tmp_path, all_reduce=AllReduce.RAW)
    long_chunk = profile.attention_ms(new_tokens=2048, cached_tokens=8192)
    flops = 4 * 32 * 4096 * 2048 * (8192 + 1024)
    assert long_chunk == pytest.approx(1e3 * flops / (0.5 * 312e12))
    short_chunk = profile.attention_ms(new_tokens=16, cached_tokens=8192)
    assert short_chunk == pytest.approx(1e3 * 524_288 * (8192 + 16) / 2.039e12)


def test_all_reduces_never_fall_with_size_unless_read_raw(tmp_path):
    """Jitter is averaged over the sizes it jumps between; raw keeps it."""
    _write_profile(tmp_path, rows=[[0.0, 0.2, 0.1, 1, 2], [0.0, 0.4, 0.1, 101, 2]])
    medians = {8192: 0.01, 16_384: 0.06, 24_576: 0.02, 32_768: 0.08}
    _write_all_reduce(tmp_path, medians=medians)
    (smooth,) = read_profiles(tmp_path, all_reduce=AllReduce.MONOTONE)
    (raw,) = read_profiles(tmp_path, all_reduce=AllReduce.RAW)
    assert smooth.all_reduce_ms is not None and raw.all_reduce_ms is not None
    assert [raw.all_reduce_ms(size) for size in medians] == list(medians.values())
    read = [smooth.all_reduce_ms(size) for size in medians]
    assert read == pytest.approx([0.01, 0.04, 0.04, 0.08])


@given(points=st.dictionaries(st.integers(1, 99), st.floats(0.0, 9.0), min_size=2))
def test_curve_goes_through_its_points(points):
    """Exact where measured, level before the first."""
    curve = Curve({float(at): value for at, value in points.items()})
    for at, value in points.items():
        assert curve(at) == pytest.approx(value, abs=1e-9)
    assert curve(0.5) == curve(min(points))


def test_drawn_iterations_stay_within_the_server():
    """Contexts within 32k and KV, batches within the profiles, equal seeds equal draws."""
    flat = Curve({1.0: 1.0, 4096.0: 2.0})
    profile = Profile(
        gpu=A100,
        llama=SEVEN_B,
        tensor_parallel_size=1,
        operators_ms=flat,
        all_reduce_ms=None,
    )
    drawn = draw_iterations(profile, seed=3, count=600)
    assert drawn == draw_iterations(profile, seed=3, count=600)
    assert drawn != draw_iterations(profile, seed=4, count=600)
    shapes = [sample.shape for sample in drawn]
    assert all(h.decode_context_tokens <= profile.kv_tokens for h in shapes)
    assert all(h.decode_max_context_tokens <= LONGEST_CONTEXT_TOKENS for h in shapes)
    assert all(0 < h.prefill_tokens + h.decode_rows <= 4096 for h in shapes)
    assert 0.4 < sum(h.is_decode_only for h in shapes) / len(shapes) < 0.6
    assert any(h.prefill_rows and h.decode_rows for h in shapes)
    assert any(h.prefill_rows and not h.decode_rows for h in shapes)


def test_published_profiles_read_as_their_notes_say():
    """The A100's Llama-2-7B at TP 1: 9.3 ms at 1 token, 33.4 at 512, 261.5 at 4,096."""
    folder = traces_folder()
    if folder is None:
        pytest.skip("vidur_*_mlp.csv are not in SLACKTIDE_TRACES nor in ../shared/traces")
    profiles = {p.name: p for p in read_profiles(folder, all_reduce=AllReduce.RAW)}
    a100 = profiles["a100 llama2-7b tp1"]
    read = [a100.operators_ms(tokens) for tokens in (1, 512, 4096)]
    assert read == pytest.approx([9.3, 33.4, 261.5], rel=0.01)  # 4,096 was measured twice
    assert all(p.kv_tokens >= 2 * LONGEST_CONTEXT_TOKENS for p in profiles.values())
