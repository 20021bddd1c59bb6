"""Iterations of GPUs, composed from measured operator times.

Owns which machines are drawn on, where their public tables lie, and the time of an iteration
whose rows are known one by one: its operators at its number of tokens (Vidur's profiles,
MLSys 2024; the line between what was measured), two all-reduces a layer where there are
several devices and they were measured, and each row's attention by the roofline. The
measured all-reduces of small messages jump between two levels, 10 and 60 microseconds say,
from one size to the next: launch jitter, not size. They are read through a monotone
regression unless asked for raw. Refuses to call it a measurement of iterations; see
`planner.hardware.machine`. Deterministic by seed.
"""

import os
import random
from collections.abc import Iterator
from enum import Enum
from itertools import islice
from pathlib import Path

from planner.hardware.curve import Curve
from planner.hardware.device import device_named
from planner.hardware.machine import Machine, Source
from planner.hardware.model import model_named
from planner.hardware.operators import read_all_reduces, read_operators, table_names
from planner.hardware.sampling import LONGEST_CONTEXT_TOKENS, IterationRows, draw_rows
from planner.latency.sample import IterationSample

TRACES_VARIABLE = "SLACKTIDE_TRACES"
DEVICES = tuple(map(device_named, ("a40", "a100-80gb", "h100")))
MODELS = tuple(map(model_named, ("llama2-7b", "llama2-70b")))


class AllReduce(Enum):
    """How measured all-reduces are read."""

    MONOTONE = "monotone"
    RAW = "raw"


def label_of(machine: Machine) -> str:
    """For tables: one device of a family is drawn on, so the family says which."""
    size = machine.tensor_parallel_size
    return f"{machine.device.family} {machine.model.name} tp{size}"


def traces_folder() -> Path | None:
    """Where the public profiles lie, or None; see TRACES_VARIABLE."""
    beside = Path(__file__).resolve().parents[2].parent / "shared" / "traces"
    folder = Path(os.environ.get(TRACES_VARIABLE, beside))
    return folder if any(folder.glob("vidur_*_mlp.csv")) else None


def read_machines(folder: Path, *, all_reduce: AllReduce) -> Iterator[Machine]:
    """All that were measured and whose model leaves room for two of the longest contexts.

    Raises:
        TableError: A table cannot be read.
    """
    for device in DEVICES:
        for model in MODELS:
            operators_name, all_reduces_name = table_names(device, model)
            operators_path, all_reduces_path = folder / operators_name, folder / all_reduces_name
            if not operators_path.is_file():
                continue
            with operators_path.open(newline="") as lines:
                operators = read_operators(lines, model=model)
            all_reduces: dict[int, Curve] = {}
            if all_reduces_path.is_file():
                with all_reduces_path.open(newline="") as lines:
                    all_reduces = read_all_reduces(lines)
            for size, operators_ms in operators.items():
                all_reduce_ms = all_reduces.get(size) if size > 1 else None
                if all_reduce_ms is not None and all_reduce is AllReduce.MONOTONE:
                    all_reduce_ms = all_reduce_ms.monotone()
                machine = Machine(
                    device=device,
                    model=model,
                    tensor_parallel_size=size,
                    operators_ms=operators_ms,
                    all_reduce_ms=all_reduce_ms,
                    source=Source.MEASURED,
                )
                if machine.kv_tokens >= 2 * LONGEST_CONTEXT_TOKENS:
                    yield machine


def draw_iterations(machine: Machine, *, seed: int, count: int) -> list[IterationSample]:
    """Iterations of a server, as `planner.hardware.sampling` draws them, and their times."""
    source = random.Random(f"{seed}/{label_of(machine)}")
    drawn = draw_rows(source, kv_tokens=machine.kv_tokens)
    return [
        IterationSample(shape=rows.shape, measured_ms=rows_ms(machine, rows))
        for rows in islice(drawn, count)
    ]


def rows_ms(machine: Machine, rows: IterationRows) -> float:
    """Milliseconds of an iteration, each row's attention by itself.

    Rows know more than their sums: an iteration's time here is not quite a function of what
    a predictor sees.
    """
    total = machine.matrices_ms(rows.tokens)
    for context in rows.decodes:
        total += machine.attention_ms(pairs=context + 0.5, read_tokens=context + 1)
    for new, cached in rows.prefills:
        total += machine.attention_ms(pairs=new * (cached + new / 2.0), read_tokens=cached + new)
    return total
