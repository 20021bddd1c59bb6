"""Iterations as planned and as measured.

Owns the composition of a launched batch as a `BatchShape` and the pairing with its
duration. An iteration lasts as long as the pass that waited for it: on a CPU, and without
overlap, the pass that launched it; with overlap on an accelerator the pass after, which
blocks on its result. The ring is bounded; a reader follows by sequence number.
"""

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from nodeagent.plugin_contract import MeasuredIteration
from nodeagent.sglang_plugin.rows import is_offline
from planner.latency.features import BatchShape

RING_ITERATIONS = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class Composition:
    """What a batch holds, by class."""

    shape: BatchShape
    offline_rows: int
    online_rows: int
    online_prompt_tokens: int
    offline_prompt_tokens: int
    online_output_tokens: int
    offline_output_tokens: int


def compose(batch: Any, *, unfinished: Any) -> Composition:
    """Reads a batch that is about to be launched.

    Args:
        batch: The SGLang batch.
        unfinished: The request left mid-prefill by it, which outputs no token.
    """
    is_extend = batch.forward_mode.is_extend()
    prefills = len(batch.reqs) - len(batch.decoding_reqs or ()) if is_extend else 0
    rows, prompt, output = [0, 0], [0, 0], [0, 0]  # online, offline
    tokens = context = decode_context = longest = 0
    attention = padded = 0.0
    for i, req in enumerate(batch.reqs):
        which = int(is_offline(req))
        rows[which] += 1
        if i < prefills:
            new, cached = int(batch.extend_lens[i]), int(batch.prefix_lens[i])
            tokens += new
            context += cached
            attention += new * (cached + new / 2.0)
            padded += float((cached + new) ** 2)
            prompt[which] += new
        else:
            length = len(req.origin_input_ids) + len(req.output_ids)
            decode_context += length
            longest = max(longest, length)
        if req is not unfinished:
            output[which] += 1
    return Composition(
        shape=BatchShape(
            prefill_tokens=tokens,
            prefill_rows=prefills,
            prefill_context_tokens=context,
            prefill_attention=attention,
            prefill_padded_sq=padded,
            decode_rows=len(batch.reqs) - prefills,
            decode_context_tokens=decode_context,
            decode_max_context_tokens=longest,
        ),
        online_rows=rows[0],
        offline_rows=rows[1],
        online_prompt_tokens=prompt[0],
        offline_prompt_tokens=prompt[1],
        online_output_tokens=output[0],
        offline_output_tokens=output[1],
    )


class IterationLog:
    """The newest measured iterations of one engine."""

    def __init__(self, *, waits_for_previous: bool) -> None:
        self._lag = int(waits_for_previous)
        self._pending: deque[MeasuredIteration] = deque(maxlen=4)
        self._launched_now = False
        self._sequence = 0
        self.newest: deque[MeasuredIteration] = deque(maxlen=RING_ITERATIONS)

    def launch(self, planned: MeasuredIteration) -> None:
        """A batch was launched in this pass; its sequence and duration are still open."""
        self._pending.append(planned)
        self._launched_now = True

    def end_pass(self, elapsed_ms: float) -> None:
        """The pass is over, `elapsed_ms` after it began."""
        due = len(self._pending) > self._lag or (self._pending and not self._launched_now)
        self._launched_now = False
        if due:
            self._sequence += 1
            self.newest.append(
                replace(self._pending.popleft(), sequence=self._sequence, measured_ms=elapsed_ms)
            )
