"""How many items of which batch a replica takes next.

Owns the order among batches of one deployment:

1. batches whose deadline is at risk, least laxity first, where
   laxity = time left - items left / pace;
2. the rest, one item at a time: the tenant with the fewest tokens in flight per weight
   goes next (max-min fairness from what is leased now, so a restart forgets nothing);
   within a tenant the earliest deadline, then the oldest batch.

A deadline that can no longer be met outranks nothing that still can be; one that has
passed counts as none. Refuses clocks and randomness: the same arguments give the same
answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

RISK_RATIO = 0.5
"""A deadline is at risk once its batch needs more than this share of the time left."""

_PACE_ITEMS = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A batch with pending items of the replica's deployment.

    Args:
        batch: id.
        tenant: whose it is.
        create_s: when it was submitted, Unix seconds.
        deadline_s: by when it is due, Unix seconds; None: no deadline.
        start_s: since when its items may run, Unix seconds.
        pending: items nobody holds.
        leased: items in flight.
        done: items that ran and are decided.
        item_tokens: prompt and output tokens of a mean item, > 0.
    """

    batch: str
    tenant: str
    create_s: float
    deadline_s: float | None
    start_s: float
    pending: int
    leased: int
    done: int = 0
    item_tokens: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pick:
    """Take this many items of a batch, in line order."""

    batch: str
    items: int


def pick(
    candidates: Sequence[Candidate],
    *,
    now_s: float,
    max_items: int,
    weights: Mapping[str, float] | None = None,
) -> tuple[Pick, ...]:
    """Chooses what a replica takes next.

    Args:
        candidates: every batch it may take from, in any order.
        now_s: Unix seconds.
        max_items: how many it takes at most.
        weights: share of each tenant against the others, > 0; 1 where not given.

    Returns:
        Picks in the order their items are to be run; at most one per batch.
    """
    taken: dict[str, int] = {}
    room = max_items
    items_per_s = pace(candidates, now_s=now_s)
    for candidate in _at_risk(candidates, now_s=now_s, items_per_s=items_per_s):
        count = min(candidate.pending, room)
        if count > 0:
            taken[candidate.batch] = count
            room -= count
    for batch in _fair(candidates, taken, now_s=now_s, room=room, weights=weights or {}):
        taken[batch] = taken.get(batch, 0) + 1
    return tuple(Pick(batch=batch, items=items) for batch, items in taken.items())


def pace(candidates: Sequence[Candidate], *, now_s: float) -> float | None:
    """Items per second these batches have finished over their lives.

    Idle times count, so it errs low and a deadline is looked after early.

    Returns:
        None until enough items are done to tell.
    """
    if sum(one.done for one in candidates) < _PACE_ITEMS:
        return None
    return sum(one.done / max(1.0, now_s - one.start_s) for one in candidates)


def _at_risk(
    candidates: Sequence[Candidate], *, now_s: float, items_per_s: float | None
) -> list[Candidate]:
    risky: list[tuple[bool, float, str, Candidate]] = []
    for candidate in candidates:
        if candidate.deadline_s is None or candidate.deadline_s <= now_s:
            continue
        left_s = candidate.deadline_s - now_s
        if items_per_s is None or items_per_s <= 0.0:
            # Pace unknown: at risk once half of what was granted is gone.
            need_s = RISK_RATIO * (candidate.deadline_s - candidate.create_s)
            is_at_risk = left_s < need_s
        else:
            need_s = (candidate.pending + candidate.leased) / items_per_s
            is_at_risk = need_s > RISK_RATIO * left_s
        if is_at_risk:
            laxity_s = left_s - need_s
            is_hopeless = items_per_s is not None and laxity_s < 0.0
            risky.append((is_hopeless, laxity_s, candidate.batch, candidate))
    return [candidate for *_, candidate in sorted(risky, key=lambda one: one[:3])]


def _fair(
    candidates: Sequence[Candidate],
    taken: Mapping[str, int],
    *,
    now_s: float,
    room: int,
    weights: Mapping[str, float],
) -> list[str]:
    in_flight: dict[str, float] = {}
    queues: dict[str, list[Candidate]] = {}
    left = {c.batch: c.pending - taken.get(c.batch, 0) for c in candidates}
    for candidate in sorted(candidates, key=lambda one: _age_key(one, now_s)):
        held = candidate.leased + taken.get(candidate.batch, 0)
        tokens = held * candidate.item_tokens / weights.get(candidate.tenant, 1.0)
        in_flight[candidate.tenant] = in_flight.get(candidate.tenant, 0.0) + tokens
        if left[candidate.batch] > 0:
            queues.setdefault(candidate.tenant, []).append(candidate)
    order: list[str] = []
    while queues and len(order) < room:
        tenant = min(queues, key=lambda one: (in_flight[one], one))
        candidate = queues[tenant][0]
        order.append(candidate.batch)
        in_flight[tenant] += candidate.item_tokens / weights.get(tenant, 1.0)
        left[candidate.batch] -= 1
        if left[candidate.batch] == 0:
            queues[tenant].pop(0)
            if not queues[tenant]:
                del queues[tenant]
    return order


def _age_key(candidate: Candidate, now_s: float) -> tuple[float, float, str]:
    deadline_s = candidate.deadline_s
    due_s = deadline_s if deadline_s is not None and deadline_s > now_s else float("inf")
    return due_s, candidate.create_s, candidate.batch
