"""Which prompts join a pass, as SGLang 0.5.23 admits them and the plugin caps them.

Owns one pass's prefill: the mid-prefill request, the room of chunk, rows and KV with an
estimate of what running rows will still generate, and the plan's allowance for offline
tokens. Refuses a second truncated prompt: the engine tracks one.

Sources: SGLang's PrefillAdder (`add_chunked_req`, `add_one_req`) and this project's
`nodeagent.sglang_plugin.adder`.
"""

from collections.abc import Callable, Iterable
from enum import Enum

from planner.batching.state import IterationPlan
from planner.simulation.live import LiveRequest
from planner.simulation.memory import KvMemory
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
        plan: IterationPlan,
        number: int,
        new_token_ratio: float,
        running: list[LiveRequest],
        parked: list[LiveRequest],
        free_rows: int,
        reserve_tokens: int,
        evict_one: Callable[[], LiveRequest | None],
    ) -> None:
        chunk = settings.chunked_prefill_size
        mixed = len(running) if settings.mixes else 0
        self.prompts: list[tuple[LiveRequest, int]] = []
        self.unfinished: LiveRequest | None = None  # holds the mid-prefill slot afterwards
        self.requeued: LiveRequest | None = None
        self.sat_out: LiveRequest | None = None
        self._settings, self._memory, self._plan = settings, memory, plan
        self._number, self._ratio = number, new_token_ratio
        self._running, self._parked = running, parked
        self._free_rows = free_rows
        self._reserve_tokens = reserve_tokens
        self._evict_one = evict_one
        self._chunk_tokens = max(0, chunk - mixed) if chunk > 0 else 1 << 60
        self._input_tokens = settings.max_prefill_tokens - mixed
        self._allowance = plan.offline_chunk_tokens
        self._offset = mixed + sum(self._expected(live) for live in (*running, *parked))
        self._is_slot_taken = False

    # ------------------------------------------------------------ the mid-prefill request

    def continue_started(self, started: LiveRequest) -> None:
        """Computes on, sits out, or yields the slot."""
        limit = self._chunk_tokens
        if started.is_offline:
            if self._plan.requeue_started and not started.in_flight:
                self._requeue(started)
                return
            limit = min(limit, self._share_of(started))
            if limit <= 0:
                self.unfinished = self.sat_out = started
                self._is_slot_taken = True
                return
        left = started.target_tokens - started.kv_tokens
        chunk = min(left, limit, self._memory.free_tokens)
        if chunk < left:
            chunk = chunk // self._settings.page_size * self._settings.page_size
        if chunk <= 0 or not started.grow(self._memory, chunk):
            self.unfinished = self.sat_out = started
            self._is_slot_taken = True
            return
        self._take(started, chunk, expects_output=chunk == left)
        if chunk < left:
            self.unfinished = started
            self._is_slot_taken = True

    # ------------------------------------------------------------ waiting requests

    def admit(self, queue: Iterable[LiveRequest]) -> None:
        """Takes requests in order until the pass is full."""
        for live in queue:
            if live.is_offline:
                if not self._admit_offline(live):
                    return
            elif not self._admit_online(live):
                return

    def _admit_online(self, live: LiveRequest) -> bool:
        """Whether the pass takes more."""
        while self._free_rows <= 0:
            if not self._evict():
                return False
        while True:
            answer = self._add(live)
            if answer is Answer.NO_TOKEN and self._evict():
                continue
            if answer is Answer.OTHER and self._yield_slot(live):
                continue
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
        page = self._settings.page_size
        cached = live.match(self._memory, number=self._number)
        left = live.target_tokens - cached
        expected = min(live.left_tokens, _CLIP_NEW_TOKENS)
        # Pinning its prefix takes it out of what can be evicted.
        pinned = self._memory.unread_among(live.keys) + self._memory.kept_tokens(live.kept_key)
        if left + expected + page > self._memory.free_tokens - pinned - self._offset:
            return Answer.NO_TOKEN
        if self.prompts and self._memory.paged(left) >= self._input_tokens:
            return Answer.OTHER
        chunk = left
        if left > self._chunk_tokens:
            chunk = self._chunk_tokens // page * page
            if chunk <= 0 or self._is_slot_taken:
                return Answer.OTHER
        live.begin(self._memory, number=self._number)
        if not live.grow(self._memory, chunk):
            raise AssertionError(f"request {live.rid}: admitted without KV for {chunk} tokens")
        self._free_rows -= 1
        self._take(live, chunk, expects_output=chunk == left)
        if chunk < left:
            self.unfinished = live
            self._is_slot_taken = True
        return Answer.ADMITTED

    # ------------------------------------------------------------ details

    def _take(self, live: LiveRequest, chunk: int, *, expects_output: bool) -> None:
        self.prompts.append((live, chunk))
        self._chunk_tokens -= chunk
        self._input_tokens -= chunk
        if live.is_offline:
            self._allowance -= chunk
        if expects_output:
            self._offset += min(live.left_tokens, _CLIP_NEW_TOKENS)

    def _share_of(self, live: LiveRequest) -> int:
        """What the allowance holds for a prompt: all that is left of it, or whole pages."""
        done = live.kv_tokens or live.prefix_tokens
        if live.target_tokens - done <= self._allowance:
            return live.target_tokens - done
        return self._allowance // self._settings.page_size * self._settings.page_size

    def _reserve(self) -> int:
        """KV kept free for online bursts; nothing where this would stop all work."""
        return self._reserve_tokens if self.prompts or self._running or self._parked else 0

    def _yield_slot(self, live: LiveRequest) -> bool:
        """Frees the slot of an offline request that sits out, for an online prompt."""
        chunk = self.sat_out
        needed = live.target_tokens - live.prefix_tokens
        if chunk is None or not chunk.is_offline or needed <= self._chunk_tokens:
            return False
        self.sat_out = self.unfinished = None
        self._is_slot_taken = False
        self._requeue(chunk)
        return True

    def _requeue(self, started: LiveRequest) -> None:
        started.leave(self._memory, keeps=True)
        self._free_rows += 1
        self.requeued = started

    def _evict(self) -> bool:
        victim = self._evict_one()
        if victim is None:
            return False
        self._offset -= self._expected(victim)
        self._free_rows += 1
        return True

    def _expected(self, live: LiveRequest) -> int:
        return int(min(live.left_tokens, _CLIP_NEW_TOKENS) * self._ratio)

    def _has_room(self) -> bool:
        return self._chunk_tokens > 0 and self._input_tokens > 0 and self._memory.free_tokens > 0
