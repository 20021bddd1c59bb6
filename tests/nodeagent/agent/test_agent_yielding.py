"""Offline work cut, restored, capped and stopped on a real agent, by what its engine shows."""

import asyncio
import errno
import json
import time
from typing import Any

import pytest
from agent_kit import AgentUnderTest, make_assignment, make_items, until
from controlplane_fake import FakeControlPlane
from slacktide.v1 import agent_service_pb2, deployment_pb2, replica_pb2

from nodeagent.assignment_store import AssignmentStore
from nodeagent.engine.client import EngineAnswer, EngineClient
from nodeagent.telemetry import Telemetry

ENABLED = "slacktide_budget_enabled"
BUDGET = "slacktide_budget_latency_budget_ms"


def canary(offline_share: float) -> agent_service_pb2.NodeAssignment:
    assignment = make_assignment(stage=deployment_pb2.STAGE_CANARY)
    assignment.replicas[0].replica.offline_share = offline_share
    return assignment


async def test_guard_cuts_by_itself_and_restores_when_online_recovers(
    agent: AgentUnderTest, control_plane: FakeControlPlane
) -> None:
    """Gaps of 50 ms against a target of 20 ms: the engine's budget falls to 0, nothing
    is pulled, and offline work comes back by itself once the gaps are gone.
    """
    assignment = make_assignment()
    assignment.replicas[0].spec.slo.itl.FromMilliseconds(20)
    control_plane.send(assignment)
    await until(lambda: control_plane.is_in(replica_pb2.REPLICA_STATE_RUNNING))
    await agent.seen_until(lambda seen: seen["updates"] and seen["updates"][-1].get(ENABLED) == 1)

    await asyncio.gather(*(agent.generate("slow", max_tokens=40) for _ in range(4)))
    cut = await agent.seen_until(lambda seen: seen["updates"][-1].get(ENABLED) == 0)
    assert cut["updates"][-1][BUDGET] == 0.0
    await until(lambda: (r := control_plane.replica()) and "guard: " in r.offline_refusal)
    pulls = control_plane.pulls
    control_plane.pending.extend(make_items(3))

    await agent.seen_until(lambda seen: seen["updates"][-1].get(ENABLED) == 1)
    assert control_plane.pulls <= pulls + 1  # the one that the restored work begins with
    await until(lambda: len(control_plane.results) == 3)


async def test_items_are_returned_when_the_plugin_reports_a_fault(
    serving: AgentUnderTest, control_plane: FakeControlPlane
) -> None:
    """A plugin that stepped back gets no offline work; the report says why; online goes on."""
    control_plane.pending.extend(make_items(4, "wait"))
    await serving.seen_until(lambda seen: len(seen["running"]) == 4)
    await serving.generate("fault")
    await until(lambda: (r := control_plane.replica()) and "forced" in r.offline_refusal)
    await until(lambda: len(control_plane.returned) == 4)
    pulls = control_plane.pulls
    assert len(await serving.generate()) == 4
    await serving.seen_until(lambda seen: seen["updates"][-1].get(ENABLED) == 0)
    assert control_plane.pulls == pulls


async def test_item_fails_alone_when_running_it_raises(
    serving: AgentUnderTest, control_plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A surprise costs that execution; other items, the puller and the engine go on."""
    post = EngineClient.post_item

    async def surprised(
        client: EngineClient, url: str, body: dict[str, Any], *, timeout_s: float
    ) -> EngineAnswer:
        if body["prompt"] == "poison":
            raise RecursionError("poison")
        return await post(client, url, body, timeout_s=timeout_s)

    monkeypatch.setattr(EngineClient, "post_item", surprised)
    poison, *others = make_items(3)
    poison.body = json.dumps({"prompt": "poison", "max_tokens": 2}).encode()
    control_plane.pending.extend([poison, *others])
    await until(lambda: len(control_plane.results) == 3)
    by_line = {r.lease.item.rpartition("/")[2]: r for r in control_plane.results}
    assert (by_line["0"].status_code, by_line["0"].retryable) == (500, True)
    assert b"poison" not in by_line["0"].body
    assert [by_line[line].status_code for line in "12"] == [200, 200]
    report = control_plane.replica()
    assert report is not None
    assert report.starts == 1


async def test_online_goes_on_when_a_part_of_the_replica_raises(
    serving: AgentUnderTest, control_plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fit that raises costs no engine: polling starts again and telemetry stays fresh."""
    raised: list[bool] = []

    async def broken(telemetry: Telemetry, *, now_s: float) -> None:
        if len(raised) < 2:
            raised.append(True)
            raise ZeroDivisionError("forced")

    monkeypatch.setattr(Telemetry, "refit", broken)
    await until(lambda: len(raised) == 2)
    assert len(await serving.generate()) == 4
    await until(lambda: (r := control_plane.replica()) and r.offline_admitted)
    report = control_plane.replica()
    assert report is not None
    assert report.starts == 1


async def test_offline_stops_when_the_kill_switch_comes_with_an_assignment_the_disk_refuses(
    serving: AgentUnderTest, control_plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk delays the assignment, not the kill switch in it."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    control_plane.pending.extend(make_items(4, "wait"))
    await serving.seen_until(lambda seen: len(seen["running"]) == 4)
    monkeypatch.setattr(AssignmentStore, "accept", full)
    control_plane.send(make_assignment(revision=2, kill_switch=True))
    await until(lambda: len(control_plane.returned) == 4)
    assert control_plane.reports[-1].revision == 1
    monkeypatch.undo()
    await until(lambda: control_plane.reports[-1].revision == 2)


async def test_canary_runs_no_more_than_its_offline_share(
    agent: AgentUnderTest, control_plane: FakeControlPlane
) -> None:
    """At stage canary the share is a ceiling: 30 engine-ms a second of items of 14 ms each."""
    control_plane.send(canary(30.0))
    control_plane.pending.extend(make_items(200))
    await until(lambda: len(control_plane.results) >= 1)
    started_s = time.monotonic()
    await until(lambda: len(control_plane.results) >= 8)
    elapsed_s = time.monotonic() - started_s
    assert len(control_plane.results) <= 30.0 * (elapsed_s + 2.0) / 14.0 + 5.0
    assert control_plane.pending


async def test_canary_pulls_nothing_when_its_offline_share_is_zero(
    agent: AgentUnderTest, control_plane: FakeControlPlane
) -> None:
    """A canary the plan gives nothing asks for nothing, though its gate is open."""
    control_plane.send(canary(0.0))
    control_plane.pending.extend(make_items(3))
    await until(lambda: (r := control_plane.replica()) and r.offline_admitted)
    reports = len(control_plane.reports)
    await until(lambda: len(control_plane.reports) >= reports + 2)
    assert control_plane.pulls == 0
