"""Packages and version of the distribution; everything else is in pyproject.toml.

`make rolling-upgrade VERSION=…` builds the same tree under another version, so the
version can be given by SLACKTIDE_VERSION; otherwise it is the file VERSION.
"""

import os
from pathlib import Path

from setuptools import find_packages, setup

ROOMS = ("controlplane", "nodeagent", "planner", "storage")
version = os.environ.get("SLACKTIDE_VERSION") or Path("VERSION").read_text().strip()
packages = find_packages(include=[p for room in ROOMS for p in (room, f"{room}.*")])
packages += [f"slacktide{p}" for p in ("", ".v1", ".wire")]
setup(version=version, packages=packages)
