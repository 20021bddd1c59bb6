"""Which budgets a search moves, and how.

Owns their ranges, and where a budget stands for no limit or none at all, from which no step
leads. Refuses probes.
"""

from dataclasses import replace

from planner.batching.state import Budgets

DIMENSIONS = (
    "latency_budget_ms",
    "calm_budget_ms",
    "idle_budget_ms",
    "max_stall_ms",
    "gap_credit_ms",
    "max_rows_beside_online",
)
"""What is searched: milliseconds, and rows."""

_LEAST_MS, _MOST_MS = 0.05, 60_000.0
_NO_LIMIT_ROWS = Budgets().max_rows_beside_online


def searched_names(budgets: Budgets) -> frozenset[str]:
    """Which budgets a climb from there moves: none that is 0, nor rows without a limit."""
    return frozenset(name for name in DIMENSIONS if _is_searched(budgets, name))


def is_comparable(one: Budgets, other: Budgets) -> bool:
    """Whether elasticities tell of the step between: only searched budgets differ."""
    values = {name: getattr(one, name) for name in DIMENSIONS}
    return replace(other, **values) == one and searched_names(one) == searched_names(other)


def _is_searched(budgets: Budgets, name: str) -> bool:
    """Not a budget of 0, which has no logarithm, nor rows without a limit."""
    value: float = getattr(budgets, name)
    return value > 0.0 and not (name == "max_rows_beside_online" and value >= _NO_LIMIT_ROWS)


def scaled(budgets: Budgets, factor: float) -> Budgets:
    """Every budget that is searched, so many times."""
    for name in DIMENSIONS:
        budgets = moved(budgets, name, factor)
    return budgets


def only_idle(budgets: Budgets) -> Budgets:
    """The same without offline work while anybody is online."""
    return replace(budgets, latency_budget_ms=0.0, calm_budget_ms=0.0, max_stall_ms=0.0)


def moved(budgets: Budgets, name: str, factor: float) -> Budgets:
    """One budget, so many times, within its range; as it is where it is not searched."""
    if not _is_searched(budgets, name):
        return budgets
    value = getattr(budgets, name)
    if name == "max_rows_beside_online":
        # A step of less than a row is one row.
        rows = round(value * factor)
        if rows == value and factor != 1.0:
            rows += 1 if factor > 1.0 else -1
        return replace(budgets, max_rows_beside_online=min(_NO_LIMIT_ROWS - 1, max(1, rows)))
    return replace(budgets, **{name: min(_MOST_MS, max(_LEAST_MS, value * factor))})
