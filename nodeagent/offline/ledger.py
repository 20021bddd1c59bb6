"""The items one replica holds.

Owns the three places an item can be in: running, finished (its result not yet durable),
returning (aborted, not yet handed back). Refuses more than the window. Invariant: an item
is in exactly one place from the moment it is leased until the control plane has answered
its commit or its return; `held` names all of running and finished, which is what a pull
must say so that nothing the node still answers for is leased to another.
"""

from collections.abc import Iterable

from nodeagent.offline.bodies import Item, Result

Lease = tuple[str, int]
"""(item name, attempt)."""


class Ledger:
    """Items of one replica, at most `window` of them running or finished."""

    def __init__(self, *, window: int) -> None:
        self.window = window
        self._running: dict[Lease, Item] = {}
        self._finished: dict[Lease, Result] = {}
        self._returning: dict[Lease, None] = {}

    @property
    def room(self) -> int:
        """How many more items may be pulled."""
        return max(0, self.window - len(self._running) - len(self._finished))

    @property
    def running(self) -> int:
        """Items in the engine."""
        return len(self._running)

    def held(self) -> tuple[Lease, ...]:
        """Everything this replica still answers for."""
        return (*self._running, *self._finished)

    def add(self, item: Item) -> bool:
        """Takes an item in; False if it is held already."""
        lease = (item.name, item.attempt)
        if lease in self._running or lease in self._finished:
            return False
        self._returning.pop(lease, None)
        self._running[lease] = item
        return True

    def finish(self, result: Result) -> bool:
        """Takes a result in; False if the item is not running any more (handed back)."""
        lease = (result.name, result.attempt)
        if self._running.pop(lease, None) is None:
            return False
        self._finished[lease] = result
        return True

    def results(self, *, most: int, most_bytes: int) -> tuple[Result, ...]:
        """The oldest results to commit together; at least one if there is any."""
        group: list[Result] = []
        size = 0
        for result in self._finished.values():
            size += len(result.body)
            if group and (len(group) >= most or size > most_bytes):
                break
            group.append(result)
        return tuple(group)

    def committed(self, results: Iterable[Result]) -> None:
        """Forgets results the control plane has answered."""
        for result in results:
            self._finished.pop((result.name, result.attempt), None)

    def hand_back(self) -> tuple[Lease, ...]:
        """Moves all that runs to returning; finished results stay to be committed."""
        moved = tuple(self._running)
        self._running.clear()
        self._returning.update(dict.fromkeys(moved))
        return moved

    def returning(self) -> tuple[Lease, ...]:
        """What must be handed back."""
        return tuple(self._returning)

    def returned(self, leases: Iterable[Lease]) -> None:
        """Forgets what the control plane has taken back."""
        for lease in leases:
            self._returning.pop(lease, None)

    def drop(self) -> tuple[Lease, ...]:
        """Forgets everything: the lease lapsed and others have the items.

        Returns:
            What was running.
        """
        moved = tuple(self._running)
        self._running.clear()
        self._finished.clear()
        self._returning.clear()
        return moved
