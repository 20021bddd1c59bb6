"""The engine's waiting queue read as the decision's values, pass by pass.

Owns the reading of waiting requests. Most of them are as they were in the pass before, so
an offline request is read again only where it came, was requeued, or had its prefix
matched anew. Refuses the choice among them: that is the planner's.

Prefix matches grow stale as the cache changes. Those that count are of the prompts next in
line; these are matched again every few passes, the rest in turn, a few a pass. A stale
match costs a chunk that is cut a little wrong: SGLang matches again before it admits.

Invariant: what is read depends on broadcast requests and stamps only, so all ranks read
the same.
"""

from itertools import islice
from typing import Any

from sglang.srt.mem_cache.common import match_kv_cache

from nodeagent.sglang_plugin.clock import PassClock
from nodeagent.sglang_plugin.rows import RequestRecord, prefill_work
from planner.batching.prefixes import PromptOrder, from_cursor
from planner.batching.state import Memory, OfflineQueue, PrefillWork

_PERIOD = 16  # passes the prefix match of a waiting request is believed
_NEVER = -_PERIOD  # as the pass of the last match: taken in, not matched yet
_NEXT_PERIOD = 4  # of an offline one that is next in line
_NEXT_IN_LINE = 4  # prompts in prefix order that count as next, beside the eldest
_MATCHES_A_PASS = 4  # of the other offline ones, the longest unmatched first


class WaitingReader:
    """Keeps the offline queue of one engine in order as requests come and go."""

    def __init__(self) -> None:
        self._order = PromptOrder()
        self._seen: list[Any] = []  # the queue as it was read last
        self._online: list[Any] = []
        self._offline: dict[str, Any] = {}
        self._undated: dict[str, Any] = {}  # read before a stamp dated their arrival
        self._turns: dict[str, None] = {}  # offline rids, the longest unmatched first

    def read(
        self, queue: list[Any], tree: Any, *, clock: PassClock, number: int, memory: Memory
    ) -> tuple[tuple[PrefillWork, ...], OfflineQueue]:
        """Reads the waiting queue; `rows.observe` has dated all its requests.

        Args:
            queue: SGLang's waiting queue, in any order.
            tree: Its prefix cache.
            clock: The stamp of this pass.
            number: Passes so far.
            memory: For where prefix order goes on.

        Returns:
            Online requests, and the offline ones in their standing orders.
        """
        if queue != self._seen:
            self._take_changes(queue, clock=clock, number=number)
        for rid, req in tuple(self._undated.items()):
            if req.slacktide.arrival_s is not None:
                del self._undated[rid]
                self._put(req, clock=clock, number=number)
        for req in self._due(number=number, memory=memory):
            match_kv_cache(req, tree)
            req.slacktide.matched_pass = number
            self._turns[req.rid] = self._turns.pop(req.rid)
            self._put(req, clock=clock, number=number)
        online = tuple([self._online_work(req, tree, clock, number) for req in self._online])
        return online, self._order.snapshot()

    def _take_changes(self, queue: list[Any], *, clock: PassClock, number: int) -> None:
        self._seen = list(queue)
        self._online = []
        offline: dict[str, Any] = {}
        for req in queue:
            record: RequestRecord = req.slacktide
            if record.queued_pass is None:
                record.queued_pass = number
            if not record.is_offline:
                self._online.append(req)
                continue
            offline[req.rid] = req
            if self._offline.get(req.rid) is not req or record.matched_pass is None:
                if not record.prompt_key:
                    record.prompt_key = req.origin_input_ids.tobytes()
                record.matched_pass = _NEVER
                self._turns.setdefault(req.rid)
                self._put(req, clock=clock, number=number)
        for rid in self._offline.keys() - offline.keys():
            self._order.discard(rid)
            self._undated.pop(rid, None)
            del self._turns[rid]
        self._offline = offline

    def _put(self, req: Any, *, clock: PassClock, number: int) -> None:
        if req.slacktide.arrival_s is None:
            self._undated[req.rid] = req
        self._order.put(prefill_work(req, clock=clock, number=number, is_started=False))

    def _due(self, *, number: int, memory: Memory) -> list[Any]:
        """Offline requests whose prefix is to be matched in this pass."""
        queue = self._order.snapshot()
        line = (*queue.by_age[:1], *islice(from_cursor(queue, memory.prompt_cursor), _NEXT_IN_LINE))
        due: dict[str, Any] = {}
        for work in line:
            req = self._offline[work.rid]
            if number - req.slacktide.matched_pass >= _NEXT_PERIOD:
                due[work.rid] = req
        for rid in islice(self._turns, _MATCHES_A_PASS):
            req = self._offline[rid]
            if number - req.slacktide.matched_pass >= _PERIOD:
                due[rid] = req
        return list(due.values())

    def _online_work(self, req: Any, tree: Any, clock: PassClock, number: int) -> PrefillWork:
        record: RequestRecord = req.slacktide
        if record.matched_pass is None or number - record.matched_pass >= _PERIOD:
            record.matched_pass = number
            match_kv_cache(req, tree)
        return prefill_work(req, clock=clock, number=number, is_started=False)
