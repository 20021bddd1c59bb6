"""What counts bear of each deployment's online work, kept up to date.

Owns one number a deployment: the replica-equivalents of online work that its replicas
could not serve, with all domains or without the worst one, whichever lacks more. Refuses
offline work. Cheap: a change of one count costs a few additions.
"""

from collections import defaultdict
from collections.abc import Iterator

from planner.placement.counts.problem import (
    Counts,
    Problem,
    Shape,
    Wanted,
    failover_needs,
    online_needs,
)


class Capacity:
    """Online capacity by deployment, direction and domain.

    Args:
        problem: All of it.
        counts: By (cell, shape), to begin with.
    """

    def __init__(self, problem: Problem, counts: Counts) -> None:
        self.problem = problem
        self.counts: dict[tuple[int, int], int] = defaultdict(int, counts)
        self.room = [cell.all_slots for cell in problem.cells]
        self.shapes = [problem.shapes_of(d) for d in range(len(problem.wanted))]
        shapes_of = [tuple(problem.shapes[q] for q in own) for own in self.shapes]
        self._needs = [
            [
                *((needed, gives, unit, True) for needed, gives, unit in _units(wanted, own, True)),
                *(
                    (needed, gives, unit, False)
                    for needed, gives, unit in _units(wanted, own, False)
                ),
            ]
            for wanted, own in zip(problem.wanted, shapes_of, strict=True)
        ]
        self._rank = {q: i for own in self.shapes for i, q in enumerate(own)}
        self._domain = [cell.domain or 0 for cell in problem.cells]
        domains = max(self._domain, default=0) + 1
        self._held = [[[0.0] * domains for _ in needs] for needs in self._needs]
        for (c, q), count in counts.items():
            self.room[c] -= count * problem.shapes[q].slots
            self.weigh(c, q, count)

    def domain(self, cell: int) -> int:
        """Index of a cell's failure domain."""
        return self._domain[cell]

    def move(self, cell: int, shape: int, by: int) -> None:
        """Changes a count, with its slots and what it bears."""
        self.counts[cell, shape] += by
        self.room[cell] -= by * self.problem.shapes[shape].slots
        self.weigh(cell, shape, by)

    def weigh(self, cell: int, shape: int, by: int) -> None:
        """Changes what is borne alone, as if the count had changed."""
        d = self.problem.shapes[shape].deployment
        for direction, (_, gives, _, _) in enumerate(self._needs[d]):
            self._held[d][direction][self._domain[cell]] += by * gives[self._rank[shape]]

    def lack(self, d: int) -> float:
        """What a deployment's replicas cannot serve, replica-equivalents."""
        worst = 0.0
        for (needed, _, unit, is_lost), held in zip(self._needs[d], self._held[d], strict=True):
            lack = (needed - sum(held) + (max(held) if is_lost else 0.0)) * unit
            worst = max(worst, lack)
        return worst


def _units(
    wanted: Wanted, shapes: tuple[Shape, ...], is_lost: bool
) -> Iterator[tuple[float, tuple[float, ...], float]]:
    """Directions, with replica-equivalents of work by the unit needed."""
    needs = failover_needs(wanted, shapes) if is_lost else online_needs(wanted, shapes)
    for needed, gives in needs:
        asked = sum((cls.failover_ratio if is_lost else 1.0) * cls.work for cls in wanted.classes)
        yield needed, gives, asked / needed
