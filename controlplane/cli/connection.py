"""Which control plane a command speaks to.

Owns the order in which an endpoint is found: `--control-plane`, SLACKTIDE_ENDPOINT, the
local fleet's cluster.json here or in a folder above. Refuses to guess a port.
"""

import contextlib
import json
import os
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from controlplane.cli.failures import CommandError, ExitCode
from controlplane.client import Fleet

STATE_DIR = ".slacktide"


@contextlib.contextmanager
def connect(given: str | None = None) -> Iterator[Fleet]:
    """A fleet's stubs for the length of a command.

    Raises:
        CommandError: no endpoint is known, or none of several accepts a connection.
    """
    fleet = Fleet(_reachable(find_endpoint(given)))
    try:
        yield fleet
    finally:
        fleet.close()


def find_endpoint(given: str | None = None) -> str:
    """host:port, or several separated by commas.

    Raises:
        CommandError: nothing names one.
    """
    if endpoint := given or os.environ.get("SLACKTIDE_ENDPOINT"):
        return endpoint
    if (path := find_cluster_file()) is not None:
        try:
            return str(json.loads(path.read_text())["control_plane"]["address"])
        except (ValueError, KeyError, TypeError) as error:
            raise CommandError(
                f"{path}: does not name a control plane; run slacktide cluster down, then up"
            ) from error
    raise CommandError(
        "no control plane is known; give --control-plane HOST:PORT, set SLACKTIDE_ENDPOINT,"
        " or start a local fleet: slacktide cluster up",
        ExitCode.UNREACHABLE,
    )


def find_cluster_file() -> Path | None:
    """The nearest local fleet's cluster.json, from here upwards."""
    if state_dir := os.environ.get("SLACKTIDE_STATE_DIR"):
        candidates: Sequence[Path] = (Path(state_dir),)
    else:
        here = Path.cwd()
        candidates = [folder / STATE_DIR for folder in (here, *here.parents)]
    return next((c / "cluster.json" for c in candidates if (c / "cluster.json").is_file()), None)


def _reachable(endpoints: str) -> str:
    """The first of several that accepts a connection; a single one is taken as it is."""
    names = [name.strip() for name in endpoints.split(",") if name.strip()]
    for name in names:
        if ":" not in name:
            raise CommandError(f"endpoint {name!r}: expected HOST:PORT")
    if len(names) == 1:
        return names[0]
    for name in names:
        host, _, port = name.rpartition(":")
        with (
            contextlib.suppress(OSError),
            socket.create_connection((host.strip("[]"), int(port)), 1.0),
        ):
            return name
    raise CommandError(
        f"none of the control planes {', '.join(names)} accepts a connection;"
        " next: slacktide cluster status",
        ExitCode.UNREACHABLE,
    )
