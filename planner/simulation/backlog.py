"""Offline requests that wait, in the orders a policy reads them in.

Owns who waits and how a policy sees them: one value from pass to pass, made anew when
somebody comes or goes, in the standing orders that the plugin keeps too. Refuses choices.

Invariant: what a policy is shown of the prefix cache is looked up again when `live` says so;
of a request that the cache can hold nothing of, never: nothing would change.
"""

from collections.abc import Iterable, Iterator

from planner.batching.prefixes import PromptOrder
from planner.batching.state import OfflineQueue, PrefillWork
from planner.simulation.live import LiveRequest
from planner.simulation.memory import KvMemory


class Backlog:
    """The waiting offline requests of one engine, in the order they were queued."""

    def __init__(self) -> None:
        self._waiting: dict[str, LiveRequest] = {}
        self._unseen: list[LiveRequest] = []  # since the last reading
        self._cacheable: list[LiveRequest] = []  # whose prefix is looked up now and then
        self._order = PromptOrder()
        self._works: tuple[PrefillWork, ...] = ()

    def __len__(self) -> int:
        return len(self._waiting)

    def __iter__(self) -> Iterator[LiveRequest]:
        return iter(self._waiting.values())

    def put(self, live: LiveRequest) -> None:
        """Lets a request wait behind all others."""
        self._waiting[live.rid] = live
        self._unseen.append(live)

    def discard(self, rids: Iterable[str]) -> None:
        """Lets requests go; nothing where one does not wait."""
        gone = [rid for rid in rids if self._waiting.pop(rid, None) is not None]
        if not gone:
            return
        for rid in gone:
            self._order.discard(rid)
        self._works = tuple([work for work in self._works if work.rid in self._waiting])
        self._unseen = [live for live in self._unseen if live.rid in self._waiting]
        self._cacheable = [live for live in self._cacheable if live.rid in self._waiting]

    def first(self, rids: Iterable[str]) -> Iterator[LiveRequest]:
        """Those named that wait, as named; then the others, as they were queued."""
        named = dict.fromkeys(rids)
        for rid in named:
            live = self._waiting.get(rid)
            if live is not None:
                yield live
        for live in self._waiting.values():
            if live.rid not in named:
                yield live

    def read(self, memory: KvMemory, *, number: int) -> tuple[PrefillWork, ...]:
        """Themselves as a policy sees them before pass `number`, as they were queued."""
        for live in self._cacheable:
            if number >= live.match_due:
                live.as_work(memory, number=number, is_started=False)
        if self._unseen:
            works = [live.as_work(memory, number=number, is_started=False) for live in self._unseen]
            self._works += tuple(works)
            for work in works:
                self._order.put(work)
            self._cacheable += [live for live in self._unseen if live.may_be_cached]
            self._unseen = []
        return self._works

    def standing(self) -> OfflineQueue:
        """Those that were read, in their standing orders."""
        return self._order.snapshot()
