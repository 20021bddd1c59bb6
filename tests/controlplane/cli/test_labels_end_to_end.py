"""`slacktide node label`, `node list` and `node describe` against a real control plane."""

import pytest
import yaml

from controlplane.cli.failures import CommandError
from controlplane.cli.node_labels import read_labels
from tests.controlplane.cli.program import Group
from tests.controlplane.server.agent_fake import FakeAgent
from tests.controlplane.server.conftest import (
    Start,
    deployment,
    start,  # noqa: F401 - the fixture
    until,
)


async def test_labels_are_set_shown_and_taken_back(start: Start) -> None:  # noqa: F811
    """An operator's stand over the agent's until they are taken back; each run says what
    changed, a dry run changes nothing, and placement goes by what it reads.
    """
    running = await start()
    cli = Group("node", port=running.port)
    agent = FakeAgent(node="n1", port=running.port, labels={"group": "old", "rack": "7"})
    async with agent, FakeAgent(node="n2", port=running.port):
        assert (await cli.ok("label", "n1")).split() == [
            "node", "n1", "group=old", "rack=7",
        ]  # fmt: skip
        assert "has no labels" in await cli.ok("label", "n2")
        wanted = ("group=a", "failure-domain=rack2", "host-memory-bytes=512GiB", "spot=yes")

        planned = await cli.ok("label", "n1", *wanted, "--dry-run")
        assert "~ group=a (was old)" in planned and "+ failure-domain=rack2" in planned
        assert (await running.node("n1")).labels == {"group": "old", "rack": "7"}

        assert await cli.ok("label", "n1", *wanted) == planned
        node = await running.node("n1")
        assert (node.group, node.failure_domain) == ("a", "rack2")
        assert node.host_memory_bytes == 512 << 30
        assert "no change" in await cli.ok("label", "n1", *wanted)

        told = await cli.data("label", "n1", "group-", "spot-")
        assert told["labels"] == {
            "failure-domain": "rack2", "group": "old", "host-memory-bytes": str(512 << 30),
            "rack": "7",
        }  # fmt: skip
        assert (await running.node("n1")).group == "old"
        assert "no change" in await cli.ok("label", "n1", "rack-")

        table = await cli.ok("list")
        wide = await cli.ok("list", "-o", "wide")
        assert "GROUP" not in table and "rack2" in table
        for word in ("GROUP", "HOST MEMORY", "512.0 GiB", "not known", "WARM MODELS", "rack=7"):
            assert word in wide
        (first, _) = yaml.safe_load(await cli.ok("list", "-o", "yaml"))["nodes"]
        assert first["failureDomain"] == "rack2"
        shown = await cli.ok("describe", "n1", "-o", "wide")
        assert "failure domain" in shown and "512.0 GiB" in shown


async def test_labelled_domains_spread_replicas(start: Start) -> None:  # noqa: F811
    """Two nodes an operator puts into one rack are one failure domain for the next rounds:
    a deployment that spreads uses the third node.
    """
    running = await start()
    cli = Group("node", port=running.port)
    agents = [FakeAgent(node=f"n{i}", port=running.port, devices=1) for i in (1, 2, 3)]
    async with agents[0], agents[1], agents[2]:
        for name in ("n1", "n2"):
            await cli.ok("label", name, "failure-domain=rack1")
        await running.apply(deployment(spread=True, min_replicas=2, max_replicas=2))
        replicas = await running.running("chat", 2)
        assert "nodes/n3" in {one.node for one in replicas}


async def test_label_moves_a_deployment_into_its_group(start: Start) -> None:  # noqa: F811
    """A deployment bound to a group waits until an operator's label makes one of a node."""
    running = await start()
    cli = Group("node", port=running.port)
    async with FakeAgent(node="n1", port=running.port), FakeAgent(node="n2", port=running.port):
        await running.apply(deployment(node_groups=["a"]))
        assert not await running.replicas("chat")
        await cli.ok("label", "n2", "group=a")

        async def look() -> bool:
            found = await running.replicas("chat")
            return [one.node for one in found] == ["nodes/n2"]

        await until(look)


async def test_refused_labels_say_which_and_what_to_do(start: Start) -> None:  # noqa: F811
    """Exit 2 and one line: bad words at the command line, bad labels at the control plane, in
    a dry run too; and nothing is set of a list with one at fault.
    """
    running = await start()
    cli = Group("node", port=running.port)
    async with FakeAgent(node="n1", port=running.port):
        for words, said in (
            (("group",), "expected KEY=VALUE to set, or KEY- to take back"),
            (("=a",), "expected KEY=VALUE"),
            (("group=a", "group-"), "given twice"),
            (("host-memory-bytes=much",), "not a size"),
            (("ok=1", "-x=1", "--dry-run"), "No such option"),
            (("ok=1", "bad key=1"), "expected a key of 1 to 63"),
            (("ok=1", "group="), "expected a value of 1 to 63"),
            (("ok=1", "group=", "--dry-run"), "expected a value of 1 to 63"),
        ):
            done = await cli.run("label", "n1", *words)
            assert done.code == 2 and said in done.err, (words, done.err)
        gone = await cli.run("label", "n9", "group=a")
        assert gone.code == 2 and "n9" in gone.err and "next: slacktide node list" in gone.err
        assert not (await running.node("n1")).labels


def test_labels_are_read_in_any_order_and_refused_when_ambiguous() -> None:
    """The first '=' divides; a value may hold others; a trailing '-' takes back."""
    assert read_labels(["b-", "a=1=2", "c=-"]) == ({"a": "1=2", "c": "-"}, ["b"])
    for word in ("", "-", "a", "=b"):
        with pytest.raises(CommandError):
            read_labels([word])
