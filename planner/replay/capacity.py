"""What request rate a machine bears.

Owns a rough figure to choose a rate for a generated workload by. Refuses SLOs: at that rate
queues grow.
"""

from planner.hardware.machine import Machine
from planner.latency.features import BatchShape

_FILLED_RATIO = 0.9  # of KV


def sustained_requests_per_s(
    machine: Machine, *, prompt_tokens: float, output_tokens: float, max_running_requests: int = 256
) -> float:
    """Requests per second that end as fast as they come, all of them alike.

    A full engine is in balance: with `r` rows that decode, each iteration ends
    `r / output_tokens` requests and computes as many prompts.

    Args:
        machine: Serves them.
        prompt_tokens: Of each, >= 1.
        output_tokens: Of each, >= 1.
        max_running_requests: Rows at most, whatever KV holds.
    """
    context = prompt_tokens + output_tokens / 2.0
    rows = max(1.0, min(max_running_requests, _FILLED_RATIO * machine.kv_tokens / context))
    ended = rows / output_tokens
    prefill = max(1, round(ended * prompt_tokens))
    shape = BatchShape(
        prefill_tokens=prefill,
        prefill_rows=max(1, round(ended)),
        prefill_attention=prefill * prompt_tokens / 2.0,
        decode_rows=round(rows),
        decode_context_tokens=round(rows * context),
        decode_max_context_tokens=round(prompt_tokens + output_tokens),
    )
    return ended * 1e3 / machine.iteration_ms(shape)
