"""Batch items on a replica: pulled, run, committed once, yielded when the gate closes."""

import json
from pathlib import Path

import pytest
from agent_kit import AgentUnderTest, make_assignment, running_agent, until
from controlplane_fake import FakeControlPlane
from slacktide.v1 import deployment_pb2, item_service_pb2, replica_pb2

from nodeagent.plugin_contract import DISABLE_VARIABLE


def _item(line: int, prompt: str, *, body: bytes | None = None) -> item_service_pb2.Item:
    return item_service_pb2.Item(
        lease=item_service_pb2.ItemLease(item=f"batches/b1/items/{line}"),
        custom_id=f"c{line}",
        url="/v1/completions",
        body=body or json.dumps({"model": "chat", "prompt": prompt, "max_tokens": 2}).encode(),
    )


async def test_items_are_run_and_committed_when_offline_is_admitted(
    serving: AgentUnderTest, control_plane: FakeControlPlane
) -> None:
    """Every item ends in exactly one result; the engine sees offline labels and our rid,
    whatever the user's body says.
    """
    items = [_item(line, f"p{line}") for line in range(40)]
    items[0].body = json.dumps({"prompt": "p0", "priority": 99, "stream": True}).encode()
    control_plane.pending.extend(items)
    await until(lambda: len(control_plane.results) == 40)
    names = [result.lease.item for result in control_plane.results]
    assert sorted(names) == sorted(f"batches/b1/items/{line}" for line in range(40))
    assert {result.status_code for result in control_plane.results} == {200}
    assert control_plane.results[0].output_tokens == 2
    assert not control_plane.leased
    seen = (await serving.seen())["items"]
    assert all(body["priority"] < 0 and body["stream"] is False for body in seen)
    assert {len(body["rid"]) for body in seen} == {32}
    assert all(body["custom_params"]["slacktide_class"] == "offline" for body in seen)
    await until(lambda: (r := control_plane.replica()) and r.load.offline_tokens_total == 280)


async def test_an_item_fails_alone_when_its_input_is_bad(
    serving: AgentUnderTest, control_plane: FakeControlPlane
) -> None:
    """What the engine refuses, and what is no JSON, is final; an engine's fault is retryable."""
    control_plane.pending.extend(
        [_item(1, "refuse"), _item(2, "", body=b"{broken"), _item(3, "fail"), _item(4, "ok")]
    )
    await until(lambda: len(control_plane.results) == 4)
    by_line = {result.lease.item.rpartition("/")[2]: result for result in control_plane.results}
    assert (by_line["1"].status_code, by_line["1"].retryable) == (400, False)
    assert "9000 tokens" in json.loads(by_line["1"].body)["error"]["message"]
    assert (by_line["2"].status_code, by_line["2"].retryable) == (400, False)
    assert (by_line["3"].status_code, by_line["3"].retryable) == (500, True)
    assert by_line["4"].status_code == 200


async def test_items_are_aborted_and_returned_when_the_kill_switch_is_engaged(
    serving: AgentUnderTest, control_plane: FakeControlPlane
) -> None:
    """All offline work stops at once: engine, items and new pulls; online goes on."""
    control_plane.pending.extend(_item(line, "wait") for line in range(30))
    seen = await serving.seen_until(lambda seen: len(seen["running"]) == 16)
    control_plane.send(make_assignment(revision=2, kill_switch=True))
    await until(lambda: len(control_plane.returned) == 16)
    await serving.seen_until(lambda later: set(seen["running"]) <= set(later["aborted"]))
    assert not control_plane.leased
    report = control_plane.replica()
    assert report is not None
    await until(lambda: (r := control_plane.replica()) and "kill switch" in r.offline_refusal)
    pulls = control_plane.pulls
    assert len(await serving.generate()) == 4
    await serving.seen_until(
        lambda later: later["updates"][-1].get("slacktide_budget_enabled") == 0
    )
    assert control_plane.pulls == pulls


async def test_items_are_dropped_not_returned_when_the_lease_lapses(
    tmp_path: Path, models_dir: Path, engine_python: Path
) -> None:
    """Without grants the node yields: in-flight items are aborted and forgotten, since the
    control plane gave them to others. Online requests go on.
    """
    control_plane = FakeControlPlane(lease_s=2.0)
    await control_plane.start()
    async with running_agent(
        tmp_path, models_dir, engine_python, control_plane=control_plane.address
    ) as agent:
        control_plane.send(make_assignment())
        control_plane.pending.extend(_item(line, "wait") for line in range(4))
        await until(lambda: control_plane.is_in(replica_pb2.REPLICA_STATE_RUNNING))
        seen = await agent.seen_until(lambda seen: len(seen["running"]) == 4)
        control_plane.grants = False
        await agent.seen_until(lambda later: set(seen["running"]) <= set(later["aborted"]))
        assert control_plane.returned == []
        assert len(await agent.generate()) == 4
    await control_plane.stop()


async def test_items_are_returned_when_the_replica_is_drained(
    serving: AgentUnderTest, control_plane: FakeControlPlane
) -> None:
    """A drain hands back what runs before the engine stops."""
    control_plane.pending.extend(_item(line, "wait") for line in range(4))
    await serving.seen_until(lambda seen: len(seen["running"]) == 4)
    control_plane.send(make_assignment(revision=2, desired=replica_pb2.DESIRED_STATE_STOPPED))
    await until(lambda: control_plane.is_in(replica_pb2.REPLICA_STATE_STOPPED))
    assert len(control_plane.returned) == 4
    assert {reason for _, reason in control_plane.returned} <= {"drain", "replica is draining"}


@pytest.mark.parametrize(
    ("change", "word"),
    [({"stage": deployment_pb2.STAGE_SHADOW}, "shadow"), ({"cordoned": True}, "cordoned")],
)
async def test_nothing_is_pulled_when_stage_or_cordon_forbid_it(
    agent: AgentUnderTest, control_plane: FakeControlPlane, change: dict[str, object], word: str
) -> None:
    """Shadow and cordon keep the engine free of offline work, and the report says why."""
    control_plane.pending.append(_item(1, "p"))
    control_plane.send(make_assignment(**change))  # type: ignore[arg-type]
    await until(lambda: (r := control_plane.replica()) and word in r.offline_refusal)
    assert control_plane.pulls == 0


async def test_nothing_is_pulled_when_the_plugin_is_disabled_by_environment(
    agent: AgentUnderTest, control_plane: FakeControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The agent says that the plugin is missing and serves online only."""
    monkeypatch.setenv(DISABLE_VARIABLE, "off")
    control_plane.pending.append(_item(1, "p"))
    control_plane.send(make_assignment())
    await until(lambda: (r := control_plane.replica()) and "plugin" in r.offline_refusal)
    report = control_plane.replica()
    assert report is not None
    assert (report.plugin_version, report.offline_admitted) == ("", False)
    assert len(await agent.generate()) == 4
    assert control_plane.pulls == 0
