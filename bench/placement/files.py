"""Instances written and read back, so that others can run theirs.

Owns the file: gzip of one JSON document, `{"format": 1, "name", "snapshot"}`, the snapshot
by the fields of `planner.model` as `storage.codecs` writes them. Refuses other formats.
Invariant: the same snapshot, the same bytes (the gzip header has no time).
"""

import gzip
import json
import zlib
from pathlib import Path

from planner.model import Snapshot
from storage.codecs import from_json, to_json

FORMAT = 1
SUFFIX = ".json.gz"


class InstanceFileError(ValueError):
    """A file that is no instance; says which and why."""


def write_instance(folder: Path, name: str, snapshot: Snapshot) -> Path:
    """Writes `NAME.json.gz`, the folder included; returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    document = {"format": FORMAT, "name": name, "snapshot": to_json(snapshot)}
    path = folder / f"{name}{SUFFIX}"
    path.write_bytes(gzip.compress(json.dumps(document).encode(), compresslevel=6, mtime=0))
    return path


def read_instance(path: Path) -> tuple[str, Snapshot]:
    """Name and snapshot of a file.

    Raises:
        InstanceFileError: It is none, or of another format.
        OSError: It cannot be read.
    """
    try:
        document = json.loads(gzip.decompress(path.read_bytes()))
        if document["format"] != FORMAT:
            raise InstanceFileError(
                f"{path}: format {document['format']}, this bench reads {FORMAT}"
            )
        return str(document["name"]), from_json(Snapshot, document["snapshot"])
    except InstanceFileError:
        raise
    except (ValueError, KeyError, TypeError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InstanceFileError(f"{path}: no instance: {error}") from error


def read_folder(folder: Path) -> list[tuple[str, Snapshot]]:
    """All instances of a folder, by file name.

    Raises:
        InstanceFileError: A file is none, or the folder has none.
    """
    paths = sorted(folder.glob(f"*{SUFFIX}"))
    if not paths:
        raise InstanceFileError(f"{folder}: no *{SUFFIX} there")
    return [read_instance(path) for path in paths]
