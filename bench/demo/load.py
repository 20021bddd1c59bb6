"""The demo's online load.

Owns its shape: arrivals and lengths like the Azure conversation trace, lengths cut to an
eighth so that a CPU can bear them. Open loop, without retries.
"""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from controlplane.load.openloop import LoadProgress, LoadSettings, replay
from controlplane.load.report import load_report, request_rows
from planner.model import Slo
from planner.workload.generate import generate
from planner.workload.request import WorkloadRequest
from planner.workload.shape import shape

_LENGTH_SCALE = 1 / 8  # as in the baselines this is compared with
_MAX_CONTEXT_TOKENS = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class OnlineLoad:
    """How much online load, for how long."""

    seed: int
    duration_s: float
    requests_per_s: float

    def workload(self) -> Sequence[WorkloadRequest]:
        """The requests; equal seeds give equal ones."""
        drawn = generate(
            seed=self.seed, duration_s=self.duration_s, requests_per_s=self.requests_per_s
        )
        return shape(drawn, length_scale=_LENGTH_SCALE, max_context_tokens=_MAX_CONTEXT_TOKENS)


def run_load(
    load: OnlineLoad,
    *,
    gateway: str,
    deployment: str,
    slo: Slo,
    rows: Path | None = None,
    on_progress: Callable[[LoadProgress], None] | None = None,
) -> dict[str, Any]:
    """Replays the load against a gateway; returns what the client saw.

    Args:
        load: how much, for how long.
        gateway: host:port.
        deployment: bare id.
        slo: what attainment is measured against.
        rows: where to write one JSON line a request, with every chunk's time.
        on_progress: called between messages; must not block.
    """
    settings = LoadSettings(gateway=gateway, deployment=deployment, seed=load.seed)
    records = asyncio.run(
        replay(load.workload(), settings, on_progress=on_progress, progress_every_s=5.0)
    )
    if rows is not None:
        rows.write_text("".join(json.dumps(row) + "\n" for row in request_rows(records)))
    online: dict[str, Any] = load_report(records, slo)["online"]
    return online
