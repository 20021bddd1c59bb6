"""Headroom on the page of the fleet: from the wire, and of a real control plane."""

import asyncio

from slacktide.v1 import placement_service_pb2

from controlplane.cli.fleetpage_words import box_words
from tests.controlplane.cli.program import slacktide
from tests.controlplane.cli.test_fleet_page_read import drawn, replica
from tests.controlplane.server.agent_fake import FakeAgent
from tests.controlplane.server.conftest import (
    Start,
    deployment,
    start,  # noqa: F401 - the fixture
)


def test_box_has_the_headroom_the_control_plane_tells() -> None:
    """By replica; one the answer does not name stays not known, and so does every one of a
    control plane that tells none.
    """
    told = placement_service_pb2.GetPlacementResponse(
        frontier_shares=[
            placement_service_pb2.FrontierShare(
                replica="replicas/r-1", online_ratio=0.25, offline_ratio=0.5, source="default"
            )
        ]
    )
    replicas = [replica("r-1"), replica("r-2", device_indices=[1])]
    first, second = drawn(replicas=replicas, placement=told).hosts[0].boxes
    assert (first.online_ratio, first.offline_ratio, first.headroom) == (0.25, 0.5, 0.25)
    assert second.headroom is None
    assert "SLO class" not in box_words(first)
    held = drawn(replicas=[replica("r-1", slo_class="offline-only")]).hosts[0].boxes[0]
    assert "held to SLO class offline-only" in box_words(held)
    assert all(box.headroom is None for box in drawn(replicas=replicas).hosts[0].boxes)


async def test_page_of_a_live_fleet_says_what_is_left(start: Start) -> None:  # noqa: F811
    """350 of 700 engine-ms/s are planned on the one replica: half is left."""
    running = await start()
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment(expected_online_work=350.0))
        await running.running("chat", 1)
        shown = await asyncio.to_thread(
            slacktide, "placement", "show", "-o", "html", endpoint=f"127.0.0.1:{running.port}"
        )
    assert shown.code == 0, shown.err
    assert "frontier: online 50 %, offline 0 %, headroom 50 %" in shown.out
