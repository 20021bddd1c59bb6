"""`slacktide placement` against a real control plane and scripted agents."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.controlplane.cli.program import Group
from tests.controlplane.server.agent_fake import FakeAgent
from tests.controlplane.server.conftest import (
    Running,
    Start,
    deployment,
    start,  # noqa: F401 - the fixture
    until,
)

MANIFEST = """
name: chat
model: tiny
weights_bytes: 1MiB
kv_bytes_per_token: 1024
slo: {{ttft: 2s, itl: 200ms}}
min_replicas: {replicas}
max_replicas: 3
"""


class House(Group):
    """`slacktide placement` of two nodes of two devices, and one replica of chat."""

    def __init__(self, running: Running) -> None:
        super().__init__("placement", port=running.port)
        self.running = running

    async def replica_on(self, node: str) -> str:
        """Waits until the one replica of chat runs there."""

        async def look() -> str | None:
            found = await self.running.running("chat", 1)
            return found[0].name if found[0].node == f"nodes/{node}" else None

        name: str = await until(look)
        return name.removeprefix("replicas/")


@pytest.fixture
async def house(start: Start) -> AsyncIterator[House]:  # noqa: F811 - the fixture
    running = await start()
    async with FakeAgent(node="n1", port=running.port), FakeAgent(node="n2", port=running.port):
        await running.apply(deployment(max_replicas=3))
        await running.running("chat", 1)
        yield House(running)


async def test_fleet_without_a_plan_says_so(start: Start) -> None:  # noqa: F811
    """Before the first round: one line, exit 2; and the picture is drawn all the same."""
    running = await start()
    empty = House(running)
    shown = await empty.run("show")
    assert shown.code == 2 and shown.err.count("\n") == 1
    assert "no round has placed anything yet" in shown.err
    page = await empty.ok("show", "-o", "html")
    assert "No round has made one yet." in page and "There is no node." in page
    diffed = await empty.run("diff", "1", "now")
    assert (diffed.code, "slacktide status" in diffed.err) == (2, True)
    gone = await empty.run("rollback", "7", "--yes")
    assert (gone.code, gone.err.count("\n")) == (2, 1)


async def test_plan_is_applied_as_it_was_written_and_refused_when_stale(
    house: House, tmp_path: Path
) -> None:
    """Plan -o json > p.json; apply p.json --check-revision: moved, and not a second time."""
    plan = await house.data("plan")
    assert (await house.ok("plan")).startswith("no change")
    (placed,) = plan["placements"]
    home = placed["node"].removeprefix("nodes/")
    away = {"n1": "n2", "n2": "n1"}[home]
    changed = tmp_path / "more.yaml"
    changed.write_text(MANIFEST.format(replicas=2))
    more = await house.ok("plan", "-f", str(changed), "-o", "wide", code=1)
    assert "+ add chat on" in more and "CHANGE" in more

    saved = tmp_path / "p.json"
    saved.write_text(json.dumps(plan))
    applied = await house.ok("apply", str(saved), "--check-revision")
    assert applied.startswith("no change")

    plan = await house.data("plan")
    plan["placements"][0] |= {"node": f"nodes/{away}", "replica": ""}
    saved.write_text(json.dumps(plan))
    applied = await house.ok("apply", str(saved), "--check-revision")
    assert f"+ add chat on {away}" in applied and f"- remove chat on {home}" in applied
    await house.replica_on(away)

    stale = await house.run("apply", str(saved), "--check-revision")
    assert stale.code == 2 and stale.err.count("\n") == 1
    assert str(plan["baseRevision"]) in stale.err
    unasked = await house.run("apply", str(saved))
    assert unasked.code == 2 and "add --yes" in unasked.err


async def test_ledger_is_listed_compared_and_returned_to(house: House) -> None:
    """history, diff, show --plan, rollback: one story of rounds."""
    home = (await house.running.replicas("chat"))[0].node.removeprefix("nodes/")
    listed = await house.data("history", "--notable")
    assert {"outcome", "objective", "gap", "moves", "solveDuration"} <= set(listed["plans"][0])
    table = await house.ok("history", "-o", "wide")
    assert "OUTCOME" in table and "applied" in table and "INPUTS" in table
    one = await house.run("history", "--limit", "1")
    assert len(one.out.splitlines()) == 2

    with_chat = next(
        plan["name"].removeprefix("plans/")
        for plan in listed["plans"]
        if any(move["kind"] == "MOVE_KIND_ADD" for move in plan["moves"])
    )
    assert (await house.ok("diff", with_chat, "now")).startswith("the same placements")
    assert "chat" in await house.ok("show", "--plan", with_chat)
    missing = await house.run("show", "--plan", "999999")
    assert (missing.code, missing.err.count("\n")) == (2, 1)

    # Away by a plan, back by the ledger.
    away = {"n1": "n2", "n2": "n1"}[home]
    plan = await house.data("plan")
    plan["placements"][0] |= {"node": f"nodes/{away}", "replica": ""}
    piped = await house.run("apply", "-", "--check-revision", stdin=json.dumps(plan))
    assert piped.code == 0, piped.err
    await house.replica_on(away)
    moved = await house.ok("diff", with_chat, "now")
    assert "moves: +1 -1" in moved
    asked = await house.run("rollback", with_chat)
    assert asked.code == 2 and "add --yes" in asked.err
    assert f"+ add chat on {home}" in asked.err
    tried = await house.ok("rollback", with_chat, "--dry-run")
    assert f"+ add chat on {home}" in tried
    assert (await house.running.replicas("chat"))[0].node == f"nodes/{away}"
    await house.ok("rollback", with_chat, "--yes", "--freeze")
    await house.replica_on(home)
    assert "frozen: the whole fleet" in await house.ok("show")


async def test_plan_says_that_the_fleet_is_frozen_when_it_would_move(
    house: House, tmp_path: Path
) -> None:
    """In its first line, or on stderr beside data; the exit code stays that of a change."""
    changed = tmp_path / "more.yaml"
    changed.write_text(MANIFEST.format(replicas=2))
    asked = ("plan", "-f", str(changed))
    assert "frozen" not in await house.ok(*asked, code=1)
    await house.ok("freeze", "--reason", "exam week")
    shown = await house.ok(*asked, code=1)
    first = shown.partition("\n")[0]
    assert first.startswith("frozen: the whole fleet since")
    assert first.endswith(
        ": exam week; nothing of this plan is applied until `slacktide placement unfreeze`"
    )
    assert "add chat on" in shown
    told = await house.run(*asked, "-o", "json")
    assert (told.code, told.err) == (1, f"{first}\n")
    assert json.loads(told.out)["moves"]


async def test_holds_are_set_shown_and_taken_back(house: House) -> None:
    """Pins and freezes appear in lists, in the plan and in the picture."""
    home = (await house.running.replicas("chat"))[0].node.removeprefix("nodes/")
    await house.ok("pin", "chat", home, "--reason", "cache <b>is</b> warm")
    assert f"chat        {home}" in await house.ok("pins", "-o", "wide")
    (pin,) = (await house.data("pins"))["pins"]
    assert (pin["deployment"], pin["node"], pin["replicas"]) == (
        "deployments/chat", f"nodes/{home}", 1,
    )  # fmt: skip
    assert "node n2: frozen" in await house.ok("freeze", "--node", "n2", "--reason", "<i>exam</i>")
    assert "deployment chat: frozen" in await house.ok("freeze", "--deployment", "chat")
    both = await house.run("freeze", "--deployment", "chat", "--node", "n1")
    assert (both.code, "one of them" in both.err) == (2, True)
    assert "frozen: node n2" in await house.ok("show", "-o", "wide")

    page = await house.ok("show", "-o", "html")
    root = ElementTree.fromstring(page.partition("\n")[2])
    tiles = [one for one in root.iter("div") if (one.get("class") or "").split()[:1] == ["h"]]
    assert sorted(tile.findtext("p/b") or "" for tile in tiles) == ["n1", "n2"]
    boxes = [one for one in root.iter("span") if "d1" in (one.get("class") or "").split()]
    assert len(boxes) == 1 and "pin" in (boxes[0].get("class") or "")
    frozen = next(tile for tile in tiles if tile.findtext("p/b") == "n2")
    assert "froz" in (frozen.get("class") or "")
    assert "<b>is</b>" not in page and "<i>exam</i>" not in page

    await house.ok("unfreeze", "--node", "n2")
    await house.ok("unfreeze", "--deployment", "chat")
    assert not (await house.data("show"))["freezes"]
    await house.ok("unpin", "chat", home)
    again = await house.run("unpin", "chat", home)
    assert again.code == 2 and "has no pin; next: slacktide placement pins" in again.err
    assert not (await house.data("pins"))["pins"]


async def test_explanation_and_suppositions_are_of_this_fleet(house: House) -> None:
    """Explain names what binds; whatif has today beside the supposed, and stores nothing."""
    before = await house.data("history", "--notable")
    why = await house.data("explain", "ch", "--node", "n1")
    assert why["binding"] and "deployment chat" in why["summary"]
    told = await house.ok("explain", "chat")
    assert told.startswith("deployment chat at revision") and "small changes" in told
    unknown = await house.run("explain", "nobody")
    assert (unknown.code, "there are chat" in unknown.err) == (2, True)

    home = (await house.running.replicas("chat"))[0].node.removeprefix("nodes/")
    arguments = ("--lose-node", home, "--scale-load", "chat=1.5", "--add-nodes", "4xcpu")
    supposed = await house.data("whatif", *arguments)
    assert supposed["now"]["nodesReady"] == 2
    assert supposed["supposed"]["nodesReady"] == 5
    assert supposed["supposed"]["devicesReady"] == 10
    assert not [p for p in supposed["plan"]["placements"] if p["node"] == f"nodes/{home}"]
    table = await house.ok("whatif", *arguments)
    assert "TODAY" in table and "SUPPOSED" in table and "nothing is stored" in table
    twice = await house.run("whatif", "--scale-load", "chat=2,ch=3")
    assert (twice.code, "give one" in twice.err) == (2, True)
    unknown = await house.run("whatif", "--add-nodes", "4xH100")
    assert (unknown.code, unknown.err.count("\n")) == (2, 1)
    assert await house.data("history", "--notable") == before
    assert {one.node for one in await house.running.replicas("chat")} == {f"nodes/{home}"}
