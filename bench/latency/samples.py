"""Measured iterations as a file.

Owns the format of saved samples: what they were measured on, and one row an iteration.
Refuses a file of another format. Invariant: `read_samples` inverts `write_samples`.
"""

import json
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import Any

from planner.latency.features import BatchShape
from planner.latency.sample import IterationSample

_FORMAT = 1
_FIELDS = [field.name for field in fields(BatchShape)]


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSamples:
    """What one run of an engine gave.

    `parts` names the part of the run each sample is from, by its index in `samples`.
    """

    identity: str
    configuration: dict[str, Any]
    machine: dict[str, Any]
    lost: int  # iterations that left the engine's ring before they were read
    samples: tuple[IterationSample, ...]
    parts: tuple[str, ...]


def write_samples(path: Path, run: EngineSamples) -> None:
    """Writes a run, the folder included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {
        "format": _FORMAT,
        "identity": run.identity,
        "configuration": run.configuration,
        "machine": run.machine,
        "lost": run.lost,
        "fields": ["part", "measured_ms", *_FIELDS],
        "rows": [
            [part, sample.measured_ms, *astuple(sample.shape)]
            for part, sample in zip(run.parts, run.samples, strict=True)
        ],
    }
    path.write_text(json.dumps(values) + "\n")


def read_samples(path: Path) -> EngineSamples:
    """Reads a run.

    Raises:
        ValueError: the file is of another format.
        OSError: it cannot be read.
    """
    values = json.loads(path.read_text())
    expected = ["part", "measured_ms", *_FIELDS]
    if values.get("format") != _FORMAT or values.get("fields") != expected:
        raise ValueError(
            f"{path}: format {values.get('format')!r} with fields {values.get('fields')}, "
            f"allowed {_FORMAT} with {expected}; collect the samples anew"
        )
    rows = values["rows"]
    return EngineSamples(
        identity=values["identity"],
        configuration=values["configuration"],
        machine=values["machine"],
        lost=values["lost"],
        samples=tuple(
            IterationSample(
                measured_ms=row[1], shape=BatchShape(**dict(zip(_FIELDS, row[2:], strict=True)))
            )
            for row in rows
        ),
        parts=tuple(row[0] for row in rows),
    )
