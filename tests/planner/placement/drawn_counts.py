"""Tiny problems in counts: built by hand, drawn by hypothesis, and all of their counts."""

import itertools
from collections.abc import Iterator

from hypothesis import strategies as st

from planner.placement.counts.problem import (
    Cell,
    Entitlement,
    Mode,
    OfflineDemand,
    OnlineDemand,
    Problem,
    Shape,
    Wanted,
)

CELL = Cell(kind=0, domain=0, nodes=1, slots=2, host_bytes=float("inf"), node_cost=0.2)
MODE = Mode(served=0, max_online=0.5, segments=((1.0, 1.0, 0.8),))
SHAPE = Shape(deployment=0, kind=0, slots=1, host_bytes=0.0, load_cost=0.5, modes=(MODE,))
ONLINE = OnlineDemand(work=0.5, failover_ratio=0.0, weight=1.0)
WANTED = Wanted(min_replicas=0, max_replicas=8, classes=(ONLINE,))

_WORK = st.sampled_from([0.0, 0.3, 0.5, 1.1])


def problem_of(**fields) -> Problem:
    """One deployment without offline work in one cell, but for what is said."""
    cells = fields.setdefault("cells", (CELL,))
    fields.setdefault("shapes", (SHAPE,))
    fields.setdefault("wanted", (WANTED,))
    fields.setdefault("offline", ())
    fields.setdefault("tenants", ())
    fields.setdefault("domains", len({cell.domain for cell in cells}))
    return Problem(**fields)


@st.composite
def _modes(draw, *, classes: int, size: float) -> tuple[Mode, ...]:
    bears = size * draw(st.sampled_from([0.4, 0.5, 0.9]))
    rest = size * draw(st.sampled_from([0.6, 0.8]))
    found = [
        Mode(
            served=rank,
            max_online=bears * (1.0 + 0.5 * rank),
            segments=((0.5, 1.0, rest), (2.0 * rest / bears / (1.0 + rank), 1.0, 1.5 * rest)),
        )
        for rank in range(classes)
    ]
    if draw(st.booleans()):
        found.append(Mode(served=classes, max_online=0.0, segments=((1.0, 1.0, 1.2 * rest),)))
    return tuple(found)


@st.composite
def problems(draw, *, domains: int = 3, deployments: int = 2, spare: bool = False) -> Problem:
    """A few devices in up to three domains; `spare`: with room for exchanges."""
    kinds = draw(st.integers(1, 2))
    cells = tuple(
        Cell(
            kind=draw(st.integers(0, kinds - 1)),
            domain=g,
            nodes=draw(st.integers(1, 2)) if spare else 1,
            slots=draw(st.sampled_from([2, 4] if spare else [1, 2])),
            host_bytes=draw(st.sampled_from([float("inf"), 3.0])),
            node_cost=draw(st.sampled_from([0.0, 0.2])),
            device_cost=draw(st.sampled_from([0.0, 0.0, 3.0])),
        )
        for g in range(draw(st.integers(1, domains)))
        for _ in range(draw(st.integers(1, 2)) if spare else 1)
    )
    shapes: list[Shape] = []
    wanted: list[Wanted] = []
    offline: list[OfflineDemand] = []
    for d in range(draw(st.integers(1, deployments))):
        classes = draw(st.integers(1, 2))
        asked = draw(st.sampled_from([0.0, 0.5, 1.0]))
        own = sorted(
            draw(
                st.sets(
                    st.tuples(st.integers(0, kinds - 1), st.sampled_from([1, 2])),
                    min_size=1,
                    max_size=2,
                )
            )
        )
        for kind, slots in own:
            shapes.append(
                Shape(
                    deployment=d,
                    kind=kind,
                    slots=slots,
                    host_bytes=draw(st.sampled_from([0.0, 2.0])),
                    load_cost=draw(st.sampled_from([0.2, 1.0])),
                    modes=draw(_modes(classes=classes, size=slots * (1.0, 0.6)[kind])),
                )
            )
        least = draw(st.integers(0, 2))
        wanted.append(
            Wanted(
                min_replicas=least,
                max_replicas=least + draw(st.integers(1, 4)),
                classes=tuple(
                    OnlineDemand(
                        work=draw(_WORK), failover_ratio=asked, weight=2.0 if rank == 0 else 1.0
                    )
                    for rank in range(classes)
                ),
                is_spread=draw(st.booleans()),
                is_alone=draw(st.sampled_from([False, False, True])),
            )
        )
        offline += [
            OfflineDemand(
                deployment=d,
                tenant=draw(st.integers(0, 1)),
                weight=draw(st.sampled_from([0.5, 2.0])),
                least=draw(st.sampled_from([0.0, 0.3])),
                most=draw(st.sampled_from([0.3, 2.0])),
            )
            for _ in range(draw(st.integers(0, 2)))
        ]
    problem = Problem(
        cells=cells,
        shapes=tuple(shapes),
        wanted=tuple(wanted),
        offline=tuple(offline),
        tenants=(
            Entitlement(most=draw(st.sampled_from([None, 0.4])), fair=0.0),
            Entitlement(most=None, fair=0.3 if any(one.tenant == 1 for one in offline) else 0.0),
        ),
        domains=len({cell.domain for cell in cells}),
    )
    held = draw(st.sampled_from(list(itertools.islice(all_counts(problem), 60))))
    least = {key: 1 for key in held if draw(st.sampled_from([False, False, True]))}
    return Problem(
        **{name: getattr(problem, name) for name in Problem.__dataclass_fields__}
        | {
            "held": held,
            "least": least,
            "max_moves": draw(st.sampled_from([None, None, 1, 2])),
        }
    )


def all_counts(problem: Problem) -> Iterator[dict[tuple[int, int], int]]:
    """Every feasible way to fill the cells, none first."""
    fillings = [list(_fillings(problem, c)) for c in range(len(problem.cells))]
    for chosen in itertools.product(*fillings):
        counts = {
            (c, q): count
            for c, filling in enumerate(chosen)
            for q, count in enumerate(filling)
            if count
        }
        if is_feasible(problem, counts):
            yield counts


def _fillings(problem: Problem, c: int) -> Iterator[tuple[int, ...]]:
    ranges = [range(problem.fits(c, q) + 1) for q in range(len(problem.shapes))]
    for filling in itertools.product(*ranges):
        if _holds(problem, c, {(c, q): count for q, count in enumerate(filling)}):
            yield filling


def _holds(problem: Problem, c: int, counts) -> bool:
    """Whether one cell has devices and host memory for its counts."""
    cell = problem.cells[c]
    slots = sum(n * problem.shapes[q].slots for (of, q), n in counts.items() if of == c)
    host = sum(n * problem.shapes[q].host_bytes for (of, q), n in counts.items() if of == c)
    return slots <= cell.nodes * cell.slots and host <= cell.nodes * cell.host_bytes + 1e-9


def moves(problem: Problem, counts) -> int:
    """Replicas beyond what runs."""
    return sum(max(0, n - problem.held.get(key, 0)) for key, n in counts.items())


def is_feasible(problem: Problem, counts) -> bool:
    """Whether counts fit and keep all that an operator's word says; told independently."""
    of = [0] * len(problem.wanted)
    for (c, q), count in counts.items():
        of[problem.shapes[q].deployment] += count
        if count > problem.fits(c, q):
            return False
    return (
        all(n <= one.max_replicas for n, one in zip(of, problem.wanted, strict=True))
        and all(_holds(problem, c, counts) for c in range(len(problem.cells)))
        and all(counts.get(key, 0) >= n for key, n in problem.least.items())
        and (problem.max_moves is None or moves(problem, counts) <= problem.max_moves)
    )
