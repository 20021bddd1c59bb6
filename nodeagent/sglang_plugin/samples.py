"""Iterations as planned and as measured.

Owns the composition of a launched batch as a `BatchShape` and the pairing with its
duration. An iteration lasts as long as the pass that waited for it: on a CPU, and without
overlap, the pass that launched it; with overlap on an accelerator the pass after, which
blocks on its result. The ring is bounded; a reader follows by sequence number.
"""

from collections import deque
from dataclasses import replace
from typing import Any, NamedTuple

from nodeagent.plugin_contract import MeasuredIteration
from nodeagent.sglang_plugin.rows import record_of
from planner.latency.features import BatchShape

RING_ITERATIONS = 512


class Composition(NamedTuple):  # made once a pass: a frozen dataclass costs three times that
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
    tokens = context = 0
    attention = padded = 0.0
    for i in range(prefills):
        req = batch.reqs[i]
        which = int(record_of(req).is_offline)
        new, cached = int(batch.extend_lens[i]), int(batch.prefix_lens[i])
        tokens += new
        context += cached
        attention += new * (cached + new / 2.0)
        padded += float((cached + new) ** 2)
        rows[which] += 1
        prompt[which] += new
        if req is not unfinished:
            output[which] += 1
    decodes = batch.reqs[prefills:] if prefills else batch.reqs
    decode_context = longest = offline = 0
    for req in decodes:  # every pass, every row: no more than it takes
        length = len(req.origin_input_ids) + len(req.output_ids)
        decode_context += length
        if length > longest:
            longest = length
        if record_of(req).is_offline:
            offline += 1
    online = len(decodes) - offline
    return Composition(
        shape=BatchShape(
            prefill_tokens=tokens,
            prefill_rows=prefills,
            prefill_context_tokens=context,
            prefill_attention=attention,
            prefill_padded_sq=padded,
            decode_rows=len(decodes),
            decode_context_tokens=decode_context,
            decode_max_context_tokens=longest,
        ),
        online_rows=rows[0] + online,
        offline_rows=rows[1] + offline,
        online_prompt_tokens=prompt[0],
        offline_prompt_tokens=prompt[1],
        online_output_tokens=output[0] + online,
        offline_output_tokens=output[1] + offline,
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
