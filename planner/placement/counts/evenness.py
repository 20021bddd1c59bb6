"""What a deployment's replicas would lack were they divided evenly over failure domains.

Owns the judgement of merged counts by what dividing them can keep. Refuses to divide:
devices of single domains are `split`'s and `balance`'s. Rows of merged cells let each
domain hold the average, which whole replicas seldom attain: nine replicas in eight domains
put two into one.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from planner.placement.counts.problem import Counts, Problem, failover_needs


class Evenness:
    """Divides each deployment alone, larger replicas first, each where there is least.

    Args:
        problem: All of it, its cells in domains.
        member: Of each cell, its merged one.
    """

    def __init__(self, problem: Problem, member: Sequence[int]) -> None:
        domains: dict[int, set[int]] = defaultdict(set)
        for cell, merged in zip(problem.cells, member, strict=True):
            if cell.domain is not None:
                domains[merged].add(cell.domain)
        self._domains = {merged: tuple(sorted(of)) for merged, of in domains.items()}
        self._needs = []
        for d, wanted in enumerate(problem.wanted):
            shapes = problem.shapes_of(d)
            needs = failover_needs(wanted, tuple(problem.shapes[q] for q in shapes))
            asked = sum(cls.failover_ratio * cls.work for cls in wanted.classes)
            self._needs.append(
                [
                    (needed, dict(zip(shapes, gives, strict=True)), asked / needed)
                    for needed, gives in needs
                ]
            )

    def lack(self, deployment: int, counts: Counts) -> float:
        """Failover short, replica-equivalents.

        Args:
            deployment: Its index.
            counts: Its replicas by (merged cell, shape).
        """
        needs = self._needs[deployment]
        if not needs:
            return 0.0
        held = self._divided(needs[-1][1], counts)
        worst = 0.0
        for needed, gives, unit in needs:
            total = sum(gives[q] * count for (_, q), count in counts.items())
            lost = max(
                (sum(gives[q] * count for q, count in of.items()) for of in held.values()),
                default=0.0,
            )
            worst = max(worst, (needed - (total - lost)) * unit)
        return worst

    def _divided(self, gives: Mapping[int, float], counts: Counts) -> dict[int, dict[int, int]]:
        """Replicas of each shape by domain."""
        held: dict[int, dict[int, int]] = defaultdict(lambda: defaultdict(int))
        weight: dict[int, float] = defaultdict(float)
        for (m, q), count in sorted(counts.items(), key=lambda one: (-gives[one[0][1]], one[0])):
            domains = self._domains.get(m, ())
            if not domains:
                continue
            each = 0 if weight else count // len(domains)  # the largest lie evenly
            for domain in domains if each else ():
                held[domain][q] += each
                weight[domain] += each * gives[q]
            for _ in range(count - each * len(domains)):
                domain = min(domains, key=lambda g: (weight[g], g))
                held[domain][q] += 1
                weight[domain] += gives[q]
        return held
