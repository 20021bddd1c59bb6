"""The program `slacktide`.

Owns mounting the nouns, global options, and turning errors into one line and an exit
code. Refuses to print a stack trace for anything the fleet refused on purpose.
"""

import importlib
import os
import sys
from datetime import UTC, datetime
from typing import Annotated, Any

import grpc
import typer
from slacktide.v1.fleet_service_pb2 import Component, ComponentKind, GetFleetRequest
from slacktide.wire.errors import Refusal
from slacktide.wire.version import build_version

from controlplane.cli import (
    batches,
    cluster,
    deployments,
    nodes,
    placement,
    replay,
    replicas,
    rollout,
    tenants,
)
from controlplane.cli.connection import connect
from controlplane.cli.failures import CommandError, explain
from controlplane.cli.output import Column, Format, FormatOption, show_list
from controlplane.cli.wording import age_words, enum_word
from controlplane.client import CALL_DEADLINE_S
from controlplane.localfleet.record import LocalFleetError

# \b is click's mark for "do not rewrap".
_EPILOG = """\b
A first session:
  slacktide cluster up
  slacktide deployment apply -f chat.yaml --wait
  slacktide batch submit questions.jsonl --deployment chat --wait
  slacktide cluster down

\b
Exit codes:
  0  done
  1  the answer is no: a plan changes something, a batch failed
  2  bad usage, or refused
  3  no control plane answers

Ids may be cut to a unique prefix. -o json is the wire contract's JSON."""

app = typer.Typer(
    name="slacktide",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    epilog=_EPILOG,
    help="Online and batch LLM inference on the same devices, within the online SLO.",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(nodes.app, name="node")
app.add_typer(deployments.app, name="deployment")
app.add_typer(replicas.app, name="replica")
app.add_typer(batches.app, name="batch")
app.add_typer(placement.app, name="placement")
app.add_typer(tenants.app, name="tenant")
app.add_typer(rollout.app, name="rollout")
app.add_typer(cluster.app, name="cluster")
app.command("replay", help=replay.REPLAY_HELP)(replay.replay_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"slacktide {build_version()}")
        raise typer.Exit


@app.callback()
def start(
    control_plane: Annotated[
        str,
        typer.Option(
            metavar="HOST:PORT[,…]",
            help="Default: SLACKTIDE_ENDPOINT, or the local fleet's cluster.json.",
        ),
    ] = "",
    _version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version)
    ] = False,
) -> None:
    """Global options."""
    if control_plane:
        # From here on the same as if the environment had said it, also for completions.
        os.environ["SLACKTIDE_ENDPOINT"] = control_plane


@app.command()
def status(output: FormatOption = Format.TABLE) -> None:
    """Shows every process of the fleet with its version and state."""
    with connect() as fleet:
        answer = fleet.fleet.GetFleet(GetFleetRequest(), timeout=CALL_DEADLINE_S)
    now = datetime.now(UTC)
    columns = (
        Column[Component](header="kind", cell=lambda c: enum_word(ComponentKind, c.kind)),
        Column[Component](header="id", cell=lambda c: c.id),
        Column[Component](header="version", cell=lambda c: c.version),
        Column[Component](header="state", cell=lambda c: c.state),
        Column[Component](header="address", cell=lambda c: c.address),
        Column[Component](header="seen", cell=lambda c: age_words(c.last_seen_time, now=now)),
    )
    show_list(answer, answer.components, columns, output)
    if output is Format.TABLE:
        switch = "on: no offline work runs" if answer.kill_switch else "off"
        print(
            f"\nrevision {answer.revision}, epoch {answer.epoch},"
            f" plan {answer.plan or 'none yet'}, kill switch {switch}"
        )


def main() -> None:
    """Entry point of the console script."""
    if _wants_load(sys.argv[1:]):
        _mount_load()
    try:
        app()
    except (
        CommandError,
        LocalFleetError,
        Refusal,
        grpc.RpcError,
        BrokenPipeError,
        OSError,
    ) as error:
        if isinstance(error, BrokenPipeError):  # e.g. `| head`: the reader has what it wants
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(0)
        line, code = explain(error)
        print(line, file=sys.stderr)
        sys.exit(code)


def _wants_load(arguments: list[str]) -> bool:
    """Whether the load generator's imports are worth their time for this command line."""
    words = [word for word in arguments if not word.startswith("-")]
    return not words or "load" in words or any(key.endswith("_COMPLETE") for key in os.environ)


def _mount_load() -> None:
    module: Any = importlib.import_module("controlplane.cli.load")
    app.add_typer(module.app, name="load")


if __name__ == "__main__":
    main()
