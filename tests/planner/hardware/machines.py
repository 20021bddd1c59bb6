"""Machines for tests: of the public tables where they are there, and made up."""

import os
from pathlib import Path

import pytest
from hypothesis import strategies as st

from planner.hardware.curve import Curve
from planner.hardware.device import DEVICES, device_named
from planner.hardware.effects import Effects
from planner.hardware.machine import Machine, Source, build_machine
from planner.hardware.model import model_named
from planner.hardware.operators import table_names
from planner.latency.features import BatchShape


def lines_of(name):
    """A table in SLACKTIDE_TRACES, or in the folder `shared/traces` beside the repository."""
    beside = Path(__file__).parents[4] / "shared" / "traces"
    path = Path(os.environ.get("SLACKTIDE_TRACES", beside)) / name
    if not path.is_file():
        pytest.skip(f"{name} is not in SLACKTIDE_TRACES nor in ../shared/traces")
    return path.read_text(encoding="utf-8").splitlines()


def measured(device, model, *, size=1):
    """A machine of the public tables."""
    device, model = device_named(device), model_named(model)
    operators, all_reduces = table_names(device, model)
    return build_machine(
        device,
        model,
        tensor_parallel_size=size,
        operators=lines_of(operators),
        all_reduces=lines_of(all_reduces) if size > 1 else None,
    )


def of_curve(points, *, all_reduce=None, size=1, device="h100", model="llama2-7b"):
    """A machine of made-up tables, as they are."""
    return Machine(
        device=device_named(device),
        model=model_named(model),
        tensor_parallel_size=size,
        operators_ms=Curve.through(points),
        all_reduce_ms=None if all_reduce is None else Curve.through(all_reduce),
        source=Source.MEASURED,
    )


def tables(largest):
    """Points that jitter, rise and fall."""
    places = st.integers(1, largest).map(float)
    return st.dictionaries(places, st.floats(0.01, 50.0), min_size=2, max_size=12)


@st.composite
def machines(draw):
    """Any tables on any device, on one or two of them."""
    size = draw(st.sampled_from([1, 2]))
    return of_curve(
        draw(tables(512)),
        all_reduce=draw(tables(1 << 22)) if size > 1 else None,
        size=size,
        device=draw(st.sampled_from(DEVICES)).name,
        model=draw(st.sampled_from(["llama2-7b", "llama2-70b"])),
    )


effects = st.builds(
    Effects,
    pads_decodes=st.booleans(),
    steps_tables=st.booleans(),
    launches_kernels=st.booleans(),
    ramps_attention=st.booleans(),
    captured_rows=st.sets(st.integers(1, 300), min_size=1, max_size=8).map(
        lambda rows: tuple(sorted(rows))
    ),
)

shapes = st.builds(
    BatchShape,
    prefill_tokens=st.integers(0, 1024),
    prefill_rows=st.integers(0, 8),
    prefill_context_tokens=st.integers(0, 100_000),
    prefill_attention=st.floats(0.0, 1e9),
    prefill_padded_sq=st.floats(0.0, 1e10),
    decode_rows=st.integers(0, 400),
    decode_context_tokens=st.integers(0, 400_000),
    decode_max_context_tokens=st.integers(0, 40_000),
)


def decodes(rows, *, context_tokens):
    """Equal decode rows."""
    return BatchShape(
        decode_rows=rows,
        decode_context_tokens=rows * context_tokens,
        decode_max_context_tokens=context_tokens if rows else 0,
    )
