"""Where to probe next, from what probes so far say of elasticities.

Owns a local model: logarithms of statistics and of work, linear in logarithms of budgets,
learned by Broyden's rank-one update (Broyden 1965). Refuses to probe. All elasticities are
taken as >= 0, since every statistic and the work grow with every budget.
"""

from collections.abc import Sequence
from itertools import product
from math import exp, log

# Of the radius; in this order, since of equal moves the first is taken.
_LEVELS = (0.0, 0.25, -0.25, 0.5, -0.5, 0.75, -0.75, 1.0, -1.0)
_FLOOR = 1e-9

# Before anything is learned: work and statistics grow as the square root of a budget, all
# budgets together, so that doubling all of them brings 1.4 times of each.
_PRIOR = 0.5


class Elasticities:
    """How each output answers to each budget, around the last point."""

    def __init__(self, *, budgets: int, outputs: int) -> None:
        self._rows = [[_PRIOR / budgets] * budgets for _ in range(outputs)]

    def learn(self, moved: Sequence[float], changed: Sequence[float]) -> None:
        """Takes in what a move changed.

        Args:
            moved: Change of the logarithm of each budget.
            changed: Change of the logarithm of each output.
        """
        length = sum(step * step for step in moved)
        if length < _FLOOR:
            return
        for row, change in zip(self._rows, changed, strict=True):
            missed = change - sum(e * step for e, step in zip(row, moved, strict=True))
            for index, step in enumerate(moved):
                row[index] = max(0.0, row[index] + missed * step / length)

    def predict(self, move: Sequence[float]) -> list[float]:
        """Change of the logarithm of each output after a move."""
        return [sum(e * step for e, step in zip(row, move, strict=True)) for row in self._rows]


def best_move(
    elasticities: Elasticities, *, slack: Sequence[float], radius: float, budgets: int
) -> tuple[float, ...] | None:
    """The move within a box that is predicted to bring the most work and to pass.

    Args:
        elasticities: Its first output is the work, the others are limited statistics.
        slack: Of each limited statistic, log(target / measured) at the last point, which
            passed: what a move leaves alone never stands against it.
        radius: Half the box's side, in logarithms.
        budgets: Dimensions.

    Returns:
        Logarithmic steps; None when staying is best.
    """
    best, most = None, 1e-6
    for levels in product(_LEVELS, repeat=budgets):
        move = tuple(level * radius for level in levels)
        work, *others = elasticities.predict(move)
        if work <= most or any(
            change > max(room, _FLOOR) for change, room in zip(others, slack, strict=True)
        ):
            continue
        best, most = move, work
    return best


def logs(values: Sequence[float]) -> list[float]:
    """Natural logarithms, of at least a small positive number."""
    return [log(max(_FLOOR, value)) for value in values]


def times(value: float, step: float) -> float:
    """A budget after a logarithmic step."""
    return value * exp(step)
