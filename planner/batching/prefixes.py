"""Waiting offline requests kept in order as they come and go.

Owns the standing orders of the queue: by prompt, by age, by deadline. A change costs
O(log n) comparisons; nothing is sorted again, and a snapshot is made anew only after a
change. Refuses the choice among the orders: that is `order`.

Order by prompt. A prompt's key is its token ids, each as the same number of bytes. Keys
that begin with the same tokens begin with the same bytes, so in lexicographic order they
stand side by side, a prefix before its extensions: a depth-first walk of the prompts'
trie (HyGen, arXiv 2501.14808, prefix sharing maximisation). Which of two branches comes
first depends on the byte order of a token; that a branch is whole does not.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any

from planner.batching.state import OfflineQueue, PrefillWork

by_prompt = attrgetter("prompt_key", "arrival_s", "rid")
by_age = attrgetter("queued_pass", "arrival_s", "rid")
by_deadline = attrgetter("deadline_s", "arrival_s", "rid")


class PromptOrder:
    """The queue as its driver keeps it."""

    def __init__(self) -> None:
        self._works: dict[str, PrefillWork] = {}
        self._by_prompt: list[PrefillWork] = []
        self._by_age: list[PrefillWork] = []
        self._by_deadline: list[PrefillWork] = []
        self._snapshot: OfflineQueue | None = None

    def __len__(self) -> int:
        return len(self._works)

    def __contains__(self, rid: str) -> bool:
        return rid in self._works

    def put(self, work: PrefillWork) -> None:
        """Takes a request in, or what is newly known of one that is in already."""
        known = self._works.get(work.rid)
        if known == work:
            return
        if known is not None:
            self.discard(work.rid)
        self._works[work.rid] = work
        insort(self._by_prompt, work, key=by_prompt)
        insort(self._by_age, work, key=by_age)
        if work.deadline_s is not None:
            insort(self._by_deadline, work, key=by_deadline)
        self._snapshot = None

    def discard(self, rid: str) -> None:
        """Lets a request go; nothing where it is not in."""
        work = self._works.pop(rid, None)
        if work is None:
            return
        _remove(self._by_prompt, work, key=by_prompt)
        _remove(self._by_age, work, key=by_age)
        if work.deadline_s is not None:
            _remove(self._by_deadline, work, key=by_deadline)
        self._snapshot = None

    def snapshot(self) -> OfflineQueue:
        """The queue as a value; the same one until something changes."""
        if self._snapshot is None:
            self._snapshot = OfflineQueue(
                by_prompt=tuple(self._by_prompt),
                by_age=tuple(self._by_age),
                by_deadline=tuple(self._by_deadline),
            )
        return self._snapshot


def queue_of(waiting: Iterable[PrefillWork]) -> OfflineQueue:
    """The queue of requests nobody kept in order, sorted once."""
    works = tuple(waiting)
    return OfflineQueue(
        by_prompt=tuple(sorted(works, key=by_prompt)),
        by_age=tuple(sorted(works, key=by_age)),
        by_deadline=tuple(
            sorted((work for work in works if work.deadline_s is not None), key=by_deadline)
        ),
    )


def from_cursor(
    queue: OfflineQueue, cursor: tuple[bytes, float, str] | None
) -> Iterator[PrefillWork]:
    """Prefix order from the cursor on, once around: a walk that arrivals do not restart.

    Without the cursor, each arrival whose key is small would pull the walk back to it, and
    prompts with large keys would wait for as long as such arrivals come.
    """
    works = queue.by_prompt
    start = 0 if cursor is None else bisect_right(works, cursor, key=by_prompt)
    for place in range(start, len(works)):
        yield works[place]
    for place in range(start):
        yield works[place]


def _remove(works: list[PrefillWork], work: PrefillWork, *, key: Callable[[Any], Any]) -> None:
    """Takes `work` out of a list sorted by `key`, whose last part, the rid, is unique."""
    del works[bisect_left(works, key(work), key=key)]
