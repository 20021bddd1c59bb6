"""Builds in folders of their own, made for real."""

import subprocess
from pathlib import Path
from zipfile import ZipFile

import pytest

from controlplane.localfleet.record import LocalFleetError
from controlplane.localfleet.release import (
    Release,
    build_wheel,
    install_release,
    open_release,
    wheel_version,
)

ROOT = Path(__file__).parents[3]
ASK = """
import json, controlplane, grpc, slacktide.v1
from importlib.metadata import entry_points
from slacktide.wire.version import build_version
groups = ("sglang.srt.plugins", "sglang.srt.platforms")
print(json.dumps([build_version(), controlplane.__file__,
                  [point.name for group in groups for point in entry_points(group=group)]]))
"""


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Release:
    folder = tmp_path_factory.mktemp("releases")
    wheel = build_wheel(ROOT, version="9.8.7", into=folder / "wheels")
    return install_release(wheel, releases_dir=folder)


def test_release_runs_its_own_packages_when_asked_from_the_source_tree(release: Release) -> None:
    """Version, code and entry points are the wheel's; dependencies are the base's."""
    import json

    asked = subprocess.run(
        [str(release.python), "-P", "-c", ASK],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    version, where, names = json.loads(asked.stdout)
    assert version == release.version == "9.8.7"
    assert Path(where).is_relative_to(release.python.parents[1])
    assert names == ["slacktide", "slacktide_cpu"]


def test_release_holds_every_file_when_built(release: Release) -> None:
    """Migrations, stubs and type hints are packed, too, not only importable packages."""
    installed = next((release.python.parents[1] / "lib").glob("python*/site-packages"))
    rooms = [ROOT / "controlplane", ROOT / "nodeagent", ROOT / "planner", ROOT / "storage"]
    wanted = {
        path.relative_to(top)
        for room, top in [*((r, ROOT) for r in rooms), (ROOT / "proto/slacktide", ROOT / "proto")]
        for path in room.rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {path for path in wanted if not (installed / path).is_file()} == set()


def test_release_is_used_again_when_complete(release: Release, tmp_path: Path) -> None:
    """What is complete is not made twice; what is not is refused."""
    folder = release.python.parents[1]
    assert open_release(folder) == release
    with pytest.raises(LocalFleetError, match="holds no complete release"):
        open_release(tmp_path)


def test_build_refuses_when_the_version_is_written_another_way(tmp_path: Path) -> None:
    """A version that a wheel spells differently could never be checked."""
    with pytest.raises(LocalFleetError, match="PEP 440"):
        build_wheel(ROOT, version="1.0-rc1", into=tmp_path)


def test_build_refuses_when_the_folder_is_no_source_tree(tmp_path: Path) -> None:
    """The error names what is missing."""
    with pytest.raises(LocalFleetError, match="lacks controlplane"):
        build_wheel(tmp_path, version="1.0", into=tmp_path)


def test_wheel_version_refuses_when_it_is_a_wheel_of_something_else(tmp_path: Path) -> None:
    """Only slacktide's wheels are installed; other files are no wheels."""
    other = tmp_path / "x.whl"
    with ZipFile(other, "w") as archive:
        archive.writestr("x-1.dist-info/METADATA", "Name: x\nVersion: 1\n\n")
    with pytest.raises(LocalFleetError, match="a wheel of x, expected slacktide"):
        wheel_version(other)
    (tmp_path / "y.whl").write_text("no zip")
    with pytest.raises(LocalFleetError, match="not a wheel"):
        wheel_version(tmp_path / "y.whl")
