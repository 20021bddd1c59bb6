"""What requests must have computed, at the least.

Owns the least work of a request, as amounts that prices apply to. Refuses schedules. A
prompt block that several requests share is computed at least once, and whoever comes first
in the order of the list is charged for it; a subset of the list needs no less than what its
members are charged. The first output token comes with the prompt, each other with a decode
that reads all before it.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from planner.clairvoyant.envelope import Envelope
from planner.clairvoyant.prices import Floats, amounts
from planner.simulation.request import SimulatedRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """Of requests, in order; arrays of one entry a request.

    Attributes:
        prompt: Prompt tokens.
        output: Output tokens.
        computed: Prompt tokens to compute when each block is charged to one request.
        alone: Prompt tokens that no other request could compute for it.
        private: Tokens of its prompt whose KV no other request can share.
        prompt_ms: Attention of the computed tokens.
        decode_ms: Attention of its decodes.
        kv: Tokens of KV that it holds alone, summed over its decodes.
    """

    prompt: Floats
    output: Floats
    computed: Floats
    alone: Floats
    private: Floats
    prompt_ms: Floats
    decode_ms: Floats
    kv: Floats

    @property
    def tokens(self) -> Floats:
        """Prompt and output."""
        return self.prompt + self.output

    @property
    def decodes(self) -> Floats:
        """Passes it decodes in."""
        return self.output - 1.0

    def prompt_amounts(self) -> Floats:
        """Its prompt, as prices apply to it, (requests, 8)."""
        return amounts(prompt=self.computed, attention=self.prompt_ms)

    def online_decode_amounts(self) -> Floats:
        """Its decodes, likewise, where it is online."""
        return amounts(online_decode=self.decodes, kv=self.kv, attention=self.decode_ms)

    def offline_decode_amounts(self) -> Floats:
        """Its decodes, likewise, where it is offline."""
        return amounts(offline_decode=self.decodes, kv=self.kv, attention=self.decode_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sharing:
    """Which prompt blocks are shared, by how many of the workload's requests.

    Attributes:
        readers: Requests by block.
        computed: Blocks that may be computed already, or by requests not charged for them.
    """

    readers: Counter[int]
    computed: frozenset[int]

    @classmethod
    def of(
        cls,
        *,
        online: Sequence[SimulatedRequest],
        offline: Sequence[SimulatedRequest],
        from_s: float,
    ) -> "Sharing":
        """Among all requests of a workload, for a window that begins at `from_s`."""
        online_blocks = {block for request in online for block in request.blocks}
        offline_blocks = {block for request in offline for block in request.blocks}
        before = {b for request in online if request.at_s < from_s for b in request.blocks}
        readers = Counter(b for request in (*online, *offline) for b in set(request.blocks))
        return cls(readers=readers, computed=frozenset(before | online_blocks & offline_blocks))

    def with_begun(
        self, requests: Sequence[SimulatedRequest], *, begun: NDArray[np.bool_]
    ) -> "Sharing":
        """Where those of `requests` that have begun may have computed their blocks."""
        found = {block for i in np.flatnonzero(begun).tolist() for block in requests[i].blocks}
        return replace(self, computed=self.computed | found)


NOTHING_SHARED = Sharing(readers=Counter(), computed=frozenset())
"""Of an engine without a prefix cache."""


def needs_of(
    requests: Sequence[SimulatedRequest], *, envelope: Envelope, sharing: Sharing
) -> Needs:
    """The least work of each request."""
    prompt = _array(request.prompt_tokens for request in requests)
    output = _array(request.output_tokens for request in requests)
    decodes = output - 1.0
    seen = set(sharing.computed)
    charged, shared = [], []
    for request in requests:
        readers = [sharing.readers[block] for block in request.blocks]
        shared.append(_leading(request, [count > 1 for count in readers]))
        charged.append(_leading(request, [block in seen for block in request.blocks]))
        seen.update(b for b, count in zip(request.blocks, readers, strict=True) if count > 1)
    cached = np.minimum(_array(charged), prompt - 1.0)
    private = prompt - _array(shared)
    ordinals = decodes * (decodes + 1.0) / 2.0  # 1 + 2 + … + decodes
    return Needs(
        prompt=prompt,
        output=output,
        computed=prompt - cached,
        alone=np.maximum(private, 1.0),
        private=private,
        prompt_ms=envelope.pair_ms * (prompt**2 - cached**2) / 2.0,
        decode_ms=envelope.context_ms * (decodes * prompt + ordinals),
        kv=decodes * private + ordinals,
    )


def _leading(request: SimulatedRequest, is_cached: Sequence[bool]) -> int:
    """Tokens of its leading whole blocks that are cached."""
    whole = request.prompt_tokens // request.block_tokens if request.block_tokens else 0
    count = 0
    for found in is_cached[:whole]:
        if not found:
            break
        count += 1
    return count * request.block_tokens


def _array(values: Iterable[int]) -> NDArray[np.float64]:
    return np.array(list(values), dtype=np.float64)
