"""How a control plane is started, and what it opens first.

Owns its settings, and opening the database and the objects with errors that say what to do.
"""

from dataclasses import dataclass, field
from pathlib import Path

import grpc
from slacktide.wire.errors import Refusal

from controlplane.batches.objects import ObjectStore
from controlplane.rounds.snapshot import PlacementSettings
from controlplane.rounds.solver_limits import SolverLimits
from storage.database import Database
from storage.errors import StorageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """How a control plane is started.

    `database` and `objects` default to places in `state_dir`.
    """

    listen: str
    state_dir: Path
    database: str = ""
    objects: str = ""
    input_prefixes: tuple[str, ...] = ()  # URIs outside `objects` that inputs may lie under
    max_input_bytes: int = 1 << 30
    control_plane: str = "cp"
    round_interval_s: float = 10.0
    solve_budget_s: float = 5.0
    lease_s: float = 10.0
    grace_s: float = 5.0
    placement: PlacementSettings = field(default_factory=PlacementSettings)
    derive_frontiers: bool = True  # in the background, of replicas nobody profiled
    solver: SolverLimits = field(default_factory=SolverLimits)


def open_database(settings: ServerSettings) -> Database:
    """The database, after its migrations.

    Raises:
        Refusal: the state folder cannot be written.
        StorageError: the database is newer, full or cannot be reached.
    """
    try:
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        probe = settings.state_dir / ".writable"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise _unwritable(settings, error) from error
    path = (settings.state_dir / "state.db").absolute()
    return Database.open(settings.database or f"sqlite:///{path}")


def open_objects(settings: ServerSettings) -> ObjectStore:
    """Where batches' inputs and results lie.

    Raises:
        StorageError: it cannot be written.
    """
    root = settings.objects or (settings.state_dir / "objects").absolute().as_uri()
    try:
        return ObjectStore(
            root,
            readable_prefixes=settings.input_prefixes,
            max_input_bytes=settings.max_input_bytes,
        )
    except (OSError, ImportError, ValueError) as error:
        raise StorageError(
            f"objects {root}: {error}; name a folder or bucket that can be written with --objects"
        ) from error


def _unwritable(settings: ServerSettings, error: OSError) -> Refusal:
    return Refusal(
        code=grpc.StatusCode.FAILED_PRECONDITION,
        reason="STATE_DIR_UNWRITABLE",
        message=f"state folder {settings.state_dir}: {error.strerror or error}; choose a folder"
        " this user can write with --state-dir",
    )
