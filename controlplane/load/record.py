"""What became of one request of a load.

Owns the record a sender returns. Refuses prompts and texts: lengths and times only.
"""

from dataclasses import dataclass

from planner.slo import RequestTrace


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestRecord:
    """One request; times are seconds on the generator's monotonic clock.

    Args:
        index: position in the workload.
        trace: scheduled time, chunks and outcome.
        sent_s: when it was really sent; None where it was dropped instead.
        prompt_tokens: sent.
        replica: that served it, `replicas/{replica}`; empty where none did.
        error: `CODE: message` of a request that did not complete.
    """

    index: int
    trace: RequestTrace
    sent_s: float | None
    prompt_tokens: int
    replica: str = ""
    error: str = ""

    @property
    def lag_ms(self) -> float:
        """How late it was sent; the client pays for it in TTFT."""
        return (self.sent_s - self.trace.scheduled_s) * 1e3 if self.sent_s is not None else 0.0
