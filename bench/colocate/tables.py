"""The table of arms, for people.

Owns rounding: medians over rounds with half the distance of the least and the greatest.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence

from bench.colocate.reading import ArmReading
from controlplane.cli.output import show_table
from planner.model import Slo

_COLUMNS: Sequence[tuple[str, Callable[[ArmReading], float]]] = (
    ("TTFT mean", lambda r: r.ttft.mean),
    ("p50", lambda r: r.ttft.p50),
    ("p99", lambda r: r.ttft.p99),
    ("ITL mean", lambda r: r.itl.mean),
    ("p50", lambda r: r.itl.p50),
    ("p99", lambda r: r.itl.p99),
    ("off in/s", lambda r: r.offline_prompt_tokens_per_s),
    ("off out/s", lambda r: r.offline_output_tokens_per_s),
    ("total/s", lambda r: r.total_tokens_per_s),
)


def show_arms(trace: str, readings: Mapping[str, Sequence[ArmReading]], *, slo: Slo) -> None:
    """Prints one row an arm: milliseconds, percent of requests within `slo`, tokens/s."""
    rounds = max((len(found) for found in readings.values()), default=0)
    print(f"\n{trace}: medians of {rounds} round(s), ± half their range; ms, tokens/s")
    rows = [
        [
            name,
            *(_cell([read(r) for r in found]) for _, read in _COLUMNS),
            _cell([100.0 * r.attainment_ratio(slo) for r in found]),
        ]
        for name, found in readings.items()
        if found
    ]
    show_table(
        ["arm", *(title for title, _ in _COLUMNS), "attain %"], rows, right=[False] + [True] * 10
    )


def _cell(values: Sequence[float]) -> str:
    text = f"{statistics.median(values):.4g}"
    if len(values) > 1:
        text += f" ±{(max(values) - min(values)) / 2:.2g}"
    return text


def sentence(r: ArmReading) -> str:
    """A reading in a line, for progress."""
    return (
        f"TTFT {r.ttft.p50:.0f}/{r.ttft.p99:.0f} ITL {r.itl.p50:.1f}/{r.itl.p99:.0f} ms,"
        f" offline {r.offline_tokens_per_s:.0f} tokens/s"
    )
