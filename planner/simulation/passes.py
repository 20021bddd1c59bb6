"""A pass, from its launch to its results.

Owns what is in flight: the composition of a pass as the latency model reads it, and what
its results mean to its requests. Refuses choices, and time: the caller says when results
are in. Invariant: a result whose request gave up its KV meanwhile is void, as SGLang
ignores it.
"""

from collections.abc import Sequence
from typing import NamedTuple

from planner.batching.state import IterationPlan
from planner.latency.features import BatchShape
from planner.simulation.live import LiveRequest
from planner.slo import Chunk


class Pass(NamedTuple):
    """One iteration.

    Attributes:
        shape: Its composition.
        prompts: Requests whose prompt it computes, with how many tokens of it.
        finished_prompts: Those of them whose prompt it completes: they emit a token.
        decodes: Rows that decode one token.
        plan: What it was planned by.
        online_rows: Online requests in it.
        offline_rows: Offline ones.
        changed_rows: Parked, resumed or evicted since the pass before it.
    """

    shape: BatchShape
    prompts: tuple[tuple[LiveRequest, int], ...]
    finished_prompts: tuple[LiveRequest, ...]
    decodes: tuple[LiveRequest, ...]
    plan: IterationPlan
    online_rows: int
    offline_rows: int
    changed_rows: int


class Settled(NamedTuple):
    """What a pass's results came to.

    Attributes:
        ended: Requests with their last token.
        emitted_tokens: Output tokens, of both classes.
        online_tokens: Prompt tokens done and output tokens emitted, of online requests.
        offline_prompt_tokens: Prompt tokens of offline requests done; a repetition counts
            nothing, what the cache held counts.
        offline_output_tokens: Output tokens of theirs.
    """

    ended: list[LiveRequest]
    emitted_tokens: int
    online_tokens: int
    offline_prompt_tokens: int
    offline_output_tokens: int


def launch(
    prompts: Sequence[tuple[LiveRequest, int]],
    decodes: tuple[LiveRequest, ...],
    *,
    plan: IterationPlan,
    changed_rows: int,
) -> Pass:
    """Puts requests that hold their KV already into a pass; their results are on the way."""
    tokens = context_before = online_rows = 0
    attention = padded_sq = 0.0
    finished = []
    for live, chunk in prompts:
        kv = live.kv_tokens
        before = kv - chunk
        tokens += chunk
        context_before += before
        attention += chunk * (before + chunk / 2.0)
        padded_sq += float(kv * kv)
        online_rows += not live.is_offline
        live.in_flight += 1
        live.in_flight_tokens += chunk
        if kv == live.target_tokens:
            finished.append(live)
            live.prefilled_tokens = kv
    context = longest = 0
    for live in decodes:
        kv = live.kv_tokens
        context += kv
        if kv > longest:
            longest = kv
        if not live.is_offline:
            online_rows += 1
        live.in_flight += 1
        live.launched += 1
    for live in finished:
        live.launched += 1
    return Pass(
        shape=BatchShape(
            prefill_tokens=tokens,
            prefill_rows=len(prompts),
            prefill_context_tokens=context_before,
            prefill_attention=attention,
            prefill_padded_sq=padded_sq,
            decode_rows=len(decodes),
            decode_context_tokens=context,
            decode_max_context_tokens=longest,
        ),
        prompts=tuple(prompts),
        finished_prompts=tuple(finished),
        decodes=decodes,
        plan=plan,
        online_rows=online_rows,
        offline_rows=len(prompts) + len(decodes) - online_rows,
        changed_rows=changed_rows,
    )


def settle(run: Pass, *, at_s: float) -> Settled:
    """Hands a pass's results to its requests; its tokens are emitted at `at_s`."""
    online = offline_prompt = offline_output = 0
    token = Chunk(at_s=at_s, tokens=1)  # the same for all: they reach their clients together
    emitted = 0
    ended = []
    for live in run.decodes:  # as `receive` and `emit` do: spelt out, for every row of a pass
        live.in_flight -= 1
        if live.void:
            live.void -= 1
            continue
        live.generated = generated = live.generated + 1
        live.chunks.append(token)
        row = live.row
        row.generated_tokens = generated
        row.context_tokens += 1
        row.last_token_s = at_s
        emitted += 1
        if live.is_offline:
            offline_output += 1
        if generated == live.output_tokens:
            ended.append(live)
    if run.prompts:
        whole = {live.rid for live in run.finished_prompts}
        for live, chunk in run.prompts:
            if not live.receive():
                continue
            live.in_flight_tokens -= chunk
            gained = live.credit()
            if live.is_offline:
                offline_prompt += gained
            else:
                online += gained
            if live.rid in whole:
                live.emit(token)
                emitted += 1
                offline_output += live.is_offline
                if live.generated == live.output_tokens:
                    ended.append(live)
    return Settled(
        ended=ended,
        emitted_tokens=emitted,
        online_tokens=online + emitted - offline_output,
        offline_prompt_tokens=offline_prompt,
        offline_output_tokens=offline_output,
    )
