"""GPU iterations composed from operator profiles: which are read, summed and drawn."""

import csv

import pytest

from bench.latency.profiles import (
    AllReduce,
    draw_iterations,
    label_of,
    read_machines,
    rows_ms,
    traces_folder,
)
from planner.hardware.sampling import LONGEST_CONTEXT_TOKENS, IterationRows


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
    (machine,) = read_machines(tmp_path, all_reduce=AllReduce.MONOTONE)
    assert label_of(machine) == "a100 llama2-7b tp2"
    read_ms = 1e3 * 524_288 * (1000 + 1) / 2.039e12 / 2
    alone = rows_ms(machine, IterationRows(decodes=(1000,), prefills=()))
    assert alone == pytest.approx(32 * 0.3 + read_ms + 64 * 0.01)


def test_each_row_takes_its_own_roofline(tmp_path):
    """A short chunk's reading does not hide behind a long one's arithmetic, as in the sums."""
    _write_profile(tmp_path, rows=[[0.0, 0.2, 0.1, 1, 1], [0.0, 0.2, 0.1, 4096, 1]])
    (machine,) = read_machines(tmp_path, all_reduce=AllReduce.RAW)
    rows = IterationRows(decodes=(), prefills=((2048, 8192), (16, 8192)))
    arithmetic_ms = 1e3 * 4 * 32 * 4096 * 2048 * (8192 + 1024) / (0.5 * 312e12)
    reading_ms = 1e3 * 524_288 * (8192 + 16) / 2.039e12
    assert rows_ms(machine, rows) == pytest.approx(32 * 0.3 + arithmetic_ms + reading_ms)
    assert machine.iteration_ms(rows.shape) < rows_ms(machine, rows)


def test_all_reduces_never_fall_with_size_unless_read_raw(tmp_path):
    """Jitter is averaged over the sizes it jumps between; raw keeps it."""
    _write_profile(tmp_path, rows=[[0.0, 0.2, 0.1, 1, 2], [0.0, 0.4, 0.1, 101, 2]])
    medians = {8192: 0.01, 16_384: 0.06, 24_576: 0.02, 32_768: 0.08}
    _write_all_reduce(tmp_path, medians=medians)
    (smooth,) = read_machines(tmp_path, all_reduce=AllReduce.MONOTONE)
    (raw,) = read_machines(tmp_path, all_reduce=AllReduce.RAW)
    assert smooth.all_reduce_ms is not None and raw.all_reduce_ms is not None
    assert [raw.all_reduce_ms(size) for size in medians] == list(medians.values())
    read = [smooth.all_reduce_ms(size) for size in medians]
    assert read == pytest.approx([0.01, 0.04, 0.04, 0.08])


def test_drawn_iterations_are_those_of_the_seed_and_last_what_their_rows_do(tmp_path):
    """Equal seeds equal draws; batches end where the profiles do, contexts at 32k."""
    _write_profile(tmp_path, rows=[[0.0, 0.2, 0.1, 1, 1], [0.0, 2.0, 0.1, 4096, 1]])
    (machine,) = read_machines(tmp_path, all_reduce=AllReduce.MONOTONE)
    drawn = draw_iterations(machine, seed=3, count=200)
    assert drawn == draw_iterations(machine, seed=3, count=200)
    assert drawn != draw_iterations(machine, seed=4, count=200)
    for sample in drawn:
        shape = sample.shape
        assert 0 < shape.prefill_tokens + shape.decode_rows <= 4096
        assert shape.decode_max_context_tokens <= LONGEST_CONTEXT_TOKENS
        # The rooflines of rows by themselves are together at least that of their sums.
        assert sample.measured_ms >= machine.iteration_ms(shape) * (1.0 - 1e-12)


def test_published_profiles_read_as_their_notes_say():
    """The A100's Llama-2-7B at TP 1: 9.3 ms at 1 token, 33.4 at 512, 261.5 at 4,096."""
    folder = traces_folder()
    if folder is None:
        pytest.skip("vidur_*_mlp.csv are not in SLACKTIDE_TRACES nor in ../shared/traces")
    machines = {label_of(m): m for m in read_machines(folder, all_reduce=AllReduce.RAW)}
    a100 = machines["a100 llama2-7b tp1"]
    read = [a100.operators_ms(tokens) for tokens in (1, 512, 4096)]
    assert read == pytest.approx([9.3, 33.4, 261.5], rel=0.01)  # 4,096 was measured twice
    assert all(m.kv_tokens >= 2 * LONGEST_CONTEXT_TOKENS for m in machines.values())
