"""The agent's session: hello, reports, lease, assignments."""

from pathlib import Path

import pytest
from agent_kit import AgentUnderTest, make_assignment, running_agent, until
from controlplane_fake import FakeControlPlane
from slacktide.v1 import agent_service_pb2, deployment_pb2, replica_pb2

from nodeagent.assignment_store import AssignmentStore

RUNNING = replica_pb2.REPLICA_STATE_RUNNING


async def test_agent_says_hello_and_reports_its_replica_when_assigned(
    serving: AgentUnderTest, control_plane: FakeControlPlane
) -> None:
    """Hello names node, devices and versions; the report follows the engine to RUNNING
    with versions, load and the revision it has accepted.
    """
    hello = control_plane.hellos[0]
    assert hello.node.name == "nodes/n1"
    assert hello.node.address == serving.address
    assert [d.device_type for d in hello.node.devices] == ["cpu", "cpu"]
    assert hello.protocol_version == 1
    await until(lambda: control_plane.reports[-1].revision == 1)
    await until(lambda: (r := control_plane.replica()) is not None and r.plugin_version)
    report = control_plane.replica()
    assert report is not None
    assert (report.engine_version, report.starts) == ("0.5.23", 1)
    assert report.load.kv_used_ratio == pytest.approx(0.25)
    states = {r.replicas[0].state for r in control_plane.reports if r.replicas}
    assert replica_pb2.REPLICA_STATE_STARTING in states


async def test_agent_refuses_an_assignment_when_its_epoch_is_lower(
    serving: AgentUnderTest, control_plane: FakeControlPlane
) -> None:
    """A former leader's assignment changes neither the file nor what runs."""
    control_plane.send(make_assignment(epoch=3, revision=5))
    await until(lambda: control_plane.reports[-1].revision == 5)
    stale = make_assignment(epoch=2, revision=9)
    del stale.replicas[:]
    control_plane.send(stale)
    seen = len(control_plane.reports)
    await until(lambda: len(control_plane.reports) > seen + 1)
    assert control_plane.reports[-1].revision == 5
    assert control_plane.is_in(RUNNING)
    stored = AssignmentStore(serving.state_dir / "assignment.bin").load()
    assert stored is not None
    assert (stored.epoch, stored.revision) == (3, 5)


async def test_agent_starts_from_its_file_when_no_control_plane_answers(
    tmp_path: Path, models_dir: Path, engine_python: Path
) -> None:
    """The stored assignment is served; the session is established once someone listens."""
    AssignmentStore(tmp_path / "state" / "assignment.bin").accept(make_assignment(revision=4))
    late = FakeControlPlane()
    await late.start()
    address = late.address
    await late.stop()
    async with running_agent(
        tmp_path, models_dir, engine_python, control_plane=address
    ) as under_test:
        directory = under_test.agent._reconciler
        await until(lambda: (r := directory.find("r1")) is not None and r.online_client)
        assert len(await under_test.generate()) == 4
        await late.start(address)
        await until(lambda: late.hellos)
        assert late.hellos[0].held_revision == 4
        assert late.hellos[0].replicas[0].state == RUNNING
        await late.stop()


async def test_agent_reports_facts_of_wanted_models_and_why_one_has_none(
    agent: AgentUnderTest, control_plane: FakeControlPlane
) -> None:
    """Weights, KV and context of a folder; an error with the remedy for a missing one."""
    wanted = agent_service_pb2.NodeAssignment(
        epoch=1, revision=1, wanted_models=["tiny", "missing"]
    )
    control_plane.send(wanted)
    await until(lambda: any(len(r.models) == 2 for r in control_plane.reports))
    facts = {m.model: m for m in control_plane.reports[-1].models}
    assert facts["tiny"].weights_bytes == 4
    assert facts["tiny"].max_context_tokens == 512
    assert "config.json" in facts["missing"].error


@pytest.mark.parametrize(
    ("change", "word"), [({"model": "missing"}, "config.json"), ({"stage": 99}, "stage 99")]
)
async def test_agent_reports_failed_with_the_reason_when_a_replica_cannot_run(
    agent: AgentUnderTest, control_plane: FakeControlPlane, change: dict[str, object], word: str
) -> None:
    """A missing model or a stage of another release fails that replica alone, in words."""
    control_plane.send(make_assignment(**change))  # type: ignore[arg-type]
    await until(lambda: control_plane.is_in(replica_pb2.REPLICA_STATE_FAILED))
    report = control_plane.replica()
    assert report is not None
    assert word in report.message
    assert not report.offline_admitted


async def test_agent_drains_and_reports_stopped_when_the_plan_removes_a_replica(
    serving: AgentUnderTest, control_plane: FakeControlPlane
) -> None:
    """Desired STOPPED ends the engine; its device is free for another replica after."""
    control_plane.send(make_assignment(revision=2, desired=replica_pb2.DESIRED_STATE_STOPPED))
    await until(lambda: control_plane.is_in(replica_pb2.REPLICA_STATE_STOPPED))
    successor = make_assignment(revision=3, stage=deployment_pb2.STAGE_OBSERVE)
    successor.replicas[0].replica.name = "replicas/r2"
    control_plane.send(successor)
    await until(lambda: control_plane.is_in(RUNNING, "r2"))
    assert control_plane.replica("r1") is None


async def test_agent_reports_a_crash_loop_with_its_log_when_the_engine_never_starts(
    agent: AgentUnderTest, control_plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three failures in a row are FAILED, with count, cause and log file; it is retried."""
    monkeypatch.setenv("FAKE_ENGINE_EXIT", "no such weights")
    control_plane.send(make_assignment())
    await until(lambda: control_plane.is_in(replica_pb2.REPLICA_STATE_FAILED), within_s=30)
    report = control_plane.replica()
    assert report is not None
    assert "RuntimeError: no such weights" in report.message
    assert str(agent.state_dir / "engines" / "r1") in report.message
    assert report.starts == 3
