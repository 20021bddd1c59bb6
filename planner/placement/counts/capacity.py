"""What counts bear of each deployment's online work, kept up to date.

Owns one number a deployment: the replica-equivalents of online work that its replicas
could not serve, with all domains or without the worst one, whichever lacks more. Refuses
offline work. Cheap: a change of one count costs a few additions.
"""

from collections import defaultdict

from planner.placement.counts.problem import Counts, Problem, failover_needs, online_needs


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
                *((needed, gives, True) for needed, gives in failover_needs(wanted, own)),
                *((needed, gives, False) for needed, gives in online_needs(wanted, own)),
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
        for direction, (_, gives, _) in enumerate(self._needs[d]):
            self._held[d][direction][self._domain[cell]] += by * gives[self._rank[shape]]

    def lack(self, d: int) -> float:
        """What a deployment's replicas cannot serve, replica-equivalents."""
        wanted = self.problem.wanted[d]
        worst = 0.0
        for (needed, _, is_lost), held in zip(self._needs[d], self._held[d], strict=True):
            left = sum(held) - (max(held) if is_lost else 0.0)
            asked = sum(
                (cls.failover_ratio if is_lost else 1.0) * cls.work for cls in wanted.classes
            )
            worst = max(worst, (needed - left) / needed * asked)
        return worst
