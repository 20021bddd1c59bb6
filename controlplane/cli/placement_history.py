"""`slacktide placement history`, `diff` and `rollback`: the ledger of rounds."""

import textwrap
from typing import Annotated

import typer
from slacktide.v1.placement_pb2 import Plan, PlanStatus, RoundOutcome
from slacktide.v1.placement_service_pb2 import (
    PLAN_VIEW_BASIC,
    DiffPlansRequest,
    ListPlansRequest,
    ListPlansResponse,
    RollbackPlacementRequest,
    RollbackPlacementResponse,
)

from controlplane.cli.connection import connect
from controlplane.cli.failures import CommandError
from controlplane.cli.output import Column, Format, say, show_list
from controlplane.cli.placement_formats import (
    WideFormat,
    WideOption,
    YesOption,
    consent,
    round_name,
    shown_as_data,
)
from controlplane.cli.placement_show import in_force
from controlplane.cli.placement_words import (
    diff_lines,
    misfit_lines,
    move_counts,
    move_line,
    number_words,
    outcome_line,
    term_words,
    took_words,
)
from controlplane.cli.wording import bare, enum_word, time_words
from controlplane.client import CALL_DEADLINE_S, SOLVE_DEADLINE_S, Fleet, new_request_id

_PAGE = 1000
_TRIGGER_WIDTH = 60
NOW = "now"
"""Stands for the plan in force."""


def _outcome(plan: Plan) -> str:
    return enum_word(RoundOutcome, plan.outcome) if plan.outcome else ""


_COLUMNS = (
    Column[Plan](header="round", cell=lambda p: bare(p.name), right=True),
    Column[Plan](header="made", cell=lambda p: time_words(p.create_time)),
    Column[Plan](header="outcome", cell=_outcome),
    Column[Plan](header="status", cell=lambda p: enum_word(PlanStatus, p.status)),
    Column[Plan](header="objective", cell=lambda p: number_words(p.objective), right=True),
    Column[Plan](header="gap", cell=lambda p: f"{p.gap:.2%}", right=True),
    Column[Plan](header="moves", cell=lambda p: move_counts(p.moves)),
    Column[Plan](header="took", cell=lambda p: took_words(p.solve_duration), right=True),
)
_TRIGGER = Column[Plan](
    header="trigger", cell=lambda p: textwrap.shorten(p.trigger, _TRIGGER_WIDTH, placeholder=" …")
)
_WIDE_COLUMNS = (
    Column[Plan](header="trigger", cell=lambda p: p.trigger),
    Column[Plan](header="revision", cell=lambda p: str(p.base_revision), right=True),
    Column[Plan](header="epoch", cell=lambda p: str(p.epoch), right=True),
    Column[Plan](header="solver", cell=lambda p: p.solver),
    Column[Plan](header="bound", cell=lambda p: number_words(p.bound), right=True),
    Column[Plan](header="misfits", cell=lambda p: str(len(p.misfits)), right=True),
    Column[Plan](header="inputs", cell=lambda p: p.inputs_hash[:12]),
    Column[Plan](header="failure", cell=lambda p: p.failure),
)


def history(
    limit: Annotated[int, typer.Option(help="Rounds at the most, newest first.", min=1)] = 20,
    notable: Annotated[
        bool,
        typer.Option("--notable", help="Only those that changed something, were held or failed."),
    ] = False,
    output: WideOption = WideFormat.TABLE,
) -> None:
    """Lists rounds with outcome, objective, gap, moves and time, newest first.

    Example:  slacktide placement history --notable --limit 50
    """
    answer = ListPlansResponse()
    with connect() as fleet:
        while len(answer.plans) < limit:
            page = fleet.placement.ListPlans(
                ListPlansRequest(
                    page_size=min(limit - len(answer.plans), _PAGE),
                    page_token=answer.next_page_token,
                    view=PLAN_VIEW_BASIC,
                    notable_only=notable,
                ),
                timeout=CALL_DEADLINE_S,
            )
            answer.plans.extend(page.plans)
            answer.next_page_token = page.next_page_token
            if not page.next_page_token:
                break
    if shown_as_data(answer, output):
        return
    columns = (*_COLUMNS, *(_WIDE_COLUMNS if output is WideFormat.WIDE else (_TRIGGER,)))
    show_list(answer, answer.plans, columns, Format.TABLE)
    if answer.next_page_token:
        say(f"older rounds not shown; --limit {2 * limit} shows more")


def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A round, or `now`.")],
    after: Annotated[str, typer.Argument(metavar="B", help="A round, or `now`.")],
    output: WideOption = WideFormat.TABLE,
) -> None:
    """Shows the moves from one round's placements to another's, and what they changed.

    Example:  slacktide placement diff 12 now
    """
    with connect() as fleet:
        request = DiffPlansRequest(to=_resolved(fleet, after))
        setattr(request, "from", _resolved(fleet, before))  # a word of Python's own
        answer = fleet.placement.DiffPlans(request, timeout=CALL_DEADLINE_S)
    if shown_as_data(answer, output):
        return
    lines = [move_line(move) for move in answer.moves] or ["the same placements"]
    lines.append(f"moves: {move_counts(answer.moves)}")
    terms = term_words(answer.terms)
    lines.append(
        f"objective {answer.objective_difference:+.6g}{f': {terms}' if terms else ''}"
        f" ({'the same' if answer.same_inputs else 'other'} inputs)"
    )
    print("\n".join(lines))


def rollback(
    plan: Annotated[str, typer.Argument(help="The round to return to.")],
    freeze: Annotated[
        bool, typer.Option("--freeze", help="Freeze the fleet, so that no round leaves it again.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check and answer, change nothing.")
    ] = False,
    yes: YesOption = False,
    output: WideOption = WideFormat.TABLE,
) -> None:
    """Returns to an earlier round's placements, as far as nodes and deployments allow.

    It shows the moves and what cannot be restored, then asks; rounds carry it on until it is
    reached.

    Example:  slacktide placement rollback 12 --freeze
    """
    name = round_name(plan)
    with connect() as fleet:
        answer = _rollback(fleet, name, freeze=freeze, validate_only=True)
        if not dry_run:
            if not yes:
                for line in _rollback_lines(answer):
                    say(line)
            consent(f"Return to the placements of round {bare(name)}?", yes=yes)
            answer = _rollback(fleet, name, freeze=freeze, validate_only=False)
    if shown_as_data(answer, output):
        return
    print("\n".join(_rollback_lines(answer)))
    if not dry_run:
        print(outcome_line(answer.plan) or f"returning to round {bare(name)}")


def _rollback(
    fleet: Fleet, plan: str, *, freeze: bool, validate_only: bool
) -> RollbackPlacementResponse:
    request = RollbackPlacementRequest(
        plan=plan, freeze=freeze, validate_only=validate_only, request_id=new_request_id()
    )
    return fleet.placement.RollbackPlacement(request, timeout=SOLVE_DEADLINE_S)


def _rollback_lines(answer: RollbackPlacementResponse) -> list[str]:
    unrestored = [
        line.replace("misfit", "not restored", 1) for line in misfit_lines(answer.unrestored)
    ]
    return [*diff_lines(answer.plan), *unrestored]


def _resolved(fleet: Fleet, given: str) -> str:
    if given != NOW:
        return round_name(given)
    answer = in_force(fleet)
    if answer is None:
        raise CommandError("plan now: no round has placed anything yet; next: slacktide status")
    return answer.plan.name
