"""From the placements of one stored plan to those of another.

Pure. Owns the comparison; groups and conditions are left out, since neither plan is what
runs now.
"""

from planner.model import Move, MoveKind, ObjectiveTerm, Placement, Plan

_NEAR = 1e-9


def placement_moves(before: Plan, after: Plan) -> tuple[Move, ...]:
    """Additions, removals and changes of shares, by deployment, node and replica."""
    olds = {one.replica: one for one in before.placements if one.replica}
    news = {one.replica: one for one in after.placements if one.replica}
    found = [
        *(_move(MoveKind.ADD, news[key]) for key in news.keys() - olds.keys()),
        *(_move(MoveKind.REMOVE, olds[key]) for key in olds.keys() - news.keys()),
        *(
            _move(MoveKind.ADJUST, news[key], reason=changes)
            for key in news.keys() & olds.keys()
            if (changes := _changes(olds[key], news[key]))
        ),
    ]
    return tuple(sorted(found, key=lambda one: (one.deployment, one.node, one.replica)))


def term_differences(before: Plan, after: Plan) -> tuple[ObjectiveTerm, ...]:
    """The terms that differ, at the later weight; value is the later less the earlier."""
    olds = {one.name: one.value for one in before.terms}
    news = {one.name: one for one in after.terms}
    weights = {one.name: one.weight for one in (*before.terms, *after.terms)}
    found = (
        ObjectiveTerm(
            name=name,
            weight=weights[name],
            value=(news[name].value if name in news else 0.0) - olds.get(name, 0.0),
        )
        for name in weights
    )
    return tuple(one for one in found if abs(one.value) > _NEAR)


def _move(kind: MoveKind, placement: Placement, *, reason: str = "") -> Move:
    return Move(
        group=0,
        kind=kind,
        replica=placement.replica or "",
        deployment=placement.deployment,
        node=placement.node,
        reason=reason,
    )


def _changes(old: Placement, new: Placement) -> str:
    named = (
        ("online_share", old.online_share, new.online_share),
        ("offline_share", old.offline_share, new.offline_share),
        ("latency_budget_ms", old.latency_budget_ms, new.latency_budget_ms),
    )
    changes = [f"{name} {a:g} to {b:g}" for name, a, b in named if abs(a - b) > _NEAR]
    if old.slo_class != new.slo_class:
        changes.append(f"slo_class {old.slo_class or 'all'} to {new.slo_class or 'all'}")
    return ", ".join(changes)
