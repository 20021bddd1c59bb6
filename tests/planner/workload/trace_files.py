"""Where the public traces and lengths lie, for tests that read the real ones."""

import os
from pathlib import Path

import pytest


def public_file(name: str) -> Path:
    """The file in SLACKTIDE_TRACES, or in the folder `shared/traces` beside the repository."""
    beside = Path(__file__).parents[4] / "shared" / "traces"
    path = Path(os.environ.get("SLACKTIDE_TRACES", beside)) / name
    if not path.is_file():
        pytest.skip(f"{name} is not in SLACKTIDE_TRACES nor in ../shared/traces")
    return path
