"""How the answer of `slacktide replay` is shown and written.

Owns files and tables. Refuses to load the simulator before there is an answer.
"""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from controlplane.cli.failures import CommandError
from controlplane.cli.output import Format, show_mapping, show_table
from controlplane.cli.replay_fleet_command import write_file

if TYPE_CHECKING:
    from planner.replay.document import ReplayDocument


def answer_files(report: Path | None, json_file: Path | None) -> dict[str, Path | None]:
    """Where the answer goes; the figures lie beside the report unless told otherwise.

    Raises:
        CommandError: A place that cannot be written.
    """
    if report is not None and json_file is None:
        json_file = report.with_suffix(".json")
    if report is not None and report == json_file:
        raise CommandError(f"{report}: cannot hold report and figures; give --report an .html")
    for path in (report, json_file):
        if path is None:
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
            raise CommandError(f"{path}: cannot be written; give a file in a folder of yours")
    return {"report": report, "json_file": json_file}


def write_answer(
    document: "ReplayDocument", *, report: Path | None, json_file: Path | None
) -> None:
    """Writes the report and its figures, where they are wanted."""
    from planner.replay.document import to_values  # as above
    from planner.replay.report import report_html

    if report is not None:
        write_file(report, report_html(document))
    if json_file is not None:
        write_file(json_file, json.dumps(to_values(document), ensure_ascii=False) + "\n")


def show_answer(document: "ReplayDocument", output: Format) -> None:
    """Prints a line a policy, or the figures as data."""
    from planner.replay.document import to_values  # as above

    if output is not Format.TABLE:
        show_mapping(to_values(document), output)
        return
    rows = []
    for run in document.runs:
        ttft, itl = run.recorded.ttft_ms.quantiles(), run.recorded.itl_ms.quantiles()
        verdicts = run.verdicts(document.targets)
        kept = "kept" if all(verdict.kept for verdict in verdicts) else "missed"
        waits = (ttft.mean, ttft.p99, itl.mean, itl.p99)
        rows.append(
            [
                run.policy,
                kept if verdicts else "-",
                *(f"{wait_ms:.1f}" if run.serves_online else "-" for wait_ms in waits),
                f"{run.recorded.offline_tokens_per_s:.0f}",
                f"{run.recorded.total_tokens_per_s:.0f}",
            ]
        )
    rows += [
        [f"bound beside {bound.policy}", *"-----", f"<= {bound.offline_tokens_per_s:.0f}", "-"]
        for bound in document.bounds
    ]
    heads = [
        "policy", "slo", "ttft mean ms", "ttft p99 ms", "itl mean ms", "itl p99 ms",
        "offline tokens/s", "total tokens/s",
    ]  # fmt: skip
    show_table(heads, rows, right=[False, False] + [True] * 6)
    targets = ", ".join(
        f"{target.statistic.removesuffix('_ms')} <= {target.limit_ms:.1f} ms"
        for target in document.targets
    )
    workload = document.workload
    print(
        f"\n{workload.requests} requests over {workload.duration_s:.0f} s of {workload.name} on"
        f" {document.engine}, simulated" + (f"\nSLO: {targets}" if targets else "")
    )
    for note in document.notes:
        print(f"note: {note}")
