"""A request inside a simulated engine, and how a policy sees it.

Owns a request's progress and the KV it holds. Progress has two faces: what passes that
were *launched* will have done (KV, tokens on their way) and what *settled* (tokens their
clients have), which differ by one pass under the overlap loop. Policies see what settled,
as the plugin reads an engine.
"""

from collections.abc import Hashable, Sequence
from math import gcd

from planner.batching.state import DecodeRow, PrefillWork, WorkClass
from planner.simulation.memory import KvMemory
from planner.simulation.request import SimulatedRequest
from planner.slo import Chunk

_MATCH_PERIOD = 16  # passes a waiting request's prefix match is believed, as the plugin does


class LiveRequest:
    """One request between arrival and end."""

    __slots__ = (
        "arrival_s", "chunks", "computed_tokens", "credited_tokens", "generated", "held_tokens",
        "in_flight", "in_flight_tokens", "is_offline", "keys", "kv_tokens", "launched",
        "longest_output_tokens", "match_due", "output_tokens", "pinned", "prefilled_tokens",
        "prefix_tokens", "prompt_tokens", "queued_pass", "request", "rid", "row", "state_pass",
        "unit_tokens", "void", "work",
    )  # fmt: skip

    def __init__(self, request: SimulatedRequest, *, page_size: int, prompt_key: bytes) -> None:
        self.request = request
        self.rid = request.rid
        self.is_offline = request.work_class is WorkClass.OFFLINE
        self.arrival_s = request.at_s
        self.prompt_tokens = request.prompt_tokens
        self.output_tokens = request.output_tokens
        self.longest_output_tokens = request.longest_output_tokens
        self.generated = 0  # settled
        self.launched = 0  # tokens whose pass was launched
        self.in_flight = 0  # passes it is in that have not settled
        self.in_flight_tokens = 0  # of its prompt, in those passes
        self.void = 0  # of those passes, the eldest: launched before it gave up its KV
        self.kv_tokens = 0  # computed by launched passes, shared prefix included
        self.computed_tokens = 0  # KV it had when it last gave it up
        self.prefilled_tokens = 0  # KV at the end of its last prefill
        self.held_tokens = 0  # of pages it alone owns
        self.pinned = 0  # leading units of its prefix it reads from the cache
        self.prefix_tokens = 0  # of a waiting request: what the cache held when last matched
        self.credited_tokens = 0  # prompt tokens counted as done
        self.chunks: list[Chunk] = []  # its output as its client got it, a token each
        self.state_pass = 0
        self.queued_pass: int | None = None
        self.match_due = 0  # pass from which its prefix is looked up again
        self.keys, self.unit_tokens = _prefix_units(request, page_size=page_size)
        deadline_s = (
            None if request.deadline_in_s is None else self.arrival_s + request.deadline_in_s
        )
        self.row = DecodeRow(
            rid=request.rid,
            work_class=request.work_class,
            context_tokens=request.prompt_tokens,
            generated_tokens=0,
            arrival_s=self.arrival_s,
            last_token_s=self.arrival_s,
            itl_target_ms=request.itl_target_ms,
            tpot_target_ms=request.tpot_target_ms,
            max_gap_ms=request.max_gap_ms,
            deadline_s=deadline_s,
        )
        self.work = PrefillWork(
            rid=request.rid,
            work_class=request.work_class,
            remaining_tokens=request.prompt_tokens,
            cached_tokens=0,
            arrival_s=self.arrival_s,
            ttft_target_ms=request.ttft_target_ms,
            deadline_s=deadline_s,
            prompt_key=prompt_key,
        )

    @property
    def emitted_s(self) -> list[float]:
        """When each of its tokens reached its client."""
        return [chunk.at_s for chunk in self.chunks]

    @property
    def target_tokens(self) -> int:
        """KV its prefill must reach: the prompt, and after an eviction its output too."""
        return self.prompt_tokens + self.launched

    @property
    def left_tokens(self) -> int:
        """Output the engine must still expect."""
        return self.longest_output_tokens - self.generated

    @property
    def kept_key(self) -> Hashable:
        """Under which an eviction leaves its own KV in the cache."""
        return ("kept", self.rid)

    @property
    def may_be_cached(self) -> bool:
        """Whether the cache can hold anything of it: shared blocks, or KV it once had."""
        return bool(self.keys) or self.computed_tokens > 0

    # ------------------------------------------------------------ results

    def receive(self) -> bool:
        """A pass it is in has its result. Returns whether the result counts."""
        self.in_flight -= 1
        if self.void:
            self.void -= 1
            return False
        return True

    def emit(self, token: Chunk) -> None:
        """Its next token reaches its client."""
        row = self.row
        self.generated += 1
        self.chunks.append(token)
        row.generated_tokens = self.generated
        row.context_tokens += 1
        row.last_token_s = token.at_s
        if self.generated == 1:
            row.first_token_s = token.at_s

    def credit(self) -> int:
        """Prompt tokens done that were not done before, however often repeated."""
        done = min(self.kv_tokens - self.in_flight_tokens, self.prompt_tokens)
        gained = max(0, done - self.credited_tokens)
        self.credited_tokens += gained
        return gained

    # ------------------------------------------------------------ as a policy sees it

    def as_work(self, memory: KvMemory, *, number: int, is_started: bool) -> PrefillWork:
        """Itself before or in its prefill."""
        work = self.work
        if not is_started and number >= self.match_due:
            self.match(memory, number=number)
        work.is_started = is_started
        if is_started:
            self._show_cached(self.kv_tokens)
        if self.queued_pass is None:
            self.queued_pass = number
        work.queued_pass = self.queued_pass
        return work

    # ------------------------------------------------------------ KV

    def match(self, memory: KvMemory, *, number: int) -> int:
        """Looks up its prefix; tokens that need not be computed."""
        self.match_due = number + _MATCH_PERIOD
        tokens = 0
        if self.may_be_cached:
            units = memory.matched(self.keys)
            tokens = units * self.unit_tokens
            if units == len(self.keys):
                tokens += memory.kept_tokens(self.kept_key)
        self.prefix_tokens = min(tokens, self.target_tokens - 1)
        self._show_cached(self.prefix_tokens)
        return self.prefix_tokens

    def _show_cached(self, tokens: int) -> None:
        self.work.cached_tokens = tokens
        self.work.remaining_tokens = self.target_tokens - tokens

    def begin(self, memory: KvMemory, *, number: int) -> None:
        """Pins what the cache holds of it, when it is admitted."""
        tokens = self.match(memory, number=number)
        if not self.may_be_cached:
            return
        units = min(memory.matched(self.keys), tokens // self.unit_tokens if self.keys else 0)
        memory.read(self.keys[:units])
        self.pinned = units
        self.kv_tokens = units * self.unit_tokens
        memory.drop(self.kept_key)
        if tokens > self.kv_tokens:
            self.grow(memory, tokens - self.kv_tokens)

    def grow(self, memory: KvMemory, tokens: int) -> bool:
        """Takes KV for `tokens` more; False where there is none."""
        alone = self.kv_tokens + tokens - self.pinned * self.unit_tokens
        if not memory.hold(memory.paged(alone) - self.held_tokens):
            return False
        self.kv_tokens += tokens
        self.held_tokens = memory.paged(alone)
        return True

    def growth_tokens(self, memory: KvMemory) -> int:
        """KV its next decode takes: 0, or a page."""
        alone = self.kv_tokens + 1 - self.pinned * self.unit_tokens
        return memory.paged(alone) - self.held_tokens

    def share(self, memory: KvMemory) -> None:
        """Puts the computed units of its prefix into the cache, and reads them there."""
        unit = self.unit_tokens
        while self.pinned < len(self.keys) and (self.pinned + 1) * unit <= self.kv_tokens:
            key = self.keys[self.pinned]
            if memory.cache(key, tokens=unit, readers=1):
                pass
            elif memory.matched((key,)):
                memory.read((key,))  # computed twice at once: one copy stays
                memory.release(unit)
            else:
                return
            self.held_tokens -= unit
            self.pinned += 1

    def restart(self, memory: KvMemory, *, kept_tokens: int | None) -> None:
        """Gives up its KV before its end: it starts again from the tokens its client has.

        Args:
            memory: Takes its KV back.
            kept_tokens: How much of it stays in the cache until that is evicted; None: all.
        """
        kept = self.kv_tokens if kept_tokens is None else min(kept_tokens, self.kv_tokens)
        own = max(0, kept - self.pinned * self.unit_tokens) // memory.page_size * memory.page_size
        if own and memory.cache(self.kept_key, tokens=own, readers=0):
            self.held_tokens -= own
        self.computed_tokens = max(self.computed_tokens, self.kv_tokens)
        self.leave(memory)
        self.launched = self.generated
        self.void = self.in_flight
        self.in_flight_tokens = 0

    def leave(self, memory: KvMemory) -> None:
        """Gives up its KV."""
        memory.release(self.held_tokens)
        memory.unread(self.keys[: self.pinned])
        self.held_tokens = self.kv_tokens = self.pinned = 0
        self.match_due = 0


def decode_rows(
    requests: Sequence[LiveRequest], *, number: int, is_parked: bool
) -> list[DecodeRow]:
    """Requests past their prefill, as a policy sees them before pass `number`.

    One call for all of them: each is brought up to date in every pass.
    """
    rows = []
    for live in requests:
        row = live.row  # its tokens are kept up to date as they are emitted
        row.is_parked = is_parked
        row.can_resume = not live.in_flight
        row.passes_in_state = number - live.state_pass
        row.recompute_tokens = live.kv_tokens
        rows.append(row)
    return rows


def _prefix_units(request: SimulatedRequest, *, page_size: int) -> tuple[tuple[Hashable, ...], int]:
    """Keys of the whole blocks of a prompt, in units that fill pages."""
    if not request.blocks:
        return (), 1
    per_unit = page_size // gcd(page_size, request.block_tokens)
    whole = request.prompt_tokens // request.block_tokens // per_unit * per_unit
    return tuple(request.blocks[per_unit - 1 : whole : per_unit]), per_unit * request.block_tokens
