"""When each online request can be worked on, if none is served later than in a run.

Owns stretches of time in which the same requests may be in a pass. Refuses prices. In a
schedule that serves no request later than a run did, at its first token and at its last,

- its prompt runs between its arrival and the run's first token;
- its decodes run between the earliest first token there can be and the run's last token;
- a pass is within these for every request in it, so in any stretch that the pass touches,
  its requests are among those the stretch allows.

What may be left for after the window is what can be emitted between its end and the run's
last token: a token a pass, in the shortest passes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.clairvoyant.envelope import Envelope
from planner.clairvoyant.needs import Needs
from planner.clairvoyant.prices import Floats
from planner.slo import RequestTrace

_MOST_STRETCHES = 240
_MOST_GROUPS = 96

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stays:
    """The online requests of a window; (stretches,) or (stretches, requests) or (requests,).

    Attributes:
        lengths_ms: Of the stretches.
        decodes_in: Whether a request can decode in a stretch.
        prompts_in: Whether its prompt can run in it.
        group: Which price a request has: neighbours share one where there are many.
        prompt: Prompt tokens that only its own passes compute, before the window's end.
        decodes: Decodes that must be done before the window's end.
        row_ms: What attention adds to a pass for one of its decodes, at least.
        rest_ms: What attention adds for all of them beside, at least.
        other_prompt: Tokens of shared blocks, all requests together.
        prompt_ms: Attention of all prompts together.
        kv: Tokens of KV that their decodes hold, summed over these.
        last_kv: Tokens of KV that the last decode of a request holds, at most.
        last_rest_ms: What attention adds for it beside `row_ms`, at most.
    """

    lengths_ms: Floats
    decodes_in: Bools
    prompts_in: Bools
    group: NDArray[np.intp]
    prompt: Floats
    decodes: Floats
    row_ms: Floats
    rest_ms: Floats
    other_prompt: float
    prompt_ms: float
    kv: float
    last_kv: Floats
    last_rest_ms: Floats

    @property
    def groups(self) -> int:
        """How many prices there are."""
        return int(self.group[-1]) + 1 if len(self.group) else 0


def stays_of(
    needs: Needs,
    served: Sequence[RequestTrace],
    *,
    envelope: Envelope,
    begin_s: float,
    to_s: float,
) -> Stays:
    """The stays of online requests, all sent in the window.

    Args:
        needs: Of these requests.
        served: How a run served them, in the same order.
        envelope: Least durations.
        begin_s: From when on passes can begin.
        to_s: The window's end.
    """
    sent = _ms([trace.scheduled_s for trace in served], begin_s)
    first = _ms([trace.chunks[0].at_s for trace in served], begin_s)
    last = _ms([trace.chunks[-1].at_s for trace in served], begin_s)
    window_ms = max(0.0, to_s - begin_s) * 1e3
    shared = needs.prompt - needs.alone
    released = sent + envelope.least_prompt_ms(needs.alone)
    released = released + envelope.pair_ms * (needs.prompt**2 - shared**2) / 2.0
    row_ms = envelope.context_ms * (needs.prompt + 1.0)
    # Those of the passes that end from the window's end on; one of them may begin before.
    left = np.where(
        last < window_ms,
        0.0,
        np.floor((last - window_ms) / (envelope.least_decode_ms + row_ms) + 1e-9) + 1.0,
    )
    decodes = np.maximum(0.0, needs.decodes - left)
    is_prompt_in = first < window_ms
    edges = _edges(np.concatenate([sent, released, first, last]), window_ms)
    begins, ends = edges[:-1, None], edges[1:, None]
    ordinals = decodes * (decodes + 1.0) / 2.0
    per_group = max(1, -(-len(served) // _MOST_GROUPS))
    return Stays(
        lengths_ms=np.diff(edges),
        decodes_in=(released[None, :] < ends) & (last[None, :] > begins),
        prompts_in=(sent[None, :] < ends) & (first[None, :] > begins) & is_prompt_in[None, :],
        group=np.arange(len(served)) // per_group,
        prompt=np.where(is_prompt_in, needs.alone, 0.0),
        decodes=decodes,
        row_ms=row_ms,
        rest_ms=envelope.context_ms * (ordinals - decodes),
        other_prompt=float((needs.computed - needs.alone)[is_prompt_in].sum()),
        prompt_ms=float(needs.prompt_ms[is_prompt_in].sum()),
        kv=float((decodes * needs.private + ordinals).sum()),
        last_kv=needs.private + needs.output,
        last_rest_ms=envelope.context_ms * needs.output,
    )


def _ms(times_s: Sequence[float], begin_s: float) -> Floats:
    return (np.array(times_s, dtype=np.float64) - begin_s) * 1e3


def _edges(events: Floats, window_ms: float) -> Floats:
    """Where stretches meet: at every event, or at some where these are many."""
    within = np.unique(events[(events > 0.0) & (events < window_ms)])
    if len(within) >= _MOST_STRETCHES:
        within = within[:: -(-len(within) // _MOST_STRETCHES)]
    return np.concatenate([[0.0], within, [window_ms]])
