"""Fleets to draw: made up, with everything on them that a picture can show."""

import random

from controlplane.cli.fleetpage_picture import (
    Box,
    BoxState,
    Host,
    Mark,
    Picture,
    PlanFacts,
    Row,
    Term,
)

MODELS = ("llama3-8b", "llama3-70b", "qwen3-32b", "mixtral-8x22b", "gemma3-27b", "phi4")
TYPES = ("NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB", "NVIDIA L40S")


def plan_facts(*, misfits: int = 2, moves: int = 3) -> PlanFacts:
    """A plan with terms that sum to its objective."""
    terms = (
        Term(name="online_shortfall", weight=3000.0, value=0.25),
        Term(name="offline_work", weight=-10.0, value=312.5),
        Term(name="moves", weight=2.0, value=float(moves)),
        Term(name="drops", weight=0.5, value=0.0),
    )
    objective = sum(term.weight * term.value for term in terms)
    return PlanFacts(
        name="1207", base_revision=90210, epoch=4, status="feasible", solver="HIGHS",
        objective=objective, bound=objective - 12.0, gap=12.0 / abs(objective), terms=terms,
        misfits=tuple(
            f"deployment chat-{n}: one more replica needs 4 devices of one node, n{n} has 3 free;"
            " add a node or drain a batch replica" for n in range(misfits)
        ),
        moves=tuple(f"+ add chat-{n} on n{n} (r-{n}): online work grew" for n in range(moves)),
        trigger="node n3 lost", made="2026-11-23T13:30:00Z", took="412 ms",
    )  # fmt: skip


def example(*, nodes: int, deployments: int = 12, domains: int = 8, seed: int = 0) -> Picture:
    """A fleet of 8-device nodes in three types, packed with replicas of 1, 2, 4 or 8 devices."""
    chance = random.Random(seed)
    names = sorted(f"{MODELS[n % len(MODELS)]}-{n}" for n in range(deployments))
    rows = tuple(
        Row(
            number=n, id=name, model=name.rpartition("-")[0], stage="active",
            wanted=(chance.choice((1, 2)), 400), is_frozen=n == 3,
            misfits=("one more replica fits no node",) if n == 2 else (),
        )
        for n, name in enumerate(names, start=1)
    )  # fmt: skip
    hosts = tuple(_host(n, rows, chance, domains=domains) for n in range(nodes))
    return Picture(
        drawn="2026-11-23T13:37:00Z", revision=90214, hosts=hosts, rows=rows, plan=plan_facts()
    )


def _host(n: int, rows: tuple[Row, ...], chance: random.Random, *, domains: int) -> Host:
    kind = TYPES[n % len(TYPES)]
    marks: tuple[Mark, ...] = ()
    match chance.random():
        case x if x < 0.02:
            marks = (Mark.LOST,)
        case x if x < 0.04:
            marks = (Mark.DRAINING,)
        case x if x < 0.06:
            marks = (Mark.CORDONED,)
        case x if x < 0.08:
            marks = (Mark.FROZEN,)
        case x if x < 0.085:
            marks = (Mark.CORDONED, Mark.FROZEN)
    boxes: list[Box] = []
    first = 0
    while first < 8:
        width = chance.choice((1, 1, 1, 2, 2, 4, 8))
        if first % width or first + width > 8:
            continue
        if chance.random() < 0.85:
            boxes.append(_box(n, first, width, rows, chance, marks))
        first += width
    return Host(
        id=f"n{n}", domain=f"rack-{n % domains}" if domains else f"n{n}",
        group="gpu-a" if kind == TYPES[0] else "", device_types=(kind,) * 8, marks=marks,
        reason="new driver" if marks else "", boxes=tuple(boxes),
        pins=((boxes[0].deployment, 1),) if boxes and boxes[0].is_pinned else (),
    )  # fmt: skip


def _box(
    n: int, first: int, width: int, rows: tuple[Row, ...], chance: random.Random,
    marks: tuple[Mark, ...],
) -> Box:  # fmt: skip
    row = rows[min(int(chance.paretovariate(0.9)) - 1, len(rows) - 1)]
    states = [BoxState.RUNNING] * 40 + list(BoxState)
    state = BoxState.LOST if Mark.LOST in marks else chance.choice(states)
    online = chance.betavariate(2, 3)
    is_known = state in (BoxState.RUNNING, BoxState.LEAVING) and chance.random() < 0.97
    return Box(
        replica=f"r-{n}-{first}", deployment=row.id, number=row.number, state=state,
        devices=tuple(range(first, first + width)), online_share=online / 8,
        offline_work=1000 * (1 - online) * 0.6, budget_ms=45.0,
        online_ratio=online if is_known else None,
        offline_ratio=(1 - online) * chance.random() if is_known else None,
        is_pinned=chance.random() < 0.02, note="engine exited with 137: out of memory"
        if state is BoxState.FAILED else "",
    )  # fmt: skip
