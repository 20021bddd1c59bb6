"""`slacktide tenant` against a real control plane."""

import yaml

from tests.controlplane.cli.program import Group
from tests.controlplane.server.conftest import (
    Start,
    start,  # noqa: F401 - the fixture
)


async def test_tenant_is_made_changed_listed_and_deleted(start: Start) -> None:  # noqa: F811
    """What is not given stays; a dry run says the same and changes nothing."""
    running = await start()
    cli = Group("tenant", port=running.port)
    assert "TENANT" in await cli.ok("list")
    planned = await cli.ok("set", "research", "--weight", "2", "--dry-run")
    assert "+ weight 2" in planned and "+ quota none" in planned
    assert (await cli.data("list"))["tenants"] == []
    assert await cli.ok("set", "research", "--weight", "2") == planned

    assert "~ quota 1500 ms/s (was none)" in await cli.ok("set", "research", "--quota", "1500")
    assert "no change" in await cli.ok("set", "research", "--quota", "1500")
    await cli.ok("set", "reports")
    listed = (await cli.data("list"))["tenants"]
    assert [one["name"] for one in listed] == ["tenants/reports", "tenants/research"]
    assert [one["weight"] for one in listed] == [1.0, 2.0]
    assert "maxOfflineWork" not in listed[0] and listed[1]["maxOfflineWork"] == 1500.0
    wide = await cli.ok("list", "-o", "wide")
    assert "AGE" in wide and "1500 ms/s" in wide
    assert "AGE" not in await cli.ok("list")
    shown = yaml.safe_load(await cli.ok("describe", "rese", "-o", "yaml"))
    assert shown["maxOfflineWork"] == 1500.0

    assert "~ quota none (was 1500 ms/s)" in await cli.ok("set", "research", "--no-quota")
    assert "quota" in await cli.ok("describe", "research")
    assert "would be deleted" in await cli.ok("delete", "research", "--dry-run")
    assert len((await cli.data("list"))["tenants"]) == 2
    assert "weight 1 and no quota" in await cli.ok("delete", "rese")
    assert [one["name"] for one in (await cli.data("list"))["tenants"]] == ["tenants/reports"]


async def test_refused_tenants_say_which_value_and_what_to_do(
    start: Start,  # noqa: F811
) -> None:
    """Exit 2 and one line with id, value and what is allowed; a dry run refuses the same."""
    running = await start()
    cli = Group("tenant", port=running.port)
    for words, said in (
        (("Upper",), ("Upper",)),
        (("t1", "--weight", "-1"), ("tenant t1", "-1", "must be 0 to")),
        (("t1", "--weight", "nan", "--dry-run"), ("tenant t1", "nan")),
        (("t1", "--weight", "0"), ("tenant t1", "weight 0", "--quota 0")),
        (("t1", "--quota", "-5"), ("tenant t1", "-5", "must be 0 to")),
        (("t1", "--quota", "1", "--no-quota"), ("exclude each other",)),
    ):
        done = await cli.run("set", *words)
        assert done.code == 2 and done.err.count("\n") == 1, (words, done.err)
        for word in said:
            assert word in done.err
    for verb in ("describe", "delete"):
        gone = await cli.run(verb, "t9")
        assert gone.code == 2 and "next: slacktide tenant list" in gone.err
    assert (await cli.data("list"))["tenants"] == []
