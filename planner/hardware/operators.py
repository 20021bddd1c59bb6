"""Measured times of operators and all-reduces, read from lines.

Owns the public format: Vidur's profiles (Agrawal et al., MLSys 2024), CSV with a header.
Those of a model's matrices have `time_stats.<operator>.median` in ms for one decoder layer,
by `num_tokens` and `num_tensor_parallel_workers`; those of all-reduces have
`time_stats.all_reduce.median` by `size` in bytes, `num_workers` and `devices_per_node`.
Refuses files: the caller opens them, and puts the file's name in front of an error. Left
out: the embedding, a lookup that no layer repeats, and all-reduces between nodes. What was
measured more than once is averaged.
"""

import csv
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from statistics import mean

from planner.hardware.curve import Curve
from planner.hardware.device import Device
from planner.hardware.model import ModelShape

_TOKENS, _WORKERS = "num_tokens", "num_tensor_parallel_workers"
_ALL_REDUCE = "time_stats.all_reduce.median"
_SIZES = {"n_embd": "hidden", "n_expanded_embd": "intermediate", "n_head": "heads"}


class TableError(ValueError):
    """A table that cannot be read; says which line, what it held and what is allowed."""


def table_names(device: Device, model: ModelShape) -> tuple[str, str]:
    """What the tables' files are called: of operators, and of all-reduces.

    Devices of a family share them. If the A100's is of one with 80 GB, whose memory is
    faster by a third, one with 40 GB comes out too fast where weights are what is waited
    for, up to some 64 tokens.
    """
    family = device.family
    return (
        f"vidur_{family}_{model.name.replace('-', '_')}_mlp.csv",
        f"vidur_{family}_dgx_all_reduce.csv",
    )


def read_operators(lines: Iterable[str], *, model: ModelShape) -> dict[int, Curve]:
    """Milliseconds of all operators of all layers but attention, by tokens of an iteration.

    Args:
        lines: The table, header first.
        model: What it was measured of.

    Returns:
        By tensor parallel size.

    Raises:
        TableError: A column is missing, a line is malformed or of another model, or a
            size was measured at fewer than two numbers of tokens.
    """
    points: dict[int, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    for number, row in _rows(lines, columns=(_TOKENS, _WORKERS)):
        try:
            medians = [
                _time(value or "0")
                for name, value in row.items()
                if name.endswith(".median") and ".emb." not in name
            ]
            size, tokens = _count(row[_WORKERS]), float(_count(row[_TOKENS]))
        except ValueError as error:
            raise TableError(f"line {number}: {error}") from error
        _check_model(row, model=model, number=number)
        points[size][tokens].append(model.layers * sum(medians))
    return _curves(points, of="numbers of tokens")


def read_all_reduces(lines: Iterable[str]) -> dict[int, Curve]:
    """Milliseconds of one all-reduce between devices of one node, by bytes.

    The measured times of small messages jump between two levels, 10 and 60 microseconds
    say, from one size to the next: launch jitter, not size. See `Curve.monotone`.

    Returns:
        By number of devices.

    Raises:
        TableError: As `read_operators`.
    """
    points: dict[int, dict[float, list[float]]] = defaultdict(lambda: defaultdict(list))
    columns = ("num_workers", "devices_per_node", "size", _ALL_REDUCE)
    for number, row in _rows(lines, columns=columns):
        try:
            workers, beside = _count(row["num_workers"]), _count(row["devices_per_node"])
            size_bytes, median_ms = float(_count(row["size"])), _time(row[_ALL_REDUCE])
        except ValueError as error:
            raise TableError(f"line {number}: {error}") from error
        if workers == beside:
            points[workers][size_bytes].append(median_ms)
    return _curves(points, of="sizes")


def _rows(
    lines: Iterable[str], *, columns: tuple[str, ...]
) -> Iterator[tuple[int, dict[str, str]]]:
    reader = csv.DictReader(lines)
    header = list(reader.fieldnames or ())
    missing = [name for name in columns if name not in header]
    if missing or not any(name.endswith(".median") for name in header):
        raise TableError(
            f"line 1: no column {', '.join(missing) or 'time_stats.<operator>.median'}; give a "
            "table with Vidur's columns"
        )
    for row in reader:
        if None in row or None in row.values():
            raise TableError(
                f"line {reader.line_num}: {_columns_of(row)} columns, the header has {len(header)}"
            )
        yield reader.line_num, row


def _columns_of(row: Mapping[str | None, object]) -> int:
    """How many columns a line had; the reader pads with None and gathers what is over."""
    over = row.get(None)
    return sum(value is not None for name, value in row.items() if name is not None) + (
        len(over) if isinstance(over, list) else 0
    )


def _check_model(row: Mapping[str, str], *, model: ModelShape, number: int) -> None:
    for column, field in _SIZES.items():
        if column in row and row[column] != str(getattr(model, field)):
            raise TableError(
                f"line {number}: {column} is {row[column]}, {model.name} has "
                f"{getattr(model, field)}; give the table of this model"
            )


def _time(text: str) -> float:
    value_ms = float(text)
    if not 0.0 <= value_ms < math.inf:
        raise ValueError(f"a time is {text}, must be finite and >= 0")
    return value_ms


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(f"a count is {text}, must be >= 1")
    return value


def _curves(points: Mapping[int, Mapping[float, list[float]]], *, of: str) -> dict[int, Curve]:
    if not points:
        raise TableError("the table holds no measurement; give one with at least two")
    curves = {}
    for size in sorted(points):
        if len(points[size]) < 2:
            raise TableError(f"{size} devices were measured at fewer than two {of}")
        curves[size] = Curve.through({at: mean(found) for at, found in points[size].items()})
    return curves
