"""What online work does in the next iteration, whatever offline work does.

Owns the sums of online decodes and of the online prompts that the next pass computes,
and the tightest slack among both. Refuses any say of the budget in it: online is never
held back for it (HyGen, phase 1 of two-phase scheduling).
"""

from collections.abc import Sequence
from math import inf
from operator import attrgetter
from typing import NamedTuple

from planner.batching.budget import first_token_slack_ms, gap_slack_ms
from planner.batching.state import DecodeRow, PrefillWork, WorkClass
from planner.latency.features import BatchShape

_QUEUE_HORIZON_PASSES = 8  # waiting prompts further back than this many passes are not looked at

_BY_ARRIVAL = attrgetter("arrival_s", "rid")


class OnlineDecodes(NamedTuple):
    """Running rows, told apart: sums over the online ones, and the offline ones."""

    rows: int
    context_tokens: int
    longest_tokens: int
    slack_ms: float  # until the first online row misses its target; inf without targets
    awaits_first_token: bool  # a prompt's last chunk has run and its token is on its way
    offline: tuple[DecodeRow, ...]


class OnlinePrefill(NamedTuple):
    """Online prompts of the next pass."""

    rows: int = 0
    tokens: int = 0
    context_tokens: int = 0  # sum of the cached prefixes c
    attention: float = 0.0  # sum of p(c + p/2)
    padded_sq: float = 0.0  # sum of (c + p)^2
    kv_tokens: int = 0  # KV the engine must have to admit them
    needs_slot: bool = False  # one of them is cut and takes the mid-prefill slot
    slack_ms: float = inf  # how long a pass may last for every first token to be in time

    def with_decodes(self, *, rows: int, context_tokens: int, longest_tokens: int) -> BatchShape:
        """A pass of these prompts beside decodes; arguments as of `BatchShape`."""
        return BatchShape(
            prefill_tokens=self.tokens,
            prefill_rows=self.rows,
            prefill_context_tokens=self.context_tokens,
            prefill_attention=self.attention,
            prefill_padded_sq=self.padded_sq,
            decode_rows=rows,
            decode_context_tokens=context_tokens,
            decode_max_context_tokens=longest_tokens,
        )


def online_decodes(running: Sequence[DecodeRow], *, now_s: float) -> OnlineDecodes:
    """Sums over the running rows."""
    rows = context = longest = 0
    slack = inf
    awaits_first_token = False
    online = WorkClass.ONLINE
    offline: list[DecodeRow] = []
    for row in running:
        if row.work_class is not online:
            offline.append(row)
            continue
        rows += 1
        if row.generated_tokens == 0:
            awaits_first_token = True
        tokens = row.context_tokens
        context += tokens
        if tokens > longest:
            longest = tokens
        if row.itl_target_ms is None and row.tpot_target_ms is None:
            continue
        row_slack = gap_slack_ms(row, now_s=now_s)
        if row_slack < slack:
            slack = row_slack
    return OnlineDecodes(
        rows=rows,
        context_tokens=context,
        longest_tokens=longest,
        slack_ms=slack,
        awaits_first_token=awaits_first_token,
        offline=tuple(offline),
    )


def online_prefill(
    waiting: Sequence[PrefillWork],
    *,
    started: PrefillWork | None,
    now_s: float,
    chunk_tokens: int,
    kv_tokens: int,
    rows: int,
) -> OnlinePrefill:
    """The online prompts that the engine computes next, eldest first.

    A prompt that waits for k passes leaves each of them a k-th of its slack.

    Args:
        waiting: Online requests, in any order.
        started: The request that holds the mid-prefill slot, of either class.
        now_s: The stamped time.
        chunk_tokens: Prompt tokens one pass may compute.
        kv_tokens: KV there is for them, what evicting offline rows gives included.
        rows: Requests the engine may still admit, likewise.

    Returns:
        Sums over the admitted prompts, and the tightest slack of all that wait.
    """
    queue = sorted(waiting, key=_BY_ARRIVAL) if len(waiting) > 1 else list(waiting)
    if started is not None and started.work_class is WorkClass.ONLINE:
        queue.insert(0, started)
    taken = tokens = context = kv_needed = queued = 0
    attention = padded_sq = 0.0
    slack = inf
    is_cut = is_full = False
    for work in queue:
        remaining = work.remaining_tokens
        if remaining <= 0:
            continue
        queued += remaining
        passes = -(-queued // chunk_tokens)
        row_slack = first_token_slack_ms(work, now_s=now_s)
        if row_slack > 0.0:
            row_slack /= passes
        if row_slack < slack:
            slack = row_slack
        if passes > _QUEUE_HORIZON_PASSES:
            break
        holds_row = work.is_started
        is_full = (
            is_full
            or tokens >= chunk_tokens
            or kv_needed + remaining > kv_tokens
            or (not holds_row and rows <= 0)
        )
        if is_full:
            continue
        chunk = min(remaining, chunk_tokens - tokens)
        is_cut = chunk < remaining
        cached = work.cached_tokens
        taken += 1
        tokens += chunk
        context += cached
        kv_needed += remaining
        attention += chunk * (cached + chunk / 2.0)
        padded_sq += float((cached + chunk) ** 2)
        if not holds_row:
            rows -= 1
    return OnlinePrefill(
        rows=taken,
        tokens=tokens,
        context_tokens=context,
        attention=attention,
        padded_sq=padded_sq,
        kv_tokens=kv_needed,
        needs_slot=is_cut,
        slack_ms=slack,
    )
