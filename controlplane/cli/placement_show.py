"""`slacktide placement show`: the plan in force, or an earlier one, and the picture."""

from datetime import UTC, datetime
from typing import Annotated

import grpc
import typer
from slacktide.v1 import placement_pb2
from slacktide.v1.placement_pb2 import Plan
from slacktide.v1.placement_service_pb2 import (
    GetPlacementRequest,
    GetPlacementResponse,
    GetPlanRequest,
)

from controlplane.cli.connection import connect
from controlplane.cli.failures import CommandError
from controlplane.cli.output import show_table
from controlplane.cli.placement_formats import PictureFormat, round_name, shown_as_data
from controlplane.cli.placement_words import (
    diff_lines,
    folded,
    freeze_line,
    misfit_lines,
    move_counts,
    outcome_line,
    placement_headers,
    placement_rows,
    summary_lines,
    totals_words,
)
from controlplane.cli.wording import bare, time_words
from controlplane.client import CALL_DEADLINE_S, Fleet

_MOST_MISFITS = 20


def show(
    plan: Annotated[str, typer.Option("--plan", help="An earlier round instead, e.g. 12.")] = "",
    output: Annotated[
        PictureFormat, typer.Option("-o", "--output", help="How to show the answer.")
    ] = PictureFormat.TABLE,
) -> None:
    """Shows the plan in force: placements, solver status, bound and gap.

    -o html draws the whole fleet, nodes, devices, replicas and their headroom, as one page
    that needs nothing else.

    Example:  slacktide placement show -o html > fleet.html
    """
    if plan and output is PictureFormat.HTML:
        raise CommandError(
            "-o html: draws the fleet as it is and no earlier plan; leave --plan out, or take"
            " -o wide"
        )
    with connect() as fleet:
        if plan:
            earlier = fleet.placement.GetPlan(
                GetPlanRequest(name=round_name(plan)), timeout=CALL_DEADLINE_S
            )
            if not shown_as_data(earlier, output):
                _show_plan(earlier.plan, wide=output is PictureFormat.WIDE)
            return
        if output is PictureFormat.HTML:
            # Loaded when asked for: the page's parts would slow every other command down.
            from controlplane.cli.fleetpage import fleet_html
            from controlplane.cli.fleetpage_read import read_picture

            print(fleet_html(read_picture(fleet, now=datetime.now(UTC))), end="")
            return
        answer = fleet.placement.GetPlacement(GetPlacementRequest(), timeout=CALL_DEADLINE_S)
    if shown_as_data(answer, output):
        return
    found = answer.plan
    print(f"plan {bare(found.name)} at revision {found.base_revision} (now {answer.revision})")
    wide = output is PictureFormat.WIDE
    for line in standing_lines(answer, wide=wide):
        print(line)
    _show_plan(found, wide=wide)


def standing_lines(answer: GetPlacementResponse, *, wide: bool = False) -> list[str]:
    """What an operator should know before the placements: freezes, a rollback, totals."""
    lines = [freeze_line(freeze) for freeze in answer.freezes]
    if answer.rollback_to:
        lines.append(f"rolling back to plan {bare(answer.rollback_to)}")
    last = answer.last_round
    if last.name and (last.name != answer.plan.name or last.failure):
        held = last.outcome == placement_pb2.ROUND_OUTCOME_FROZEN
        would = f"; it would do {move_counts(last.moves)}" if held else ""
        lines.append(f"last round: {outcome_line(last)}{would}")
        lines += [f"  {line}" for line in diff_lines(last)] if held and wide else []
    if answer.HasField("totals"):
        lines.append(totals_words(answer.totals))
    return lines


def print_placements(plan: Plan, *, wide: bool = False) -> None:
    """The placements of a plan, by node."""
    headers = placement_headers(wide=wide)
    right = [False] * (len(headers) - 3) + [True] * 3
    show_table(headers, placement_rows(plan.placements, wide=wide), right=right)


def print_misfits(plan: Plan, *, wide: bool = True) -> None:
    """Why something wanted is not placed; nothing where all is."""
    lines = misfit_lines(plan.misfits)
    for line in lines if wide else folded(lines, most=_MOST_MISFITS, what="misfits"):
        print(line)


def in_force(fleet: Fleet) -> GetPlacementResponse | None:
    """The plan in force, or None before the first round."""
    try:
        return fleet.placement.GetPlacement(GetPlacementRequest(), timeout=CALL_DEADLINE_S)
    except grpc.RpcError as error:
        if isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.NOT_FOUND:
            return None
        raise


def _show_plan(plan: Plan, *, wide: bool) -> None:
    if made := time_words(plan.create_time):
        print(f"made {made}, trigger: {plan.trigger or '-'}")
    print(f"{outcome_line(plan)}\n" if plan.outcome else "", end="")
    print("\n".join(summary_lines(plan)))
    if wide and plan.inputs_hash:
        print(f"inputs {plan.inputs_hash}, epoch {plan.epoch}")
    print_placements(plan, wide=wide)
    if plan.waiting:
        print("\nwaiting for devices that others still hold:")
        headers = placement_headers(wide=wide)
        right = [False] * (len(headers) - 3) + [True] * 3
        show_table(headers, placement_rows(plan.waiting, wide=wide), right=right)
    print_misfits(plan, wide=wide)
