"""The summary of a load against an SLO, as JSON-like data.

Owns the report's keys; they are a contract with benches and the demo. Refuses rounding
of what it decides on: only what is shown is rounded. `failed` counts every request that
did not complete, and so includes those shed, timed out and dropped.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from controlplane.load.record import RequestRecord
from planner.model import Slo
from planner.slo import Quantiles, quantiles, summarize


def load_report(records: Sequence[RequestRecord], slo: Slo) -> dict[str, Any]:
    """Counts, latencies in ms, attainment and errors under the key `online`.

    Args:
        records: of one load, all of them.
        slo: what attainment is measured against.
    """
    summary = summarize([record.trace for record in records], slo)
    return {
        "online": {
            "requests": summary.requests,
            "completed": summary.completed,
            "failed": summary.requests - summary.completed,
            "shed": summary.shed,
            "timed_out": summary.timed_out,
            "dropped": sum(record.sent_s is None for record in records),
            "attainment": round(summary.attainment_ratio, 4),
            "attained": summary.attained,
            "ttft_ms": _shown(summary.ttft_ms),
            "itl_ms": _shown(summary.itl_ms),
            "tpot_ms": _shown(summary.tpot_ms),
            "send_lag_ms": _shown(quantiles(record.lag_ms for record in records)),
            "prompt_tokens": sum(record.prompt_tokens for record in records),
            "output_tokens": summary.output_tokens,
            "duration_s": round(_duration_s(records), 3),
            "replicas": dict(sorted(Counter(r.replica for r in records if r.replica).items())),
            "errors": dict(Counter(r.error for r in records if r.error).most_common(20)),
            "slo": {
                "ttft_ms": slo.ttft_ms,
                "itl_ms": slo.itl_ms,
                "tpot_ms": slo.tpot_ms,
                "attainment_ratio": slo.attainment_ratio,
            },
        }
    }


def request_rows(records: Sequence[RequestRecord]) -> list[dict[str, Any]]:
    """One row a request, times in ms from the first scheduled send."""
    start_s = min((record.trace.scheduled_s for record in records), default=0.0)
    return [
        {
            "index": record.index,
            "scheduled_ms": round((record.trace.scheduled_s - start_s) * 1e3, 3),
            "lag_ms": round(record.lag_ms, 3),
            "outcome": record.trace.outcome.value,
            "replica": record.replica,
            "prompt_tokens": record.prompt_tokens,
            "output_tokens": record.trace.output_tokens,
            "chunks": [
                [round((chunk.at_s - record.trace.scheduled_s) * 1e3, 3), chunk.tokens]
                for chunk in record.trace.chunks
            ],
            "error": record.error,
        }
        for record in records
    ]


def _shown(figures: Quantiles) -> dict[str, float]:
    return {
        "p50": round(figures.p50, 3),
        "p90": round(figures.p90, 3),
        "p99": round(figures.p99, 3),
        "mean": round(figures.mean, 3),
        "max": round(figures.max, 3),
        "count": figures.count,
    }


def _duration_s(records: Sequence[RequestRecord]) -> float:
    """From the first scheduled send to the last token."""
    if not records:
        return 0.0
    start_s = min(record.trace.scheduled_s for record in records)
    last_s = max(
        record.trace.chunks[-1].at_s if record.trace.chunks else record.trace.scheduled_s
        for record in records
    )
    return last_s - start_s
