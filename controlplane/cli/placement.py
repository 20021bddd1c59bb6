"""`slacktide placement`: the plan in force, and dry runs."""

from pathlib import Path
from typing import Annotated

import typer
from slacktide.v1 import placement_pb2
from slacktide.v1.placement_pb2 import Move, MoveKind, Plan, PlanStatus
from slacktide.v1.placement_service_pb2 import GetPlacementRequest, PlanPlacementRequest

from controlplane.cli.connection import connect
from controlplane.cli.failures import ExitCode
from controlplane.cli.manifest import read_deployments
from controlplane.cli.output import Format, FormatOption, show_message, show_table
from controlplane.cli.wording import bare, duration_words, enum_word, time_words
from controlplane.client import CALL_DEADLINE_S, SOLVE_DEADLINE_S

app = typer.Typer(no_args_is_help=True, help="Which replica runs where, and why.")
_SIGN = {
    placement_pb2.MOVE_KIND_ADD: "+",
    placement_pb2.MOVE_KIND_REMOVE: "-",
    placement_pb2.MOVE_KIND_ADJUST: "~",
}


@app.command()
def show(output: FormatOption = Format.TABLE) -> None:
    """Shows the plan in force: placements, solver status, bound and gap."""
    with connect() as fleet:
        answer = fleet.placement.GetPlacement(GetPlacementRequest(), timeout=CALL_DEADLINE_S)
    if output is not Format.TABLE:
        show_message(answer, output)
        return
    plan = answer.plan
    print(f"plan {bare(plan.name)} at revision {plan.base_revision} (now {answer.revision})")
    if made := time_words(plan.create_time):
        print(f"made {made}, trigger: {plan.trigger or '-'}")
    print("\n".join(summary_lines(plan)))
    print_placements(plan)
    print_misfits(plan)


@app.command()
def plan(
    file: Annotated[
        Path | None,
        typer.Option("-f", "--file", help="Suppose these deployments, too.", exists=True),
    ] = None,
    output: FormatOption = Format.TABLE,
) -> None:
    """Solves without applying and shows what would change.

    Exit code: 0 nothing would change, 1 something would, 2 error, 3 unreachable.

    Example:  slacktide placement plan -f chat.yaml
    """
    supposed = read_deployments(file) if file else []
    with connect() as fleet:
        request = PlanPlacementRequest(deployments=supposed)
        found = fleet.placement.PlanPlacement(request, timeout=SOLVE_DEADLINE_S).plan
    if output is not Format.TABLE:
        show_message(found, output)
    else:
        print("\n".join(diff_lines(found)))
        print("\n".join(summary_lines(found)))
        print_misfits(found)
    if found.moves:
        raise typer.Exit(ExitCode.DIFFERENT)


def diff_lines(plan: Plan) -> list[str]:
    """One line a move, moves of one group together: "+ chat on n1 (new:0): reason"."""
    if not plan.moves:
        return ["no change"]
    lines = []
    groups = sorted({move.group for move in plan.moves})
    for group in groups:
        moves = [move for move in plan.moves if move.group == group]
        if len(groups) > 1:
            lines.append(f"group {group}: applied whole or not at all")
        lines += [_move_line(move) for move in moves]
    return lines


def summary_lines(plan: Plan) -> list[str]:
    """Status, bound, gap and the objective's terms."""
    took = duration_words(plan.solve_duration)
    status = enum_word(PlanStatus, plan.status)
    lines = [
        f"{status} by {plan.solver or '-'}{f' in {took}' if took else ''}:"
        f" objective {plan.objective:.6g}, bound {plan.bound:.6g}, gap {plan.gap:.2%}"
    ]
    terms = [f"{t.name} {t.weight:g} x {t.value:.6g}" for t in plan.terms if t.value]
    return [*lines, *([f"terms: {'; '.join(terms)}"] if terms else [])]


def print_placements(plan: Plan) -> None:
    """The placements of a plan, by node."""
    rows = [
        [
            bare(p.node),
            ",".join(str(index) for index in p.device_indices),
            bare(p.deployment),
            bare(p.replica) or "(new)",
            f"{p.online_share:.2f}",
            f"{p.offline_share:.2f}",
            f"{p.latency_budget_ms:.1f}",
        ]
        for p in sorted(plan.placements, key=lambda p: (p.node, list(p.device_indices)))
    ]
    headers = ["node", "devices", "deployment", "replica", "online", "offline", "budget ms"]
    show_table(headers, rows, right=[False] * 4 + [True] * 3)


def print_misfits(plan: Plan) -> None:
    """Why something wanted is not placed; nothing where all is."""
    for misfit in plan.misfits:
        print(f"misfit: {misfit.message}")


def _move_line(move: Move) -> str:
    kind = enum_word(MoveKind, move.kind)
    after = f" after {', '.join(bare(name) for name in move.after)} run" if move.after else ""
    reason = f": {move.reason}" if move.reason else ""
    what = f"{bare(move.deployment)} on {bare(move.node)} ({bare(move.replica)})"
    return f"{_SIGN.get(move.kind, '?')} {kind} {what}{after}{reason}"
