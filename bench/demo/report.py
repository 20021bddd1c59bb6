"""What the demo found, as JSON and as text.

Owns the keys of `build/demo/report.json`; they are a contract.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slacktide.v1.batch_pb2 import BATCH_STATE_COMPLETED, Batch, BatchState
from slacktide.v1.placement_pb2 import Plan, PlanStatus
from slacktide.v1.replica_pb2 import Replica
from slacktide.wire.version import build_version

from bench.demo.batch import Verdict
from bench.harness import machine
from controlplane.cli.output import show_table
from controlplane.cli.placement import print_placements, summary_lines
from controlplane.cli.wording import bare, enum_word


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """All a run of the demo saw."""

    seed: int
    online: dict[str, Any]
    batch: Batch
    verdict: Verdict
    output: Path
    errors: Path
    plan: Plan
    replicas: tuple[Replica, ...]
    phases_s: dict[str, float]

    @property
    def is_success(self) -> bool:
        """No online request failed, and the batch is complete to the line."""
        return (
            self.online["requests"] > 0
            and self.online["failed"] == 0
            and self.batch.state == BATCH_STATE_COMPLETED
            and self.verdict.is_exact
        )


def as_values(found: Findings) -> dict[str, Any]:
    """The report, JSON-like."""
    batch, plan, seconds = found.batch, found.plan, _batch_s(found.batch)
    tokens = batch.prompt_tokens + batch.output_tokens
    reports = [replica.report for replica in found.replicas]
    return {
        "success": found.is_success,
        "version": build_version(),
        "seed": found.seed,
        "machine": machine(),
        "online": found.online,
        "batch": {
            "name": bare(batch.name),
            "state": enum_word(BatchState, batch.state),
            "lines_in": found.verdict.lines_in,
            "lines_out": found.verdict.lines_out,
            "errors": found.verdict.errors,
            "exactly_one_line_each": found.verdict.is_exact,
            "problems": list(found.verdict.problems[:20]),
            "duration_s": round(seconds, 3),
            "output_path": str(found.output),
            "error_path": str(found.errors),
        },
        "offline": {
            "tokens_per_s": round(tokens / seconds, 1) if seconds else 0.0,
            "output_tokens_per_s": round(batch.output_tokens / seconds, 1) if seconds else 0.0,
            "prompt_tokens": batch.prompt_tokens,
            "output_tokens": batch.output_tokens,
        },
        "plan": {
            "name": bare(plan.name),
            "status": enum_word(PlanStatus, plan.status),
            "solver": plan.solver,
            "objective": plan.objective,
            "bound": plan.bound,
            "gap": plan.gap,
            "placements": [
                {
                    "replica": bare(p.replica),
                    "deployment": bare(p.deployment),
                    "node": bare(p.node),
                    "devices": list(p.device_indices),
                    "online_share": p.online_share,
                    "offline_share": p.offline_share,
                    "latency_budget_ms": p.latency_budget_ms,
                }
                for p in plan.placements
            ],
        },
        "engine": {
            "version": next((r.engine_version for r in reports if r.engine_version), ""),
            "plugin_version": next((r.plugin_version for r in reports if r.plugin_version), ""),
        },
        "phases_s": {name: round(value, 1) for name, value in found.phases_s.items()},
    }


def print_report(values: dict[str, Any], plan: Plan) -> None:
    """The same for people, on stdout."""
    online, batch, offline, slo = (
        values["online"], values["batch"], values["offline"], values["online"]["slo"],
    )  # fmt: skip
    print("\nPlacement")
    print_placements(plan)
    print("\n".join(summary_lines(plan)))
    print("\nOnline")
    rows = [
        _latency_row("TTFT", online["ttft_ms"], slo["ttft_ms"]),
        _latency_row("ITL", online["itl_ms"], slo["itl_ms"]),
    ]
    show_table(["latency", "p50 ms", "p99 ms", "slo ms"], rows, right=[False, True, True, True])
    print(
        f"{online['requests']} requests, {online['failed']} failed,"
        f" attainment {online['attainment']:.2%} (target {slo['attainment_ratio']:.0%})"
    )
    print("\nBatch")
    print(
        f"{batch['state']}: {batch['lines_in']} lines in, {batch['lines_out']} out,"
        f" {batch['errors']} errors; {offline['tokens_per_s']:.0f} offline tokens/s"
    )
    print(f"output {batch['output_path']}, errors {batch['error_path']}")
    for problem in batch["problems"]:
        print(f"problem: {problem}")
    for error, count in online["errors"].items():
        print(f"online error, {count} times: {error}")


def _latency_row(name: str, figures: dict[str, float], target_ms: float | None) -> list[str]:
    target = f"{target_ms:.0f}" if target_ms else "-"
    return [name, f"{figures['p50']:.1f}", f"{figures['p99']:.1f}", target]


def _batch_s(batch: Batch) -> float:
    if not batch.HasField("start_time") or not batch.HasField("end_time"):
        return 0.0
    return (batch.end_time.ToNanoseconds() - batch.start_time.ToNanoseconds()) / 1e9
