"""What an agent says of its host: memory for replicas, and models that are warm there."""

import logging
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from agent_kit import AgentUnderTest, make_assignment, running_agent, until
from controlplane_fake import FakeControlPlane
from hypothesis import given
from hypothesis import strategies as st
from slacktide.v1 import node_pb2, node_service_pb2, replica_pb2

from nodeagent import residency
from nodeagent.hostmemory import host_memory_bytes
from nodeagent.models.facts import ModelFacts
from nodeagent.residency import resident_ratio
from nodeagent.settings import SettingsError, parse_settings
from nodeagent.warmth import WARM_FROM, WARM_WHILE, Warmth
from tests.controlplane.server.conftest import (
    Start,
    deployment,
    start,  # noqa: F401 - the fixture
)
from tests.controlplane.server.conftest import until as until_told

GIB = 1 << 30


# -- host memory ------------------------------------------------------------------------


@pytest.fixture
def host(tmp_path: Path) -> Callable[..., int]:
    """Host memory as read from trees that a test describes."""

    def read(total_kib: int, cgroup: str = "", **limits: str) -> int:
        (tmp_path / "self").mkdir(exist_ok=True)
        (tmp_path / "meminfo").write_text(f"MemFree: 1 kB\nMemTotal:  {total_kib} kB\n")
        (tmp_path / "self" / "cgroup").write_text(cgroup)
        for path, limit in limits.items():
            file = tmp_path / "groups" / path.replace("__", "/")
            version_one = "memory" in path.split("__")[0]
            file = file / ("memory.limit_in_bytes" if version_one else "memory.max")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(limit + "\n")
        return host_memory_bytes(proc=tmp_path, groups=tmp_path / "groups")

    return read


def test_memory_is_the_machines_where_nothing_limits_it(host: Callable[..., int]) -> None:
    """Rounded down, so that machines that differ by some MiB are alike."""
    one, other = host(527_965_184), host(527_948_800 - 40_000)
    assert one == other == 496 * GIB


def test_memory_is_the_least_of_the_control_groups_above(host: Callable[..., int]) -> None:
    """Version 2: a parent's limit holds for the agent too, "max" is none; version 1 likewise."""
    slice_ = "0::/slice/agent.service\n"
    assert host(512 << 20, slice_, slice=str(64 * GIB), slice__agent_service="max") == 64 * GIB
    assert host(512 << 20, slice_, slice=str(900 * GIB)) == 512 * GIB
    version_one = "5:cpu,cpuacct:/x\n4:memory:/x\n"
    assert host(512 << 20, version_one, memory__x=str(32 * GIB), memory="max") == 32 * GIB


def test_memory_is_unknown_where_nothing_can_be_read(tmp_path: Path) -> None:
    """0, as the contract says; never a guess."""
    assert host_memory_bytes(proc=tmp_path, groups=tmp_path) == 0


@given(total_kib=st.integers(1, 1 << 34))
def test_rounding_takes_little_and_adds_nothing(
    tmp_path_factory: pytest.TempPathFactory, total_kib: int
) -> None:
    """At the most one part in 32, and what is rounded stays as it is."""
    proc = tmp_path_factory.mktemp("proc")

    def read(kib: int) -> int:
        (proc / "meminfo").write_text(f"MemTotal: {kib} kB\n")
        return host_memory_bytes(proc=proc, groups=proc)

    total = total_kib * 1024
    found = read(total_kib)
    assert total * 31 / 32 <= found <= total
    assert found % 1024 or read(found // 1024) == found


def test_host_memory_flag_is_taken_as_given() -> None:
    """Not rounded; refused with flag and what is allowed."""
    given_ = ["--node", "n1", "--state-dir", "s", "--models-dir", "m"]
    assert parse_settings(given_).host_memory_bytes is None
    assert parse_settings([*given_, "--host-memory", "100 GiB"]).host_memory_bytes == 100 * GIB
    with pytest.raises(SettingsError, match=r"--host-memory '0GiB'.*512MiB"):
        parse_settings([*given_, "--host-memory", "0GiB"])


# -- residency --------------------------------------------------------------------------


def _file(path: Path, size: int) -> Path:
    with path.open("wb") as stream:
        stream.write(os.urandom(size))
        stream.flush()
        os.fsync(stream.fileno())
    return path


def _drop(path: Path, *, until_byte: int = 0) -> None:
    handle = os.open(path, os.O_RDONLY)
    os.posix_fadvise(handle, 0, until_byte, os.POSIX_FADV_DONTNEED)
    os.close(handle)


def _is_on_disk(path: Path) -> bool:
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    inside = [(len(at), kind) for at, kind in mounts if path.resolve().is_relative_to(at)]
    return max(inside)[1] not in ("tmpfs", "ramfs")


def test_share_follows_the_page_cache(tmp_path: Path) -> None:
    """Just written: all. Dropped: none, and asking again and again brings nothing back. One
    half dropped: half; over several files by their size.
    """
    if not _is_on_disk(tmp_path):
        pytest.skip("files of a tmpfs never leave memory")
    big, small = _file(tmp_path / "a", 24 << 20), _file(tmp_path / "b", 8 << 20)
    assert resident_ratio([big, small]) == 1.0
    _drop(big)
    assert [resident_ratio([big]) for _ in range(3)] == [0.0, 0.0, 0.0]
    assert resident_ratio([big, small]) == pytest.approx(0.25, abs=0.02)
    _drop(small, until_byte=4 << 20)
    assert resident_ratio([small]) == pytest.approx(0.5, abs=0.1)
    assert resident_ratio([]) is None
    assert resident_ratio([_file(tmp_path / "empty", 0)]) is None


def test_share_is_unknown_of_files_the_kernel_tells_nothing_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither owned nor writable: the kernel would say "all"."""
    file = _file(tmp_path / "a", 1 << 16)
    monkeypatch.setattr(residency.os, "geteuid", lambda: file.stat().st_uid + 1)
    assert resident_ratio([file]) is not None  # root may write it all the same
    monkeypatch.setattr(residency.os, "access", lambda *_: False)
    assert resident_ratio([file]) is None


# -- warmth -----------------------------------------------------------------------------


class _Shares:
    """Shares in the page cache that a test sets, by model folder."""

    def __init__(self, models_dir: Path, *names: str) -> None:
        self.by_name: dict[str, float | None] = dict.fromkeys(names, 0.0)
        self.told = 0
        for name in names:
            self.folder(models_dir / name)
        self.asked: dict[str, ModelFacts | str] = {}
        self.warmth = Warmth(
            models_dir=models_dir, asked=lambda: self.asked, on_change=self._tell, ratio=self._ratio
        )

    @staticmethod
    def folder(path: Path) -> Path:
        path.mkdir(parents=True)
        (path / "config.json").write_text("{}")
        (path / "model.safetensors").write_bytes(b"x")
        return path

    def _tell(self) -> None:
        self.told += 1

    def _ratio(self, files: list[Path]) -> float | None:
        return self.by_name[files[0].parent.name]

    async def look(self, **shares: float | None) -> tuple[str, ...]:
        self.by_name |= shares
        await self.warmth.look()
        return self.warmth.models


async def test_model_turns_warm_and_cold_with_some_play(tmp_path: Path) -> None:
    """Warm at the one bound, cold below the other, and told only when it changed."""
    shares = _Shares(tmp_path, "a", "b")
    assert await shares.look(a=WARM_FROM - 0.01) == ()
    assert await shares.look(a=WARM_FROM, b=1.0) == ("a", "b")
    assert await shares.look(a=WARM_WHILE) == ("a", "b")
    assert shares.told == 1
    assert await shares.look(a=WARM_WHILE - 0.01) == ("b",)
    assert await shares.look(a=WARM_FROM - 0.01) == ("b",)
    assert shares.told == 2


async def test_model_is_named_as_deployments_name_it(tmp_path: Path) -> None:
    """A folder elsewhere by its path, once it was asked for; one without weights never."""
    shares = _Shares(tmp_path / "models", "a")
    away = _Shares.folder(tmp_path / "away")
    (tmp_path / "models" / "bare").mkdir()
    (tmp_path / "models" / "bare" / "config.json").write_text("{}")
    facts = ModelFacts(
        path=away, architecture="x", weights_bytes=1, kv_bytes_per_token=1, max_context_tokens=1,
        vocab_size=1, dtype="float32",
    )  # fmt: skip
    shares.asked = {str(away): facts, "broken": "model broken: no config.json"}
    assert await shares.look(a=1.0, away=1.0) == tuple(sorted((str(away), "a")))


async def test_model_of_unknown_share_is_cold_and_said_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Also one that was warm; an error of one model leaves the others theirs."""
    shares = _Shares(tmp_path, "a", "b")
    assert await shares.look(a=1.0, b=1.0) == ("a", "b")
    with caplog.at_level(logging.WARNING):
        assert await shares.look(a=None) == ("b",)
        assert await shares.look() == ("b",)
    (line,) = [one.getMessage() for one in caplog.records if "warmth_unknown" in one.getMessage()]
    assert "model=a" in line and "remedy=" in line
    (tmp_path / "b" / "model.safetensors").unlink()
    shares.by_name["a"] = 1.0
    assert await shares.look() == ("a",)


# -- on the wire ------------------------------------------------------------------------


async def test_agent_tells_memory_with_its_hello_and_warm_models_with_reports(
    serving: AgentUnderTest, control_plane: FakeControlPlane
) -> None:
    """The model folder was just written, so it is warm, under the name deployments use; the
    hello tells too, so that the round that it starts knows.
    """
    assert list(control_plane.hellos[0].node.warm_models) == ["tiny"]
    assert control_plane.hellos[0].node.host_memory_bytes == host_memory_bytes() > 0
    control_plane.send(make_assignment(revision=2))
    await until(lambda: list(control_plane.reports[-1].warm_models) == ["tiny"])
    assert control_plane.is_in(replica_pb2.REPLICA_STATE_RUNNING)


async def test_agent_tells_its_part_of_memory_when_agents_share_a_machine(
    tmp_path: Path, models_dir: Path, engine_python: Path, control_plane: FakeControlPlane
) -> None:
    """A third of what an agent alone tells, so that three of them tell no more than there is."""
    flags = ("--host-memory", "1/3")
    async with running_agent(
        tmp_path, models_dir, engine_python, control_plane=control_plane.address, flags=flags
    ):
        await until(lambda: bool(control_plane.hellos))
        assert control_plane.hellos[0].node.host_memory_bytes == host_memory_bytes() // 3 > 0


async def test_node_of_a_live_fleet_has_its_hosts_facts(
    tmp_path: Path,
    models_dir: Path,
    engine_python: Path,
    start: Start,  # noqa: F811
) -> None:
    """A real agent at a real control plane: placement knows memory and warm models, and a
    replica that asks for more host memory than there is says what is missing.
    """
    running = await start()
    address = f"127.0.0.1:{running.port}"
    async with running_agent(tmp_path / "agent", models_dir, engine_python, control_plane=address):

        async def look() -> node_pb2.Node | None:
            request = node_service_pb2.ListNodesRequest()
            listed = await running.nodes.ListNodes(request, timeout=10)
            return next((one for one in listed.nodes if one.warm_models), None)

        node = await until_told(look)
        assert list(node.warm_models) == ["tiny"]
        assert node.host_memory_bytes == host_memory_bytes()
        await running.apply(deployment(host_memory_bytes=node.host_memory_bytes + 1))

        async def misfits() -> list[str] | None:
            return list((await running.deployment("chat")).status.misfits) or None

        (why,) = await until_told(misfits)
        assert "deployment chat" in why and "of host memory, node n1 has" in why
