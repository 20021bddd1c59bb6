"""In which order waiting offline requests are computed.

Owns the order: requests that waited too long, then those whose deadline is near, then
prefix sharing. Keys in lexicographic order are prompts in depth-first order of their
prefix trie, so neighbours share the longest prefixes (HyGen, prefix sharing
maximisation). Refuses admission: that is `chunks`.
"""

from collections.abc import Iterable
from operator import attrgetter

from planner.batching.state import Budgets, PrefillWork

_BY_PROMPT = attrgetter("prompt_key", "arrival_s", "rid")


def order_offline(
    waiting: Iterable[PrefillWork], *, now_s: float, budgets: Budgets, token_ms: float
) -> list[PrefillWork]:
    """Sorts waiting offline requests, first first.

    A request that waited more than `aged_passes` goes before all younger ones, eldest
    first: only requests older than it can then be taken before it. One whose laxity
    (deadline - now - its own prefill) is under `urgent_laxity_s` goes next, least laxity
    first; a missed deadline is the most urgent.

    Args:
        waiting: Requests, in any order.
        now_s: The stamped time.
        budgets: Live settings.
        token_ms: Milliseconds a prompt token takes, for laxity.
    """
    aged: list[tuple[int, float, str, PrefillWork]] = []
    urgent: list[tuple[float, float, str, PrefillWork]] = []
    others: list[PrefillWork] = []
    aged_passes = budgets.aged_passes
    horizon_s = now_s + budgets.urgent_laxity_s
    token_s = token_ms / 1000.0
    for work in waiting:
        deadline_s = work.deadline_s
        if work.passes_waited > aged_passes:
            aged.append((-work.passes_waited, work.arrival_s, work.rid, work))
        elif (
            deadline_s is not None
            and (start_by_s := deadline_s - work.remaining_tokens * token_s) < horizon_s
        ):
            urgent.append((start_by_s, work.arrival_s, work.rid, work))
        else:
            others.append(work)
    others.sort(key=_BY_PROMPT)
    if not aged and not urgent:
        return others
    aged.sort(key=lambda entry: entry[:3])
    urgent.sort(key=lambda entry: entry[:3])
    return [entry[3] for entry in aged] + [entry[3] for entry in urgent] + others
