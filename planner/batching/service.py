"""In which order offline rows have a claim to decode.

Owns the order: rows parked too long, eldest first; rows just resumed; then the least
served. Refuses the choice of how many run (`decodes`).

Least served first is least attained service (Tiresias, NSDI 2019), in steps
coarse enough that two rows do not take turns at every pass; the bound on parked passes is
ours, since least attained service alone starves a long row beside ever new ones.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from operator import attrgetter
from typing import Any

from planner.batching.state import Budgets, DecodeRow

_STEP_TOKENS = 32  # rows within a step of each other count as equally served

Claim = Callable[[DecodeRow], Any]
"""Sort key within a group; the least goes first."""

_by_arrival = attrgetter("arrival_s", "rid")
_running_first = attrgetter("is_parked", "arrival_s", "rid")


def _longest_parked(row: DecodeRow) -> tuple[int, float, str]:
    return (-row.passes_in_state, row.arrival_s, row.rid)


def in_service_order(
    rows: Sequence[DecodeRow], *, budgets: Budgets
) -> Iterator[tuple[list[DecodeRow], Claim]]:
    """Offline rows in groups, the group with the first claim to run first.

    A parked row becomes eldest after `max_parked_passes`, and then only rows parked
    longer go before it: no row is starved by newer ones.

    Returns:
        Groups and the order within each, left to the caller: a group that runs whole need
        not be sorted.
    """
    min_resident = budgets.min_resident_passes
    max_parked = budgets.max_parked_passes
    aged: list[DecodeRow] = []
    resident: list[DecodeRow] = []
    by_service: defaultdict[int, list[DecodeRow]] = defaultdict(list)
    for row in rows:
        if row.is_parked:
            if row.passes_in_state > max_parked:
                aged.append(row)
                continue
        elif row.passes_in_state < min_resident:
            resident.append(row)
            continue
        by_service[row.generated_tokens // _STEP_TOKENS].append(row)
    if aged:
        yield aged, _longest_parked
    if resident:
        yield resident, _by_arrival
    for step in sorted(by_service):
        yield by_service[step], _running_first
