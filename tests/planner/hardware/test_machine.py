"""A model on devices: KV it holds, the smooth time of an iteration, where it is from."""

import pytest
from hypothesis import given
from machines import decodes, lines_of, machines, measured, of_curve, shapes

from planner.hardware.device import DEVICES, device_named
from planner.hardware.machine import Source, build_machine
from planner.hardware.model import MODELS, model_named
from planner.hardware.operators import read_operators, table_names
from planner.latency.features import BatchShape

FLAT = {1.0: 8.0, 101.0: 18.0}


def test_iteration_sums_operators_attention_and_all_reduces():
    """By hand: two devices, a decode of 1,000 tokens."""
    machine = of_curve(FLAT, all_reduce={8192.0: 0.01, 819_200.0: 0.05}, size=2)
    read_ms = 1e3 * 524_288 * 1000 / 3.35e12 / 2
    shape = BatchShape().with_decode(context_tokens=1000)
    assert machine.iteration_ms(shape) == pytest.approx(8.0 + read_ms + 64 * 0.01)
    more = shape.with_prefill(new_tokens=50, cached_tokens=0)  # 51 tokens
    attention_ms = max(
        1e3 * 4 * 32 * 4096 * 1250 / (0.5 * 989e12 * 2), 1e3 * 524_288 * 50 / 3.35e12 / 2
    )
    all_reduce_ms = 64 * (0.01 + 0.04 * 50 / 99)
    assert machine.iteration_ms(more) == pytest.approx(
        13.0 + read_ms + attention_ms + all_reduce_ms
    )


def test_prefill_attention_is_the_slower_of_arithmetic_and_reading():
    """A long chunk is bound by arithmetic, a short one over a long prefix by memory."""
    machine = of_curve({1.0: 0.0, 2.0: 0.0}, device="a100-80gb")
    long_chunk = BatchShape().with_prefill(new_tokens=2048, cached_tokens=8192)
    flops = 4 * 32 * 4096 * 2048 * (8192 + 1024)
    assert machine.iteration_ms(long_chunk) == pytest.approx(1e3 * flops / (0.5 * 312e12))
    short_chunk = BatchShape().with_prefill(new_tokens=16, cached_tokens=8192)
    read_ms = 1e3 * 524_288 * (8192 + 16) / 2.039e12
    assert machine.iteration_ms(short_chunk) == pytest.approx(read_ms)


@given(machine=machines(), shape=shapes)
def test_iteration_takes_time_unless_it_is_empty(machine, shape):
    """Nothing takes no time."""
    took = machine.iteration_ms(shape)
    assert took > 0.0 if shape.prefill_rows or shape.decode_rows else took == 0.0


def test_kv_is_what_the_weights_leave():
    """Llama-2-7B: 13.48 GB of weights, 524,288 B a token, of 90 % of the memory."""
    small = of_curve(FLAT, device="a100-40gb")
    assert small.kv_tokens == (36_000_000_000 - 2 * 6_738_415_616) // 524_288 == 42_959
    assert of_curve(FLAT, model="llama2-70b").kv_tokens == 0
    assert of_curve(FLAT, model="llama2-70b", size=4).kv_tokens > 400_000


def test_kv_heads_are_repeated_where_devices_outnumber_them():
    """Eight KV heads on sixteen devices: two hold each, so KV and its reading gain nothing."""
    eight, sixteen = (of_curve(FLAT, model="llama2-70b", size=size) for size in (8, 16))
    assert sixteen.read_ms == eight.read_ms
    assert sixteen.kv_tokens < 1.5 * eight.kv_tokens
    assert sixteen.pair_ms == eight.pair_ms / 2


def test_size_that_does_not_divide_the_heads_is_refused():
    """As an engine would."""
    with pytest.raises(ValueError, match="tensor parallel size 3 does not divide its 32 heads"):
        of_curve(FLAT, size=3)


def test_machine_says_what_was_measured():
    """Derived where any of its tables is from the sheet."""
    h100, llama = device_named("h100"), model_named("llama2-7b")
    assert build_machine(h100, llama).source is Source.DERIVED
    assert build_machine(h100, llama).name == "h100 llama2-7b tp1 (derived)"
    assert measured("h100", "llama2-7b").name == "h100 llama2-7b tp1"
    assert measured("h100", "llama2-7b", size=2).source is Source.MEASURED
    operators, _ = table_names(h100, llama)
    half = build_machine(h100, llama, tensor_parallel_size=2, operators=lines_of(operators))
    assert half.source is Source.DERIVED and half.all_reduce_ms is not None


def test_size_the_table_lacks_is_refused():
    """A table is not silently replaced by the sheet."""
    h100, llama = device_named("h100"), model_named("llama2-7b")
    operators, _ = table_names(h100, llama)
    with pytest.raises(ValueError, match="measured on 1, 2, 4, 8 devices, not on 16"):
        build_machine(h100, llama, tensor_parallel_size=16, operators=lines_of(operators))


TOKENS = (1, 16, 64, 96, 128, 192, 256, 384, 512, 1024, 2048, 4096)


@pytest.mark.parametrize("family", ["a40", "a100-80gb", "h100"])
@pytest.mark.parametrize("model", ["llama2-7b", "llama2-70b"])
def test_derived_tables_are_near_the_measured_ones(family, model):
    """As stated: 11 % off in the mean of a table, a third at most."""
    device, shape = device_named(family), model_named(model)
    table = read_operators(lines_of(table_names(device, shape)[0]), model=shape)
    errors = []
    for size, found in table.items():
        derived = build_machine(device, shape, tensor_parallel_size=size).operators_ms
        off = [abs(derived(tokens) / found(tokens) - 1.0) for tokens in TOKENS]
        assert max(off) < 0.334
        errors += off
    assert sum(errors) / len(errors) < 0.11


@pytest.mark.parametrize("device", DEVICES, ids=lambda d: d.name)
@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.name)
def test_every_model_runs_on_every_device_by_the_sheet(device, model):
    """More devices are faster, where all-reduces do not eat it: a prompt of 2,048."""
    sizes = [size for size in (1, 2, 4) if model.heads % size == 0]
    prompt = BatchShape().with_prefill(new_tokens=2048, cached_tokens=0)
    took = [
        build_machine(device, model, tensor_parallel_size=size).iteration_ms(prompt)
        for size in sizes
    ]
    assert took == sorted(took, reverse=True)


def test_decodes_read_their_kv_once():
    """Twice the context is twice the reading; operators do not see it."""
    machine = of_curve(FLAT)
    base, once, twice = (
        machine.iteration_ms(decodes(10, context_tokens=tokens)) for tokens in (0, 1000, 2000)
    )
    assert twice - base == pytest.approx(2 * (once - base))
