"""Plans, moves, terms and totals as people read them.

Owns the lines and rows that several verbs of `slacktide placement` share. Pure. Refuses to
round what is compared.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from google.protobuf.duration_pb2 import Duration
from slacktide.v1 import placement_pb2
from slacktide.v1.placement_pb2 import (
    Freeze,
    Misfit,
    Move,
    MoveKind,
    ObjectiveTerm,
    Placement,
    PlacementTotals,
    Plan,
    PlanStatus,
    RoundOutcome,
)

from controlplane.cli.wording import bare, enum_word, time_words

_SIGN = {
    placement_pb2.MOVE_KIND_ADD: "+",
    placement_pb2.MOVE_KIND_REMOVE: "-",
    placement_pb2.MOVE_KIND_ADJUST: "~",
}
_FIGURES: tuple[tuple[str, Callable[[PlacementTotals], float]], ...] = (
    ("online work wanted, ms/s", lambda t: t.online_work_wanted),
    ("online work served, ms/s", lambda t: t.online_work_served),
    ("deadline work wanted, ms/s", lambda t: t.deadline_work_wanted),
    ("deadline work served, ms/s", lambda t: t.deadline_work_served),
    ("offline work wanted, ms/s", lambda t: t.offline_work_wanted),
    ("offline work served, ms/s", lambda t: t.offline_work_served),
    ("replicas", lambda t: t.replicas),
    ("replicas missing", lambda t: t.missing_replicas),
    ("nodes used", lambda t: t.nodes_used),
    ("nodes ready", lambda t: t.nodes_ready),
    ("devices used", lambda t: t.devices_used),
    ("devices ready", lambda t: t.devices_ready),
    ("price per hour", lambda t: t.price_per_hour),
)


def diff_lines(plan: Plan) -> list[str]:
    """One line a move, moves of one group together: "+ chat on n1 (new:0): reason"."""
    if not plan.moves:
        return ["no change"]
    lines = []
    groups = sorted({move.group for move in plan.moves})
    for group in groups:
        moves = [move for move in plan.moves if move.group == group]
        if len(groups) > 1:
            left_out = ": left out" if group in plan.refused_groups else ""
            lines.append(f"group {group}: applied whole or not at all{left_out}")
        lines += [move_line(move) for move in moves]
    return lines


def move_line(move: Move) -> str:
    """One move: "- remove chat on n1 (r-3) after r-7 run: drained"."""
    kind = enum_word(MoveKind, move.kind)
    after = f" after {', '.join(bare(name) for name in move.after)} run" if move.after else ""
    reason = f": {move.reason}" if move.reason else ""
    what = f"{bare(move.deployment)} on {bare(move.node)} ({bare(move.replica)})"
    return f"{_SIGN.get(move.kind, '?')} {kind} {what}{after}{reason}"


def move_counts(moves: Iterable[Move]) -> str:
    """E.g. "+2 -1 ~3"; "none" where there is none."""
    counts = Counter(_SIGN.get(move.kind, "?") for move in moves)
    return " ".join(f"{sign}{counts[sign]}" for sign in "+-~?" if counts[sign]) or "none"


def summary_lines(plan: Plan) -> list[str]:
    """Status, bound, gap and the objective's terms."""
    took = took_words(plan.solve_duration)
    status = enum_word(PlanStatus, plan.status)
    lines = [
        f"{status} by {plan.solver or '-'}{f' in {took}' if took else ''}:"
        f" objective {number_words(plan.objective)}, bound {number_words(plan.bound)},"
        f" gap {plan.gap:.2%}",
    ]
    terms = [f"{t.name} {t.weight:g} x {t.value:.6g}" for t in plan.terms if t.value]
    return [*lines, *([f"terms: {'; '.join(terms)}"] if terms else [])]


def number_words(value: float) -> str:
    """Six digits; a negative zero, which a sum of nothing may be, is 0."""
    return f"{value + 0.0:.6g}"


def took_words(duration: Duration) -> str:
    """E.g. "412 ms", "1.2 s"; "" for zero."""
    seconds = duration.ToNanoseconds() / 1e9
    if seconds == 0.0:
        return ""
    return f"{seconds * 1e3:.0f} ms" if seconds < 1.0 else f"{seconds:.1f} s"


def outcome_line(plan: Plan) -> str:
    """What became of a round: "round 12, applied at 2026-11-23T13:00:00Z"; "" for a dry run."""
    if not plan.name:
        return ""
    outcome = enum_word(RoundOutcome, plan.outcome) if plan.outcome else "stored"
    made = time_words(plan.create_time)
    failure = f": {plan.failure}" if plan.failure else ""
    return f"round {bare(plan.name)}, {outcome}{f' at {made}' if made else ''}{failure}"


def freeze_line(freeze: Freeze) -> str:
    """E.g. "frozen: node n1 since 2026-11-23T13:00:00Z: disk replaced"."""
    collection, _, id_ = freeze.target.rpartition("/")
    target = f"{collection.removesuffix('s')} {id_}" if freeze.target else "the whole fleet"
    since = time_words(freeze.create_time)
    reason = f": {freeze.reason}" if freeze.reason else ""
    return f"frozen: {target}{f' since {since}' if since else ''}{reason}"


def held_lines(freezes: Iterable[Freeze]) -> list[str]:
    """That a plan is not applied while the whole fleet is frozen; nothing where it is not."""
    return [
        f"{freeze_line(one)}; nothing of this plan is applied until `slacktide placement unfreeze`"
        for one in freezes
        if not one.target
    ]


def misfit_lines(misfits: Iterable[Misfit]) -> list[str]:
    """Why something wanted is not placed."""
    return [f"misfit: {misfit.message}" for misfit in misfits]


def placement_rows(placements: Iterable[Placement], *, wide: bool = False) -> list[list[str]]:
    """The rows of `placement_headers`, by node."""
    return [
        [
            bare(p.node),
            ",".join(str(index) for index in p.device_indices),
            bare(p.deployment),
            bare(p.replica) or "(new)",
            *([p.slo_class or "all"] if wide else []),
            f"{p.online_share:.2f}",
            f"{p.offline_share:.2f}",
            f"{p.latency_budget_ms:.1f}",
        ]
        for p in sorted(placements, key=lambda p: (p.node, list(p.device_indices)))
    ]


def placement_headers(*, wide: bool = False) -> list[str]:
    """Of a table of placements; the last three are numbers."""
    first = ["node", "devices", "deployment", "replica", *(["slo class"] if wide else [])]
    return [*first, "online", "offline", "budget ms"]


def term_words(terms: Iterable[ObjectiveTerm]) -> str:
    """Differences term by term, gains first: "gains 3 offline_work; costs 2 moves"."""
    products = sorted(
        ((t.weight * t.value, t) for t in terms if t.weight * t.value),
        key=lambda pair: (pair[0], pair[1].name),
    )
    return "; ".join(
        f"{'gains' if product < 0 else 'costs'} {abs(product):.4g} {t.name}"
        f" ({t.weight:g} x {t.value:+.4g})"
        for product, t in products
    )


def totals_words(totals: PlacementTotals) -> str:
    """What is served of what is wanted, in one line."""
    parts = [f"online {totals.online_work_served:.6g} of {totals.online_work_wanted:.6g} ms/s"]
    if totals.deadline_work_wanted:
        parts.append(
            f"deadlines {totals.deadline_work_served:.6g} of {totals.deadline_work_wanted:.6g} ms/s"
        )
    parts.append(
        f"offline {totals.offline_work_served:.6g} of {totals.offline_work_wanted:.6g} ms/s"
    )
    missing = f" ({totals.missing_replicas} missing)" if totals.missing_replicas else ""
    parts.append(f"replicas {totals.replicas}{missing}")
    if totals.nodes_ready:
        parts.append(f"nodes {totals.nodes_used} of {totals.nodes_ready}")
        parts.append(f"devices {totals.devices_used} of {totals.devices_ready}")
    if totals.price_per_hour:
        parts.append(f"price {totals.price_per_hour:.2f} an hour")
    return ", ".join(parts)


def totals_rows(now: PlacementTotals, then: PlacementTotals) -> list[list[str]]:
    """Figure, now, then and the change; figures that are 0 in both are left out."""
    rows = []
    for label, figure in _FIGURES:
        before, after = figure(now), figure(then)
        if before or after:
            change = f"{after - before:+.6g}" if after != before else ""
            rows.append([label, f"{before:.6g}", f"{after:.6g}", change])
    return rows


def folded(lines: Sequence[str], *, most: int, what: str) -> list[str]:
    """The first lines, and how many more there are."""
    if len(lines) <= most:
        return list(lines)
    return [*lines[:most], f"… and {len(lines) - most} more {what}; -o wide shows them"]
