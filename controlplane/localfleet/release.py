"""A build in a folder of its own.

Owns `releases/<version>`: a virtual environment without pip that holds Slacktide's wheel
and nothing else, and sees the dependencies of the environment it was made from through a
.pth file. Its own packages come first on the path, so entry points (the scheduler plugin)
and the reported version are those of the wheel. Refuses a wheel of another version than
asked for, and never changes a release that is complete.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from slacktide.wire.version import build_version

from controlplane.localfleet.record import LocalFleetError

_PTH = "slacktide-base.pth"
_COMPLETE = "complete"
_SOURCES = ("controlplane", "nodeagent", "planner", "storage", "proto")
_FILES = ("pyproject.toml", "setup.py", "VERSION", "README.md", "LICENSE")
_BUILD_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A build that can be started: its version and its interpreter."""

    version: str
    python: Path


def current_release() -> Release:
    """The build this process itself runs."""
    return Release(version=build_version(), python=Path(sys.executable))


def open_release(folder: Path) -> Release:
    """A release made before.

    Raises:
        LocalFleetError: the folder holds none, or one whose making was cut off.
    """
    python = folder / "bin" / "python"
    if not (folder / _COMPLETE).is_file() or not python.exists():
        raise LocalFleetError(
            f"{folder}: holds no complete release; make one with"
            " slacktide cluster upgrade --to VERSION, or --wheel FILE"
        )
    return Release(version=(folder / _COMPLETE).read_text().strip(), python=python)


def install_release(wheel: Path, *, releases_dir: Path) -> Release:
    """Installs a wheel as a release; does nothing where that version is complete.

    Raises:
        LocalFleetError: not a wheel of slacktide, or the installation failed.
    """
    version = wheel_version(wheel)
    folder = releases_dir / version
    if (folder / _COMPLETE).is_file():
        return open_release(folder)
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", "--without-pip", str(folder)], what=f"release {version}")
    python = folder / "bin" / "python"
    site_packages = next((folder / "lib").glob("python*/site-packages"))
    (site_packages / _PTH).write_text("".join(f"{path}\n" for path in _base_paths()))
    _run(
        [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet",
         "--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)],
        what=f"installation of {wheel.name}",
    )  # fmt: skip
    installed = _run(
        [
            str(python),
            "-P",
            "-c",
            "from importlib.metadata import version as v; print(v('slacktide'))",
        ],
        what=f"release {version}",
    ).strip()
    if installed != version:
        raise LocalFleetError(f"{folder}: reports {installed}, the wheel says {version}")
    (folder / _COMPLETE).write_text(version + "\n")
    return open_release(folder)


def build_wheel(source: Path, *, version: str, into: Path) -> Path:
    """Builds the tree at `source` as a wheel of the given version.

    The tree is copied first, so that nothing is written to it and no leftover of an
    earlier build gets in.

    Raises:
        LocalFleetError: it is not Slacktide's source tree, or the build failed.
    """
    missing = [name for name in (*_SOURCES, "pyproject.toml") if not (source / name).exists()]
    if missing:
        raise LocalFleetError(
            f"{source}: not a source tree of slacktide, lacks {', '.join(missing)};"
            " run in one, or give --wheel FILE"
        )
    into.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="slacktide-build-") as scratch:
        tree = Path(scratch) / "tree"
        tree.mkdir()
        for name in _SOURCES:
            shutil.copytree(
                source / name, tree / name, ignore=shutil.ignore_patterns("__pycache__")
            )
        for name in _FILES:
            if (source / name).exists():
                shutil.copy2(source / name, tree / name)
        output = Path(scratch) / "dist"
        _run(
            [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index",
             "--no-build-isolation", "--disable-pip-version-check", "-w", str(output), str(tree)],
            what=f"build of {version}",
            environment={"SLACKTIDE_VERSION": version},
        )  # fmt: skip
        built = next(output.glob("slacktide-*.whl"))
        if wheel_version(built) != version:
            raise LocalFleetError(
                f"version {version!r}: is built as {wheel_version(built)!r};"
                " write it as PEP 440 does, e.g. 0.2.0 or 0.2.0rc1"
            )
        target = into / built.name
        shutil.move(built, target)
    return target


def wheel_version(wheel: Path) -> str:
    """The version a wheel of slacktide says it is.

    Raises:
        LocalFleetError: not a wheel, or of something else.
    """
    try:
        with ZipFile(wheel) as archive:
            name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
            metadata = HeaderParser().parsestr(archive.read(name).decode())
    except (OSError, BadZipFile, StopIteration) as error:
        raise LocalFleetError(f"{wheel}: not a wheel ({error})") from error
    if metadata["Name"] != "slacktide":
        raise LocalFleetError(f"{wheel}: a wheel of {metadata['Name']}, expected slacktide")
    return str(metadata["Version"])


def _base_paths() -> list[str]:
    """Where the dependencies lie; a release's own base where this process runs from one."""
    paths = sysconfig.get_paths()
    own = list(dict.fromkeys([paths["purelib"], paths["platlib"]]))
    for path in own:
        pth = Path(path) / _PTH
        if pth.is_file():
            return pth.read_text().split()
    return own


def _run(command: list[str], *, what: str, environment: dict[str, str] | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **(environment or {})},
            capture_output=True,
            text=True,
            timeout=_BUILD_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LocalFleetError(f"{what}: took longer than {_BUILD_TIMEOUT_S:.0f} s") from error
    if done.returncode:
        tail = "\n  ".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise LocalFleetError(f"{what}: failed:\n  {tail}")
    return done.stdout
