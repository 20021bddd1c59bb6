"""`slacktide cluster`: the local fleet on this machine."""

import os
from pathlib import Path
from typing import Annotated

import typer

from controlplane.cli.connection import STATE_DIR
from controlplane.cli.failures import CommandError, ExitCode
from controlplane.cli.output import Format, FormatOption, say, show_mapping, show_table
from controlplane.cli.wording import parse_duration_s
from controlplane.localfleet import lifecycle
from controlplane.localfleet.lifecycle import Ports
from controlplane.localfleet.record import FleetOptions, read_record
from controlplane.localfleet.release import (
    Release,
    build_wheel,
    current_release,
    install_release,
    open_release,
)
from controlplane.localfleet.upgrade import UpgradeOptions
from controlplane.localfleet.upgrade import upgrade as walk

app = typer.Typer(no_args_is_help=True, help="A local fleet of real processes on this machine.")
StateDirOption = Annotated[
    Path, typer.Option(help="Where the fleet keeps everything.", envvar="SLACKTIDE_STATE_DIR")
]
_STATE_DIR = Path(STATE_DIR)


@app.command()
def up(
    nodes: Annotated[int, typer.Option(help="Agents to start.", min=1, max=16)] = 2,
    devices: Annotated[int, typer.Option(help="Engine slots a node.", min=1, max=16)] = 2,
    device_memory: Annotated[str, typer.Option(help="Memory of an engine slot.")] = "4GiB",
    models_dir: Annotated[Path, typer.Option(help="Folder of models.")] = Path("models"),
    release: Annotated[
        Path | None, typer.Option(help="Release folder to run; default: this build.")
    ] = None,
    control_plane_port: Annotated[int, typer.Option(help="0 picks a free one.")] = 0,
    gateway_port: Annotated[int, typer.Option(help="0 picks a free one.")] = 0,
    lease: Annotated[float, typer.Option(help="Seconds a silent node counts.", min=1)] = 10.0,
    round_interval: Annotated[float, typer.Option(help="Seconds between rounds.", min=0.5)] = 10.0,
    state_dir: StateDirOption = _STATE_DIR,
) -> None:
    """Starts control plane, gateway and agents, and waits until they are ready.

    Example:  slacktide cluster up --nodes 2 --devices 2
    """
    options = FleetOptions(
        nodes=nodes,
        devices=devices,
        device_memory=device_memory,
        models_dir=str(models_dir),
        lease_s=lease,
        round_interval_s=round_interval,
    )
    record = lifecycle.up(
        state_dir,
        options,
        release=open_release(release) if release else current_release(),
        ports=Ports(control_plane=control_plane_port, gateway=gateway_port),
        tell=say,
    )
    print(f"control plane  {record.control_plane.address}")
    print(f"gateway        {record.gateway.address}")
    say("next: slacktide deployment apply -f deploy/demo/chat.yaml --wait")


@app.command()
def down(state_dir: StateDirOption = _STATE_DIR) -> None:
    """Stops the fleet, by force where asking does not help; nothing remains.

    What it stored stays under the state folder, and the next `up` takes it up again.
    """
    lifecycle.down(state_dir, tell=say)


@app.command()
def revive(state_dir: StateDirOption = _STATE_DIR) -> None:
    """Starts again what has ended, e.g. after a crash; what runs is left alone."""
    lifecycle.revive(state_dir, tell=say)


@app.command()
def status(state_dir: StateDirOption = _STATE_DIR, output: FormatOption = Format.TABLE) -> None:
    """Shows the fleet's processes; exit code 1 if one is not ready."""
    record = read_record(state_dir.absolute())
    if record is None:
        raise CommandError(
            f"{state_dir}: no fleet runs here; next: slacktide cluster up", ExitCode.DIFFERENT
        )
    standings = lifecycle.standing(record)
    rows = [
        {
            "kind": s.process.kind.value,
            "id": s.process.id,
            "state": s.word,
            "version": s.process.version,
            "pid": s.process.pid,
            "address": s.process.address,
            "log": _short(Path(s.process.log)),
        }
        for s in standings
    ]
    if output is Format.TABLE:
        show_table(list(rows[0]) if rows else [], [[str(v) for v in r.values()] for r in rows])
    else:
        show_mapping({"processes": rows}, output)
    if not all(s.is_serving for s in standings):
        raise typer.Exit(ExitCode.DIFFERENT)


@app.command()
def upgrade(
    to: Annotated[
        str, typer.Option(help="Build the source tree as this version, and run it.")
    ] = "",
    wheel: Annotated[Path | None, typer.Option(help="Run this wheel instead.", exists=True)] = None,
    source: Annotated[Path, typer.Option(help="Source tree for --to.")] = Path(),
    drain_deadline: Annotated[
        str, typer.Option(help="What is left on a node then is stopped by force.")
    ] = "3m",
    force: Annotated[
        bool, typer.Option("--force", help="Drain even if some replica fits nowhere else.")
    ] = False,
    state_dir: StateDirOption = _STATE_DIR,
) -> None:
    """Replaces every process by another build, without losing a request.

    Control plane first, then the gateway, then node by node: drain, stop, start, ready,
    uncordon. A step that fails stops the walk; the same command goes on from there.

    Example:  slacktide cluster upgrade --to 0.2.0
    """
    if bool(to) == (wheel is not None):
        raise CommandError("give exactly one of --to VERSION and --wheel FILE")
    try:
        deadline_s = parse_duration_s(drain_deadline)
    except ValueError as error:
        raise CommandError(f"--drain-deadline: {error}") from error
    lifecycle.require_fleet(state_dir)
    walk(
        state_dir,
        release=_release(state_dir, to=to, wheel=wheel, source=source),
        options=UpgradeOptions(drain_deadline_s=deadline_s, force=force),
        tell=say,
    )


def _release(state_dir: Path, *, to: str, wheel: Path | None, source: Path) -> Release:
    releases_dir = state_dir.absolute() / "releases"
    if wheel is None:
        if (releases_dir / to / "complete").is_file():
            say(f"{releases_dir / to}: made before, used as it is")
            return open_release(releases_dir / to)
        say(f"building {to} from {source.resolve()}")
        wheel = build_wheel(source.resolve(), version=to, into=releases_dir / "wheels")
    say(f"installing {wheel.name}")
    return install_release(wheel, releases_dir=releases_dir)


def _short(path: Path) -> str:
    """A path as seen from here, if that is shorter."""
    relative = os.path.relpath(path)
    return relative if len(relative) < len(str(path)) else str(path)
