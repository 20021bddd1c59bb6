"""`slacktide placement whatif --add-nodes` of types that the fleet does not have."""

import asyncio
import json
import shlex

from tests.controlplane.cli.program import slacktide
from tests.controlplane.server.conftest import (
    Running,
    Start,
    start,  # noqa: F401 - the fixture
)


async def whatif(running: Running, *arguments: str):
    return await asyncio.to_thread(
        slacktide, "placement", "whatif", *arguments, endpoint=f"127.0.0.1:{running.port}"
    )


async def test_unknown_type_is_refused_with_a_remedy_that_can_be_followed(
    start: Start,  # noqa: F811 - the fixture
) -> None:
    """On an empty fleet there is no type to name; what the refusal shows is taken as it is."""
    running = await start()
    for asked in ("4xH100", "2xNVIDIA H100:4"):
        refused = await whatif(running, "--add-nodes", asked)
        assert (refused.code, refused.err.count("\n")) == (2, 1)
        assert "has no devices" in refused.err
        assert "name one of them" not in refused.err
        shown = refused.err.split("`")[1]
        done = await whatif(running, *shlex.split(shown), "-o", "json")
        assert done.code == 0, done.err
        supposed = json.loads(done.out)["supposed"]
        assert (supposed["nodesReady"], supposed["devicesReady"]) == (
            (4, 32) if asked == "4xH100" else (2, 8)
        )
