"""The store hangs, breaks or is damaged: leases and routes go on, and so does the process."""

import asyncio
import sqlite3
import uuid
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from slacktide.v1 import (
    batch_pb2,
    batch_service_pb2,
    batch_service_pb2_grpc,
    item_service_pb2,
    item_service_pb2_grpc,
    node_pb2,
    node_service_pb2,
)

from tests.controlplane.server.agent_fake import FakeAgent
from tests.controlplane.server.conftest import Running, Start, deployment, new_id, until, watching


async def test_leases_and_routes_hold_when_the_database_is_locked(
    start: Start, tmp_path: Path
) -> None:
    """A lock longer than the lease loses no node, no route and no acknowledged change."""
    running = await start(lease_s=1.0, round_interval_s=0.2)
    async with FakeAgent(node="n1", port=running.port) as agent, watching(running) as routes:
        await running.apply(deployment())
        (replica,) = await running.running("chat", 1)
        locked = sqlite3.connect(tmp_path / "state" / "state.db", isolation_level=None)
        locked.execute("BEGIN IMMEDIATE")
        agent.replicas[replica.name.removeprefix("replicas/")] = 5  # DRAINING: to be stored
        grants = agent.grants
        applying = asyncio.create_task(running.apply(deployment("code")))
        await asyncio.sleep(3.0)  # three leases
        assert agent.grants > grants + 20
        assert agent.error is None
        assert (await running.node("n1")).state == node_pb2.NODE_STATE_READY
        async with watching(running, "g2") as more:
            async with asyncio.timeout(2):
                async for table in more:
                    assert [one.replica for one in table.routes] == [replica.name]
                    break
        assert not applying.done()
        agent.replicas[replica.name.removeprefix("replicas/")] = 3
        locked.execute("ROLLBACK")
        await applying
        await running.running("code", 1)
        assert (await running.node("n1")).state == node_pb2.NODE_STATE_READY
        del routes


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.OperationalError("disk I/O error"),
        sqlite3.DatabaseError("database disk image is malformed"),
        ZeroDivisionError("a defect"),
    ],
)
async def test_every_task_goes_on_when_the_database_fails_in_any_way(
    start: Start, error: Exception
) -> None:
    """Rounds, keeper, feed, batches, sessions and notes outlive it, and work after it."""
    running = await start(round_interval_s=0.2, lease_s=3.0)
    engine = running.plane._database.engine
    is_broken = False

    def fail(*_: object) -> None:
        if is_broken:
            raise error

    async with FakeAgent(node="n1", port=running.port) as agent, watching(running) as routes:
        await routes.read()
        sa.event.listen(engine, "before_cursor_execute", fail)
        is_broken = True
        grants = agent.grants
        running.plane._rounds.request("test")
        running.plane._worker.wake()
        with pytest.raises(grpc.aio.AioRpcError):
            await running.apply(deployment())
        await asyncio.sleep(2.5)
        assert not running.task.done()
        assert agent.grants > grants
        assert (await running.node("n1")).state == node_pb2.NODE_STATE_READY
        is_broken = False
        await running.apply(deployment())
        await running.running("chat", 1)
        await _submitted(running)


async def test_round_runs_when_a_batch_wants_work_and_when_it_wants_none_any_more(
    start: Start,
) -> None:
    """Offline demand is planned for at once, not with the next periodic round."""
    running = await start(round_interval_s=3600.0)
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment(stage=4))
        await running.running("chat", 1)
        name = await _submitted(running)
        await until(lambda: _triggered(running, f"batch {name} in_progress"))
        batches = batch_service_pb2_grpc.BatchServiceStub(running.channel)
        await batches.CancelBatch(
            batch_service_pb2.CancelBatchRequest(name=f"batches/{name}", request_id=new_id())
        )
        await until(lambda: _triggered(running, f"batch {name} published"))


@pytest.mark.parametrize(("is_drained", "losses"), [(True, 0), (False, 1)])
async def test_item_is_blamed_when_its_node_is_lost_unless_it_was_drained(
    start: Start, is_drained: bool, losses: int
) -> None:
    """A node that goes as asked says nothing of the items it ran."""
    running = await start(lease_s=1.0)
    items = item_service_pb2_grpc.ItemServiceStub(running.channel)
    async with FakeAgent(node="n1", port=running.port):
        await running.apply(deployment(stage=4))
        (replica,) = await running.running("chat", 1)
        await _submitted(running)
        pulled = await items.PullItems(
            item_service_pb2.PullItemsRequest(
                node="nodes/n1", replica=replica.name, max_items=8, epoch=running.plane.epoch
            )
        )
        assert len(pulled.items) == 1
        if is_drained:
            await running.nodes.DrainNode(
                node_service_pb2.DrainNodeRequest(name="nodes/n1", request_id=new_id(), force=True),
                timeout=30,
            )

    async def lost() -> bool:
        return (await running.node("n1")).state == node_pb2.NODE_STATE_LOST

    await until(lost)
    with running.plane._database.read() as connection:
        row = connection.exec_driver_sql("SELECT state, losses, attempt FROM items").one()
    assert tuple(row) == ("pending", losses, 1)


async def _submitted(running: Running) -> str:
    """A batch of one line, in progress; its bare id."""
    batches = batch_service_pb2_grpc.BatchServiceStub(running.channel)
    line = (
        b'{"custom_id": "c", "method": "POST", "url": "/v1/completions", "body": {"prompt": "x"}}'
    )
    uploaded = await batches.UploadInput(
        iter([batch_service_pb2.UploadInputRequest(request_id=str(uuid.uuid4()), content=line)])
    )
    created = await batches.CreateBatch(
        batch_service_pb2.CreateBatchRequest(
            deployment="deployments/chat", input_uri=uploaded.input_uri, request_id=new_id()
        )
    )

    async def begun() -> bool:
        answer = await batches.GetBatch(batch_service_pb2.GetBatchRequest(name=created.batch.name))
        return bool(answer.batch.state == batch_pb2.BATCH_STATE_IN_PROGRESS)

    await until(begun)
    return str(created.batch.name.removeprefix("batches/"))


async def _triggered(running: Running, trigger: str) -> bool:
    last: Any = running.plane._log.last
    return last is not None and trigger in last.trigger
