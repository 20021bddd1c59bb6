"""The table in force: from a control plane, from a file, never from a replaced leader."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
from slacktide.v1 import replica_pb2, routing_service_pb2_grpc
from slacktide.v1.routing_service_pb2 import Route, WatchRoutesRequest, WatchRoutesResponse
from slacktide.wire.server import FleetServer

from controlplane.gateway import watch
from controlplane.gateway.book import RouteBook
from controlplane.gateway.tablefile import TableFile


def _table(*, epoch: int = 1, revision: int = 1, share: float = 1.0) -> WatchRoutesResponse:
    return WatchRoutesResponse(
        epoch=epoch,
        revision=revision,
        deployments=["deployments/chat"],
        routes=[
            Route(
                replica="replicas/r1",
                deployment="deployments/chat",
                node="nodes/n1",
                address="127.0.0.1:1",
                online_share=share,
                state=replica_pb2.REPLICA_STATE_RUNNING,
                load=replica_pb2.ReplicaLoad(online_running=3),
            )
        ],
    )


class _FakeControlPlane(routing_service_pb2_grpc.RoutingServiceServicer):
    def __init__(self, *tables: WatchRoutesResponse) -> None:
        self.tables = tables
        self.watchers: list[WatchRoutesRequest] = []
        self.server = FleetServer(["slacktide.v1.RoutingService"])
        routing_service_pb2_grpc.add_RoutingServiceServicer_to_server(self, self.server.grpc)

    async def WatchRoutes(  # type: ignore[override]  # noqa: N802
        self, request: WatchRoutesRequest, context: grpc.aio.ServicerContext[object, object]
    ) -> AsyncIterator[WatchRoutesResponse]:
        self.watchers.append(request)
        for table in self.tables:
            yield table
        await asyncio.Event().wait()

    async def start(self) -> str:
        port = self.server.bind("127.0.0.1:0")
        await self.server.start()
        return f"127.0.0.1:{port}"


@contextlib.asynccontextmanager
async def _watching(book: RouteBook, *addresses: str) -> AsyncIterator[None]:
    task = asyncio.create_task(
        watch.watch_routes(
            addresses,
            request=WatchRoutesRequest(gateway="g1", version="1.2.3", address="here:1"),
            book=book,
            on_table=lambda _: None,
        )
    )
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _until(book: RouteBook, *, epoch: int, revision: int) -> None:
    async with asyncio.timeout(10):
        while (book.table.epoch, book.table.revision) != (epoch, revision):
            await book.wait_change(timeout_s=0.1)


def test_table_is_refused_when_its_epoch_or_revision_is_lower() -> None:
    """Plans of a replaced leader never come back; repeats are taken."""
    book = RouteBook()
    assert book.accept(_table(epoch=2, revision=5), source="a")
    assert not book.accept(_table(epoch=1, revision=9), source="b")
    assert not book.accept(_table(epoch=2, revision=4), source="b")
    assert book.accept(_table(epoch=2, revision=5), source="b")
    assert book.accept(_table(epoch=3, revision=1), source="c")
    assert book.table.epoch == 3


@pytest.mark.parametrize(
    "spoil",
    [
        lambda table: setattr(table.routes[0], "state", 0),
        lambda table: setattr(table.routes[0], "online_share", -1.0),
        lambda table: setattr(table.routes[0], "replica", "r1"),
    ],
)
def test_table_in_force_stays_when_the_next_is_malformed(spoil: object) -> None:
    """A table is taken whole or not at all."""
    book = RouteBook()
    book.accept(_table(revision=1), source="a")
    wrong = _table(revision=2)
    spoil(wrong)  # type: ignore[operator]
    with pytest.raises(ValueError, match="r1"):
        book.accept(wrong, source="a")
    assert book.table.revision == 1


async def test_watch_asks_the_next_control_plane_when_one_is_gone() -> None:
    """Any of several feeds the book, and learns who watches with which version."""
    alive = _FakeControlPlane(_table(revision=7))
    address = await alive.start()
    book = RouteBook()
    async with _watching(book, "127.0.0.1:1", address):
        await _until(book, epoch=1, revision=7)
    (watcher,) = alive.watchers
    assert (watcher.gateway, watcher.version, watcher.address) == ("g1", "1.2.3", "here:1")
    await alive.server.stop(grace_s=0)


async def test_watch_leaves_a_control_plane_when_it_follows_a_replaced_leader() -> None:
    """A lower epoch is refused and another control plane asked."""
    stale = _FakeControlPlane(_table(epoch=1, revision=99))
    fresh = _FakeControlPlane(_table(epoch=2, revision=1), _table(epoch=2, revision=2))
    addresses = [await stale.start(), await fresh.start()]
    book = RouteBook()
    book.accept(_table(epoch=2, revision=1), source="file")
    async with _watching(book, *addresses):
        await _until(book, epoch=2, revision=2)
    await stale.server.stop(grace_s=0)
    await fresh.server.stop(grace_s=0)


async def test_watch_moves_on_when_a_control_plane_is_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Silence longer than the stream's own repeat means a lost control plane."""
    monkeypatch.setattr(watch, "_SILENCE_S", 0.2)
    silent = _FakeControlPlane()
    fresh = _FakeControlPlane(_table(revision=3))
    addresses = [await silent.start(), await fresh.start()]
    book = RouteBook()
    async with _watching(book, *addresses):
        await _until(book, epoch=1, revision=3)
    await silent.server.stop(grace_s=0)
    await fresh.server.stop(grace_s=0)


async def test_table_survives_a_restart_when_it_was_kept(tmp_path: Path) -> None:
    """What was in force is in force again without any control plane; stale load is not."""
    path = tmp_path / "gateway" / "table.json"
    book = RouteBook()
    keeper = asyncio.create_task(TableFile(path).keep(book))
    await asyncio.sleep(0)
    for revision in (1, 2, 3):
        book.accept(_table(epoch=4, revision=revision, share=revision), source="a")
    async with asyncio.timeout(5):
        while True:
            again = RouteBook()
            await asyncio.to_thread(TableFile(path).load_into, again)
            if again.table.revision == 3:
                break
            await asyncio.sleep(0.01)
    keeper.cancel()
    assert again.table == book.table
    assert not again.message.routes[0].HasField("load")
    assert os.listdir(path.parent) == ["table.json"]  # noqa: PTH208 - no drafts are left


@pytest.mark.parametrize("text", ["", "{", '{"routes": 1}', '{"routes": [{"replica": "r1"}]}'])
def test_table_file_is_ignored_when_it_cannot_be_read(tmp_path: Path, text: str) -> None:
    """A broken file is logged and costs nothing but what it held."""
    path = tmp_path / "table.json"
    path.write_text(text)
    book = RouteBook()
    TableFile(path).load_into(book)
    assert book.table.routes == ()


async def test_keeping_goes_on_when_the_disk_refuses(tmp_path: Path) -> None:
    """A table that cannot be written is no reason not to serve it."""
    blocked = tmp_path / "file"
    blocked.write_text("")
    book = RouteBook()
    keeper = asyncio.create_task(TableFile(blocked / "table.json").keep(book))
    book.accept(_table(), source="a")
    await asyncio.sleep(0.1)
    assert not keeper.done()
    keeper.cancel()
