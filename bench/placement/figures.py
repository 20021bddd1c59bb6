"""Gaps, targets, tables.

Owns which figures the bench stands for and what is to be reached. Refuses to run anything.
Where there is a target the figure is that of the worst seed, else the median of all.
"""

from collections.abc import Iterator, Mapping, Sequence

from bench.harness import Figure, figure_of
from bench.placement.evaluate import Worth
from bench.placement.instances import Instance
from bench.placement.linear import FAIR, SHORTFALLS
from bench.placement.rounds import Chain
from bench.placement.sessions import Session, is_no_shorter
from controlplane.cli.output import show_table

GIB = 2**30

_MOST_PEAK = 2.0  # GiB
_FIRST = {"5000x100": 10.0}
_LINEAR_GAPS = {"1000x50": ((20.0, 1.0), (60.0, 0.5)), "5000x100": ((60.0, 1.0),)}
_INTEGRAL_GAPS = {"200x20": ((30.0, 2.0),), "50x40": ((30.0, 2.0),)}
_CHAIN_GAINS = {"200x20": 2.0, "50x8": 1.0, "1000x50": 1.0}
_MOST_LOADS_RATIO = 2.0
_STEP_GAP, _STEP_MOVED = 0.5, 5.0


def group_of(name: str) -> str:
    """Instances that differ by seed alone share it; one of another's naming is its own."""
    try:
        Instance.parse(name)
    except ValueError:
        return name
    return name.rpartition("-")[0]


def session_figures(sessions: Sequence[Session]) -> Iterator[Figure]:
    """Of one group."""
    group, size = group_of(sessions[0].name), sessions[0].name.partition("-")[0]
    solved = [one for one in sessions if one.steps]
    yield Figure(
        name=f"{group}: instances without a plan",
        value=float(len(sessions) - len(solved)),
        unit="",
        target="<= 0",
    )
    if not solved:
        return
    yield _worst(f"{group}: objections to plans", [len(s.objections) for s in solved], "", 0.0)

    def median(what: str, values: Sequence[float], unit: str) -> Figure:
        return figure_of(f"{group}: {what}", values, unit)

    first = f"{group}: first verified plan"
    if size in _FIRST:
        yield _worst(first, [s.first_s for s in solved], "s", _FIRST[size])
    else:
        yield figure_of(first, [one.first_s for one in solved], "s")
    yield median("to 2 % of the LP bound", [s.seconds_to(0.02) for s in solved], "s")
    yield median("to 1 % of the LP bound", [s.seconds_to(0.01) for s in solved], "s")
    yield median(
        "to 2 % of the MIP bound", [s.seconds_to(0.02, is_integral=True) for s in solved], "s"
    )
    yield median(
        "to 1 % of the MIP bound", [s.seconds_to(0.01, is_integral=True) for s in solved], "s"
    )
    yield median("final gap to the LP bound", [100 * s.gap(_offline(s)) for s in solved], "%")
    yield median(
        "final gap to the MIP bound",
        [100 * s.gap(_offline(s), is_integral=True) for s in solved],
        "%",
    )
    for seconds, most in _LINEAR_GAPS.get(size, ()):
        yield _worst(
            f"{group}: gap to the LP bound at {seconds:g} s",
            [100 * s.gap_at(seconds) for s in solved],
            "%",
            most,
        )
    for seconds, most in _INTEGRAL_GAPS.get(size, ()):
        yield _worst(
            f"{group}: gap to the MIP bound at {seconds:g} s",
            [100 * s.gap_at(seconds, is_integral=True) for s in solved],
            "%",
            most,
        )
    for tier in SHORTFALLS:
        yield median(f"{tier} short", [s.steps[-1].worth.short[tier] for s in solved], _unit(tier))
    yield median("weighted offline", [_offline(s) for s in solved], "device-eq.")
    yield median("objective", [s.steps[-1].worth.objective for s in solved], "device-eq.")
    yield median("loads", [s.steps[-1].worth.loads for s in solved], "")
    for rival in solved[0].rivals:
        yield median(
            f"weighted offline over {rival}",
            [100 * (_compared(s).offline / s.rivals[rival].worth.offline - 1.0) for s in solved],
            "%",
        )
        yield median(
            f"shortfalls less than {rival}'s",
            [
                sum(s.rivals[rival].worth.short.values()) - sum(_compared(s).short.values())
                for s in solved
            ],
            "device-eq.",
        )
        yield median(
            f"objective less than {rival}'s",
            [s.rivals[rival].worth.objective - _compared(s).objective for s in solved],
            "device-eq.",
        )
    yield _worst(f"{group}: peak memory", [s.peak_bytes / GIB for s in solved], "GiB", _MOST_PEAK)


def chain_figures(chains: Sequence[Chain], *, rounds: int) -> Iterator[Figure]:
    """Drifting rounds of one group, against the fair sticky greedy."""
    group, size = group_of(chains[0].name), chains[0].name.partition("-")[0]
    gains = [100 * one.offline_gain for one in chains]
    least = _CHAIN_GAINS.get(size)
    title = f"{group}, {rounds} rounds"
    if least is None:
        yield figure_of(f"{title}: weighted offline over sticky", gains, "%")
    else:
        yield Figure(
            name=f"{title}: weighted offline over sticky, worst seed",
            value=min(gains),
            unit="%",
            target=f">= {least:g}",
        )
    like = [100 * one.like_gain for one in chains if one.like_gain is not None]
    if like:
        yield figure_of(f"{title}: the same, rounds with equal shortfalls", like, "%")
    verdicts = [r.verdict for one in chains for r in one.rounds]
    for verdict, which in ((1, "less"), (-1, "more")):
        yield Figure(
            name=f"{title}: rounds with {which} shortfall than sticky",
            value=100.0 * verdicts.count(verdict) / len(verdicts),
            unit="%",
        )
    yield Figure(
        name=f"{title}: shortfall added to a tier, worst",
        value=max(max(one.added_short().values()) for one in chains),
        unit="device-eq.",
        target="<= 0.001",
    )
    yield Figure(
        name=f"{title}: loads over sticky's, worst seed",
        value=max(one.loads_ratio for one in chains),
        unit="x",
        target=f"<= {_MOST_LOADS_RATIO:g}",
    )
    yield figure_of(
        f"{title}: gap to the LP bound",
        [100 * r.gap for one in chains for r in one.rounds],
        "%",
    )
    yield Figure(
        name=f"{title}: rounds with objections",
        value=float(sum(bool(r.objections) for one in chains for r in one.rounds)),
        unit="",
        target="<= 0",
    )


def step_figures(chains: Sequence[Chain], *, seconds: float) -> Iterator[Figure]:
    """One step of drift of one group."""
    group, size = group_of(chains[0].name), chains[0].name.partition("-")[0]
    title = f"{group}, one step of 5 %, {seconds:g} s"
    is_target = size == "1000x50"
    last = [one.rounds[0] for one in chains]
    yield Figure(
        name=f"{title}: gap to the LP bound, worst seed",
        value=max(100 * one.gap for one in last),
        unit="%",
        target=f"<= {_STEP_GAP:g}" if is_target else None,
    )
    yield Figure(
        name=f"{title}: replicas moved, worst seed",
        value=max(100 * one.ours.moved_ratio for one in last),
        unit="%",
        target=f"<= {_STEP_MOVED:g}" if is_target else None,
    )
    yield figure_of(
        f"{title}: weighted offline over what ran",
        [100 * (one.ours.offline / one.as_it_was.offline - 1.0) for one in last],
        "%",
    )


def show_sessions(sessions: Sequence[Session]) -> None:
    """A row an instance; `<` marks rivals short of more before offline work, `>` of less."""
    rivals = tuple(sessions[0].rivals)
    headers = ["instance", "first s", "2 % s", "1 % s", "gap LP %", "gap MIP %", "offline"]
    headers += [f"over {rival} %" for rival in rivals] + ["short", "loads", "MiB", "objections"]
    rows = [_row(one, rivals) for one in sessions]
    show_table(headers, rows, right=[False, *(True for _ in headers[1:])])


def _row(session: Session, rivals: Sequence[str]) -> list[str]:
    last = session.last
    if last is None:
        return [session.name, session.failure or "no plan", *("" for _ in range(9 + len(rivals)))]
    cells = [
        session.name,
        f"{session.first_s:.2f}",
        f"{session.seconds_to(0.02):.1f}",
        f"{session.seconds_to(0.01):.1f}",
        f"{100 * session.gap(last.offline):.2f}",
        f"{100 * session.gap(last.offline, is_integral=True):.2f}",
        f"{last.offline:.1f}",
    ]
    for rival in rivals:
        worth = session.rivals[rival].worth
        ours = _compared(session)
        mark = "" if is_no_shorter(worth, ours) else "<"
        mark += "" if is_no_shorter(ours, worth) else ">"
        cells.append(f"{mark}{100 * (ours.offline / worth.offline - 1.0):.1f}")
    return [
        *cells,
        _shorts(last.short),
        str(last.loads),
        f"{session.peak_bytes / 2**20:.0f}",
        str(len(session.objections)),
    ]


def _shorts(short: Mapping[str, float]) -> str:
    named = [f"{tier} {value:.2g}" for tier, value in short.items() if value > 1e-4]
    return ", ".join(named) or "none"


def _offline(session: Session) -> float:
    return session.steps[-1].worth.offline


def _compared(session: Session) -> Worth:
    assert session.compared is not None
    return session.compared


def _unit(tier: str) -> str:
    return {"replicas": "replicas", FAIR: "devices"}.get(tier, "device-eq.")


def _worst(name: str, values: Sequence[float], unit: str, most: float) -> Figure:
    return Figure(
        name=f"{name}, worst seed", value=float(max(values)), unit=unit, target=f"<= {most:g}"
    )
