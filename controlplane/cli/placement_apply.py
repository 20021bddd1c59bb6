"""`slacktide placement plan` and `apply`: what a round would do, and doing just that.

Owns reading a plan back from what `plan -o json` wrote. Refuses to apply a plan to a state
that its reader did not see, unless they agree.
"""

import json
import sys
from pathlib import Path
from typing import Annotated

import grpc
import typer
import yaml
from google.protobuf.json_format import ParseDict, ParseError
from slacktide.v1.fleet_service_pb2 import GetFleetRequest
from slacktide.v1.placement_pb2 import Plan
from slacktide.v1.placement_service_pb2 import (
    ApplyPlacementRequest,
    ApplyPlacementResponse,
    PlanPlacementRequest,
)

from controlplane.cli.connection import connect
from controlplane.cli.failures import CommandError, ExitCode
from controlplane.cli.manifest import read_deployments
from controlplane.cli.output import say, show_table
from controlplane.cli.placement_formats import (
    WideFormat,
    WideOption,
    YesOption,
    consent,
    shown_as_data,
)
from controlplane.cli.placement_show import print_misfits, print_placements
from controlplane.cli.placement_words import (
    diff_lines,
    held_lines,
    move_counts,
    outcome_line,
    summary_lines,
    totals_rows,
)
from controlplane.client import CALL_DEADLINE_S, SOLVE_DEADLINE_S, Fleet, new_request_id

_STDIN = "-"
_ATTEMPTS = 5
"""Times a plan is offered to a state that moves on; each is checked anew by the fleet."""


def plan(
    file: Annotated[
        Path | None,
        typer.Option("-f", "--file", help="Suppose these deployments, too.", exists=True),
    ] = None,
    output: WideOption = WideFormat.TABLE,
) -> None:
    """Solves without applying and shows what would change.

    Exit code: 0 nothing would change, 1 something would, 2 error, 3 unreachable. A frozen fleet
    is solved for all the same, and the answer says that it is frozen.

    \b
    Examples:
      slacktide placement plan -f chat.yaml
      slacktide placement plan -o json > p.json; slacktide placement apply p.json --check-revision
    """  # noqa: D301 - backslash-b is click's mark for "do not rewrap"
    supposed = read_deployments(file) if file else []
    with connect() as fleet:
        request = PlanPlacementRequest(deployments=supposed)
        answer = fleet.placement.PlanPlacement(request, timeout=SOLVE_DEADLINE_S)
    found, wide = answer.plan, output is WideFormat.WIDE
    for line in held_lines(answer.freezes):
        (say if output in (WideFormat.JSON, WideFormat.YAML) else print)(line)
    # JSON is the plan itself and not the whole answer: what `apply` takes.
    if not shown_as_data(found, output):
        print("\n".join(diff_lines(found)))
        print("\n".join(summary_lines(found)))
        print_misfits(found, wide=wide)
        if answer.HasField("now") and answer.HasField("planned"):
            show_table(
                ["figure", "now", "planned", "change"],
                totals_rows(answer.now, answer.planned),
                right=[False, True, True, True],
            )
        if wide:
            print_placements(found, wide=True)
        print(f"revision {found.base_revision}")
    if found.moves:
        raise typer.Exit(ExitCode.DIFFERENT)


def apply(
    file: Annotated[
        str, typer.Argument(metavar="PLAN", help="What `placement plan -o json` wrote, or -.")
    ],
    check_revision: Annotated[
        bool,
        typer.Option(
            "--check-revision",
            help="Refuse if the state has changed since the plan was made.",
        ),
    ] = False,
    yes: YesOption = False,
    output: WideOption = WideFormat.TABLE,
) -> None:
    """Applies a plan that was looked at.

    A plan is the whole placement: a replica that it leaves out is removed, of every deployment.
    The fleet checks it again: every rule still holds, or nothing is applied. Without
    --check-revision it asks where the state has changed, since the moves may be others.

    Example:  slacktide placement apply p.json --check-revision
    """
    wanted = read_plan(file)
    with connect() as fleet:
        if check_revision:
            answer = _apply(fleet, wanted, revision=wanted.base_revision)
        else:
            answer = _apply_now(fleet, wanted, yes=yes)
    if shown_as_data(answer, output):
        return
    done = answer.plan
    print("\n".join(diff_lines(done)))
    print(outcome_line(done) or f"applied: {move_counts(done.moves)}")
    print_misfits(done, wide=output is WideFormat.WIDE)


def read_plan(path: str) -> Plan:
    """A plan from a file of `plan -o json` or `-o yaml`, or from stdin for "-".

    Raises:
        CommandError: unreadable, or no plan.
    """
    where = "stdin" if path == _STDIN else path
    try:
        text = sys.stdin.read() if path == _STDIN else Path(path).read_text()
    except UnicodeDecodeError as error:
        raise CommandError(f"{where}: is not UTF-8 text; {_EXPECTED}") from error
    try:
        content = json.loads(text) if text.lstrip().startswith("{") else yaml.safe_load(text)
    except (json.JSONDecodeError, yaml.YAMLError) as error:
        raise CommandError(
            f"{where}: is neither JSON nor YAML: {' '.join(str(error).split())}; {_EXPECTED}"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("plan"), dict):
        content = content["plan"]  # an answer that carries one, e.g. of `placement show`
    if not isinstance(content, dict) or "baseRevision" not in content:
        raise CommandError(f"{where}: holds no plan (no baseRevision); {_EXPECTED}")
    try:
        return ParseDict(content, Plan())
    except (ParseError, RecursionError) as error:
        raise CommandError(f"{where}: {' '.join(str(error).split())}; {_EXPECTED}") from error


_EXPECTED = "expected what slacktide placement plan -o json writes"


def _apply_now(fleet: Fleet, wanted: Plan, *, yes: bool) -> ApplyPlacementResponse:
    """Applies to whatever the state is; asks once if it is another than the plan's."""
    for attempt in range(1, _ATTEMPTS + 1):
        revision = fleet.fleet.GetFleet(GetFleetRequest(), timeout=CALL_DEADLINE_S).revision
        if revision != wanted.base_revision and not yes:
            consent(
                f"The plan was made at revision {wanted.base_revision}, the state is at {revision}:"
                " its moves may be others now. Apply?",
                yes=False,
            )
            yes = True
        try:
            return _apply(fleet, wanted, revision=revision)
        except grpc.RpcError as error:
            is_stale = isinstance(error, grpc.Call) and error.code() is grpc.StatusCode.ABORTED
            if not is_stale or attempt == _ATTEMPTS:
                raise
            say(f"the state moved on from revision {revision}; trying again")
    raise AssertionError("the last attempt returns or raises")


def _apply(fleet: Fleet, wanted: Plan, *, revision: int) -> ApplyPlacementResponse:
    # An id of its own for every attempt: one that was refused did nothing, and another
    # revision is another request.
    request = ApplyPlacementRequest(plan=wanted, revision=revision, request_id=new_request_id())
    return fleet.placement.ApplyPlacement(request, timeout=SOLVE_DEADLINE_S)
