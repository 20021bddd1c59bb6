"""Which prompts join a pass, as SGLang 0.5.23 admits them and the plugin caps them.

Owns one pass's prefill: the mid-prefill request, the room of chunk, rows and KV with an
estimate of what running rows will still generate, and the plan's allowance for offline
tokens. Refuses a second truncated prompt: the engine tracks one. Under the plugin offline
rows make way for an online prompt that finds no KV or row; under stock SGLang it waits,
but for what the plan has evicted.

Sources: SGLang's PrefillAdder (`add_chunked_req`, `add_one_req`, `budget_state`) and this
project's `nodeagent.sglang_plugin.adder`.
"""

from collections.abc import Iterable
from enum import Enum

from planner.batching.state import IterationPlan
from planner.simulation.counters import EngineCounters
from planner.simulation.live import LiveRequest
from planner.simulation.memory import KvMemory
from planner.simulation.residents import Residents
from planner.simulation.settings import EngineSettings

_CLIP_NEW_TOKENS = 4096  # SGLANG_CLIP_MAX_NEW_TOKENS_ESTIMATION


class Answer(Enum):
    """What became of a waiting request."""

    ADMITTED = "admitted"
    NO_TOKEN = "no_token"
    OTHER = "other"


class Admission:
    """The prefill of one pass while it is put together."""

    def __init__(
        self,
        *,
        settings: EngineSettings,
        memory: KvMemory,
        residents: Residents,
        counters: EngineCounters,
        plan: IterationPlan,
        new_token_ratio: float,
    ) -> None:
        chunk = settings.chunked_prefill_size
        running, parked = residents.running, residents.parked
        mixed = len(running) if settings.mixes else 0
        self.prompts: list[tuple[LiveRequest, int]] = []
        self.unfinished: LiveRequest | None = None  # holds the mid-prefill slot afterwards
        self._sat_out: LiveRequest | None = None
        self._memory, self._residents, self._counters = memory, residents, counters
        self._page, self._plan = settings.page_size, plan
        self._number, self._ratio = residents.pass_number, new_token_ratio
        self._free_rows = residents.free_rows
        self._splits = chunk > 0
        self._chunk_tokens = max(0, chunk - mixed) if chunk > 0 else 1 << 60
        self._input_tokens = settings.max_prefill_tokens - mixed
        self._allowance = plan.offline_chunk_tokens
        self._offset = mixed + self._expected_of(running) + self._expected_of(parked)
        self._is_slot_taken = False

    # ------------------------------------------------------------ the mid-prefill request

    def continue_started(self, started: LiveRequest) -> None:
        """Computes on, sits out, or yields the slot."""
        limit = self._chunk_tokens
        room = self._memory.free_tokens - self._offset
        if room > 0:  # else it goes on all the same: its end is what frees its KV
            limit = min(limit, room)
        if started.is_offline:
            if self._plan.requeue_started:
                self._residents.requeue_started(started)
                self._free_rows += 1
                return
            limit = min(limit, self._share_of(started))
        left = started.target_tokens - started.kv_tokens
        chunk = min(left, limit, self._memory.free_tokens)
        if chunk < left:
            chunk = chunk // self._page * self._page
        if chunk <= 0 or not started.grow(self._memory, chunk):
            self.unfinished = self._sat_out = started
            self._is_slot_taken = True
            return
        self._take(started, chunk)

    # ------------------------------------------------------------ waiting requests

    def admit(self, queue: Iterable[LiveRequest]) -> None:
        """Takes requests in order until the pass is full."""
        for live in queue:
            if self._chunk_tokens <= 0 or self._input_tokens <= 0:
                return
            takes_more = self._admit_offline(live) if live.is_offline else self._admit_online(live)
            if not takes_more:
                return

    def _admit_online(self, live: LiveRequest) -> bool:
        """Whether the pass takes more."""
        if self._free_rows <= 0 and not self._evict():
            return False
        self._yield_slot(live)
        answer = self._add(live)
        while answer is Answer.NO_TOKEN and self._evict():
            answer = self._add(live)
        return answer is Answer.ADMITTED and self._has_room()

    def _admit_offline(self, live: LiveRequest) -> bool:
        live.match(self._memory, number=self._number)
        share = self._share_of(live)
        if share <= 0 or self._free_rows <= 0:
            return False
        available = self._chunk_tokens
        reserve = self._reserve()
        self._chunk_tokens = before = min(available, share)
        self._offset += reserve
        answer = self._add(live)
        self._offset -= reserve
        self._chunk_tokens = available - (before - self._chunk_tokens)
        return answer is Answer.ADMITTED and self._allowance > 0 and self._has_room()

    def _add(self, live: LiveRequest) -> Answer:
        """SGLang's add_one_req: by KV with future tokens, then by chunk."""
        memory, page = self._memory, self._page
        cached = live.match(memory, number=self._number)
        left = live.target_tokens - cached
        expected = min(live.left_tokens, _CLIP_NEW_TOKENS)
        # Pinning its prefix takes it out of what can be evicted.
        pinned = 0
        if live.may_be_cached:
            pinned = memory.unread_among(live.keys) + memory.kept_tokens(live.kept_key)
        if left + expected + page >= memory.free_tokens - pinned - self._offset:
            return Answer.NO_TOKEN
        if not self._splits and self.prompts and memory.paged(left) >= self._input_tokens:
            return Answer.OTHER
        chunk = left
        if left > self._chunk_tokens:
            chunk = self._chunk_tokens // page * page
            if chunk <= 0 or self._is_slot_taken:
                return Answer.OTHER
        live.begin(memory, number=self._number)
        self._counters.cached_tokens += live.kv_tokens
        if not live.grow(memory, chunk):
            raise AssertionError(f"request {live.rid}: admitted without KV for {chunk} tokens")
        self._free_rows -= 1
        self._take(live, chunk)
        return Answer.ADMITTED

    # ------------------------------------------------------------ details

    def _take(self, live: LiveRequest, chunk: int) -> None:
        """Books a chunk that has its KV."""
        self.prompts.append((live, chunk))
        self._chunk_tokens -= chunk
        self._input_tokens -= chunk
        if live.is_offline:
            self._allowance -= chunk
        before = live.kv_tokens - chunk
        repeated = min(live.kv_tokens, live.computed_tokens) - before
        self._counters.recomputed_tokens += max(0, repeated)
        self._offset += self._page
        if live.kv_tokens == live.target_tokens:
            self._offset += min(live.left_tokens, _CLIP_NEW_TOKENS)
        else:
            self.unfinished = live
            self._is_slot_taken = True

    def _share_of(self, live: LiveRequest) -> int:
        """What the allowance holds for a prompt: all that is left of it, or whole pages."""
        done = live.kv_tokens or live.prefix_tokens
        if live.target_tokens - done <= self._allowance:
            return live.target_tokens - done
        return self._allowance // self._page * self._page

    def _reserve(self) -> int:
        """KV kept free for online bursts; nothing where this would stop all work."""
        is_alone = not (self.prompts or self._residents.running or self._residents.parked)
        return 0 if is_alone else self._plan.kv_reserve_tokens

    def _yield_slot(self, live: LiveRequest) -> None:
        """Frees the slot of an offline request that sits out, for an online prompt."""
        chunk = self._sat_out
        if chunk is None or not chunk.is_offline:
            return
        needed = live.target_tokens - live.match(self._memory, number=self._number)
        if needed <= self._chunk_tokens:
            return
        self._sat_out = self.unfinished = None
        self._is_slot_taken = False
        self._residents.requeue_started(chunk)
        self._free_rows += 1

    def _evict(self) -> bool:
        victim = self._residents.evict_cheapest()
        if victim is None:
            return False
        self._offset -= self._expected_of((victim,))
        self._free_rows += 1
        return True

    def _expected_of(self, rows: Iterable[LiveRequest]) -> int:
        """Tokens that rows are expected to generate still."""
        ratio, expected = self._ratio, 0
        for live in rows:
            left = live.longest_output_tokens - live.generated
            expected += int((left if left < _CLIP_NEW_TOKENS else _CLIP_NEW_TOKENS) * ratio)
        return expected

    def _has_room(self) -> bool:
        return (
            self._chunk_tokens > 0
            and self._input_tokens > 0
            and self._memory.free_tokens > self._offset
        )
