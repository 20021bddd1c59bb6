"""Batches under way: what is left, who is next, what was done in time.

Owns progress. The order is `planner.dispatch.pick`'s, the control plane's own: an exact
replay asks it for items; an aggregated one for quanta of the work at hand. Refuses
replicas. Invariants: an item is done at most once; what is handed out and given back is
pending again.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from planner.dispatch.pick import Candidate, pick
from planner.simulation.fleet.scenario import FleetBatch

_QUANTA = 16  # an interval's work is handed out in so many parts


@dataclass(slots=True, kw_only=True)
class Progress:
    """One batch; owned and changed by `Book` only."""

    batch: FleetBatch
    item_work_ms: float
    done: float = 0.0  # items
    leased: float = 0.0
    finish_s: float | None = None

    @property
    def pending(self) -> float:
        """Items nobody holds."""
        return max(0.0, self.batch.items - self.done - self.leased)

    @property
    def left_work_ms(self) -> float:
        """Work of what is not done."""
        return max(0.0, self.batch.items - self.done) * self.item_work_ms

    @property
    def is_finished(self) -> bool:
        """Whether all its items are done."""
        return self.finish_s is not None

    def is_missed(self, *, now_s: float) -> bool:
        """Whether its deadline passed before it was done."""
        deadline_s = self.batch.deadline_s
        ended_s = now_s if self.finish_s is None else self.finish_s
        return deadline_s is not None and ended_s > deadline_s + 1e-6


class Book:
    """All batches submitted so far."""

    def __init__(self, *, weights: Mapping[str, float] | None = None) -> None:
        self._of: dict[str, list[Progress]] = {}
        self._weights = dict(weights or {})

    def submit(self, batch: FleetBatch, *, item_work_ms: float) -> None:
        """Takes a batch in."""
        progress = Progress(batch=batch, item_work_ms=item_work_ms)
        self._of.setdefault(batch.deployment, []).append(progress)

    def of(self, deployment: str) -> Sequence[Progress]:
        """Its batches, in order of submission."""
        return self._of.get(deployment, ())

    def all(self) -> Iterator[Progress]:
        """Every batch."""
        for batches in self._of.values():
            yield from batches

    def left_work_ms(self, deployment: str) -> float:
        """Work of all its items that are not done."""
        return sum(progress.left_work_ms for progress in self.of(deployment))

    def due(self, deployment: str, *, now_s: float) -> list[tuple[float, float]]:
        """(deadline, work left) of its batches that can still be in time, soonest first."""
        return sorted(
            (progress.batch.deadline_s, progress.left_work_ms)
            for progress in self.of(deployment)
            if progress.batch.deadline_s is not None
            and progress.batch.deadline_s > now_s
            and not progress.is_finished
        )

    # ------------------------------------------------------------ aggregated

    def serve(self, deployment: str, *, work_ms: float, now_s: float) -> float:
        """Does so much work on its batches by the order of dispatch.

        Returns:
            The work that there was something to do for.
        """
        left_ms = work_ms
        quantum_ms = work_ms / _QUANTA
        for _ in range(_QUANTA):  # each pass ends a batch, or all of the work
            opened = [p for p in self.of(deployment) if p.left_work_ms > 1e-6]
            if not opened or left_ms <= 1e-9 * max(1.0, work_ms):
                break
            if len(opened) == 1:
                left_ms -= _work_on(opened[0], left_ms, now_s=now_s)
                continue
            by_id = {progress.batch.id: progress for progress in opened}
            parts = max(1, round(left_ms / quantum_ms))
            for one in pick(
                [_in_quanta(progress, quantum_ms) for progress in opened],
                now_s=now_s,
                max_items=parts,
                weights=self._weights,
            ):
                given_ms = min(left_ms, one.items * left_ms / parts)
                left_ms -= _work_on(by_id[one.batch], given_ms, now_s=now_s)
        return work_ms - max(0.0, left_ms)

    # ------------------------------------------------------------ exact

    def pull(self, deployment: str, *, items: int, now_s: float) -> list[Progress]:
        """Leases up to so many items; a batch once for each of them, in order."""
        opened = {p.batch.id: p for p in self.of(deployment) if p.pending >= 1.0}
        if not opened or items < 1:
            return []
        taken: list[Progress] = []
        for one in pick(
            [_as_candidate(progress) for progress in opened.values()],
            now_s=now_s,
            max_items=items,
            weights=self._weights,
        ):
            progress = opened[one.batch]
            progress.leased += one.items
            taken.extend([progress] * one.items)
        return taken

    def finish(self, progress: Progress, *, now_s: float) -> None:
        """An item that was leased is done."""
        progress.leased -= 1.0
        progress.done += 1.0
        _close(progress, now_s=now_s)

    def give_back(self, progress: Progress) -> None:
        """An item that was leased is pending again."""
        progress.leased -= 1.0


def _work_on(progress: Progress, work_ms: float, *, now_s: float) -> float:
    used_ms = min(work_ms, progress.left_work_ms)
    progress.done += used_ms / progress.item_work_ms
    _close(progress, now_s=now_s)
    return used_ms


def _close(progress: Progress, *, now_s: float) -> None:
    if progress.finish_s is None and progress.done >= progress.batch.items * (1.0 - 1e-9):
        progress.done = float(progress.batch.items)
        progress.finish_s = now_s


def _in_quanta(progress: Progress, quantum_ms: float) -> Candidate:
    """The batch as dispatch sees it, its items as large as a quantum of work."""
    batch = progress.batch
    return Candidate(
        batch=batch.id,
        tenant=batch.tenant,
        create_s=batch.submit_s,
        deadline_s=batch.deadline_s,
        start_s=batch.submit_s,
        pending=max(1, math.ceil(progress.left_work_ms / quantum_ms)),
        leased=0,
        done=int(progress.done * progress.item_work_ms / quantum_ms),
        item_tokens=quantum_ms,
    )


def _as_candidate(progress: Progress) -> Candidate:
    batch = progress.batch
    return Candidate(
        batch=batch.id,
        tenant=batch.tenant,
        create_s=batch.submit_s,
        deadline_s=batch.deadline_s,
        start_s=batch.submit_s,
        pending=int(progress.pending),
        leased=int(progress.leased),
        done=int(progress.done),
        item_tokens=progress.item_work_ms,
    )
