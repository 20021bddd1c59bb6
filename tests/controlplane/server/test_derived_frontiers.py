"""Frontiers nobody measured: derived in the background, used, and outdone by a measurement."""

import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from slacktide.wire.errors import Refusal

from controlplane.feed import StateFeed
from controlplane.rounds.deriving import KEPT_S, FrontierDeriver
from controlplane.rounds.frontier_process import derived
from controlplane.rounds.frontiers import (
    FrontierBook,
    Question,
    Source,
    missing,
    origins,
    replica_frontiers,
    wanted_frontiers,
)
from controlplane.rounds.hardwarefacts import device_of, shape_of
from controlplane.rounds.snapshot import Demand, PlacementSettings, build_snapshot
from planner.hardware.model import MODELS
from planner.interference.frontier import frontier_for
from planner.model import OFFLINE_ONLY, Device, Frontier, Segment, Slo
from storage.codecs import to_json
from storage.database import Database
from storage.forecast_records import FrontierRecord, FrontierSource
from storage.records import (
    DeploymentRecord,
    DeploymentSpec,
    EngineSpec,
    FleetState,
    FleetView,
    NodeRecord,
    SloClassSpec,
)
from storage.store import FleetStore

GIB = 1 << 30
H100 = "NVIDIA H100 80GB HBM3"
LLAMA = EngineSpec(
    model="models/llama-3.1-8b-instruct",
    weights_bytes=16_060_522_496,
    kv_bytes_per_token=131_072,
    max_context_tokens=8192,
)
CHAT = DeploymentRecord(
    id="chat",
    generation=1,
    spec=DeploymentSpec(
        engine=LLAMA, slo=Slo(ttft_ms=1000.0, itl_ms=50.0), min_replicas=1, max_replicas=2
    ),
)
QUICK = FrontierBook(requests=30, levels=1)
FRONTIER = Frontier(
    max_online_work=4321.0, segments=(Segment(alpha=1.0, beta=1.0, gamma=5000.0),), source="p7"
)


def node(kind: str = H100, *, id_: str = "n1") -> NodeRecord:
    """A node of two devices."""
    devices = tuple(Device(index=i, device_type=kind, memory_bytes=72 * GIB) for i in range(2))
    return NodeRecord(id=id_, devices=devices, failure_domain=id_)


def view(*deployments: DeploymentRecord, kind: str = H100) -> FleetView:
    """A fleet of one node."""
    return FleetView(state=FleetState(), nodes=(node(kind),), deployments=deployments)


def engine(**fields: object) -> DeploymentRecord:
    """The deployment with another engine."""
    changed = replace(LLAMA, **fields)  # type: ignore[arg-type]
    return replace(CHAT, spec=replace(CHAT.spec, engine=changed))


@pytest.mark.parametrize(
    ("device_type", "known"),
    [
        (H100, "h100"),
        ("NVIDIA A100-SXM4-80GB", "a100-80gb"),
        ("NVIDIA A100-SXM4-40GB", "a100-40gb"),
        ("NVIDIA A40", "a40"),
        ("NVIDIA H100 PCIe", None),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", None),
        ("NVIDIA A40-48Q", None),
        ("NVIDIA RTX A4000", None),
        ("NVIDIA H200", None),
        ("cpu", None),
    ],
)
def test_device_is_known_only_when_the_sheet_is_its_own(
    device_type: str, known: str | None
) -> None:
    """Other variants have other bandwidth: the reason names the type."""
    found = device_of(device_type, memory_bytes=30 * GIB)
    if known is None:
        assert isinstance(found, str) and repr(device_type) in found
    else:
        assert not isinstance(found, str) and found.name == known


def test_device_is_not_known_when_it_has_more_memory_than_its_sheet() -> None:
    """A name that fits is not enough."""
    assert isinstance(device_of("h100", memory_bytes=141 * 10**9), str)


def test_model_is_known_by_its_sizes_alone() -> None:
    """Every published shape is found by its own; quantised or unlike ones are not."""
    for shape in MODELS:
        spec = replace(LLAMA, weights_bytes=shape.weights_bytes, kv_bytes_per_token=shape.kv_bytes)
        found = shape_of(spec)
        assert not isinstance(found, str)
        assert (found.layers, found.hidden) == (shape.layers, shape.hidden)
    assert isinstance(shape_of(replace(LLAMA, weights_bytes=8_000_000_000)), str)
    assert isinstance(shape_of(replace(LLAMA, kv_bytes_per_token=6144)), str)


@pytest.mark.parametrize(
    ("deployment", "kind", "why"),
    [
        (CHAT, "cpu", "no figures of device type 'cpu'"),
        (engine(weights_bytes=37_600_000, kv_bytes_per_token=6144), H100, "layers of model"),
        (engine(max_context_tokens=512), H100, "hold no request of 1200 tokens"),
        (CHAT, H100, "not derived yet"),
    ],
)
def test_frontier_is_assumed_with_the_reason_when_facts_are_missing(
    deployment: DeploymentRecord, kind: str, why: str
) -> None:
    """The default stays, nothing is invented, and what is lacking is said."""
    seen = view(deployment, kind=kind)
    (origin,) = origins(seen, FrontierBook())
    assert origin.source is Source.ASSUMED and why in origin.why
    assert build_snapshot(seen, Demand()).frontiers == ()
    assert bool(missing(seen, FrontierBook())) is (why == "not derived yet")


def test_each_class_and_shape_is_asked_for_once() -> None:
    """By type, devices and class; deployments alike share one derivation."""
    classes = tuple(
        SloClassSpec(id=id_, slo=Slo(ttft_ms=1000.0, itl_ms=itl))
        for id_, itl in (("tight", 40.0), ("loose", 200.0))
    )
    spec = replace(CHAT.spec, slo_classes=classes, other_tensor_parallel_sizes=(2,))
    chat = replace(CHAT, spec=spec)
    seen = view(chat, replace(chat, id="code"))
    wanted = list(wanted_frontiers(seen, FrontierBook()))
    assert len(wanted) == 2 * 2 * 3
    assert {one.slo_class for one in wanted} == {"tight", "loose", OFFLINE_ONLY}
    assert len(missing(seen, FrontierBook())) == 2 * 3


def test_measured_frontier_wins_and_a_hopeless_one_is_not_believed() -> None:
    """A profile counts over any derivation; no online work at all is no frontier to place by."""
    seen = view(CHAT)
    (wanted,) = wanted_frontiers(seen, FrontierBook())
    assert isinstance(wanted.question, Question)
    other = replace(FRONTIER, max_online_work=1.0, source="derived: x")
    book = FrontierBook(derived={wanted.question.key: other})
    settings = PlacementSettings(frontiers=book)
    snapshot = build_snapshot(seen, Demand(), settings)
    assert frontier_for(snapshot, "chat", H100) == other
    profiled = replace(book, measured={wanted.measured_key: FRONTIER})
    snapshot = build_snapshot(seen, Demand(), PlacementSettings(frontiers=profiled))
    assert frontier_for(snapshot, "chat", H100) == FRONTIER
    assert [one.source for one in origins(seen, profiled)] == [Source.MEASURED]
    assert missing(seen, profiled) == ()
    hopeless = replace(other, max_online_work=0.0)
    assert replica_frontiers(seen, FrontierBook(derived={wanted.question.key: hopeless})) == ()


def test_question_changes_when_anything_it_depends_on_does() -> None:
    """So a derivation of other inputs is never taken for this one's."""
    changed = (
        CHAT,
        engine(kv_cache_tokens=16_384),
        engine(max_running_requests=16),
        engine(chunked_prefill_size=1024),
        replace(CHAT, spec=replace(CHAT.spec, latency_budget_ms=20.0)),
        replace(CHAT, spec=replace(CHAT.spec, slo=Slo(ttft_ms=900.0, itl_ms=50.0))),
    )
    keys = [missing(view(one), FrontierBook())[0].key for one in changed]
    assert len(set(keys)) == len(changed)
    assert keys[0] == missing(view(replace(CHAT, id="other")), FrontierBook())[0].key


@pytest.fixture
def store(tmp_path: Path) -> Iterator[FleetStore]:
    """A node of H100s and a deployment."""
    database = Database.open(f"sqlite:///{tmp_path}/state.db")
    store = FleetStore(database)
    with store.write() as state:
        state.put_node(node())
        state.put_deployment(CHAT)
    yield store
    database.close()


def deriver(store: FleetStore, triggers: list[str], *command: str) -> FrontierDeriver:
    """As a new leader has it."""
    more = {"command": command} if command else {}
    return FrontierDeriver(
        store=store,
        feed=StateFeed(store, store.view()),
        epoch=store.acquire_epoch("cp", now_s=1.0),
        request_round=triggers.append,
        book=QUICK,
        **more,  # type: ignore[arg-type]
    )


async def test_derived_frontier_is_kept_and_used_by_the_next_leader(store: FleetStore) -> None:
    """By the real process; a round is asked for; a later leader reads it and derives nothing."""
    triggers: list[str] = []
    first = deriver(store, triggers)
    (question,) = missing(store.view(), first.book)
    try:
        assert await first.derive(question)
    finally:
        await first.close()
    assert triggers == [f"frontier derived for {question.model} on h100"]
    frontier = first.book.derived[question.key]
    assert frontier == derived(question), "by seed, the same in any process"
    assert frontier.source.startswith("derived: h100 llama3")
    assert "1000+200 tokens assumed" in frontier.source
    assert frontier.max_online_work > 0.0
    second = deriver(store, triggers)
    await second.load()
    assert second.book.derived == {question.key: frontier}
    assert missing(store.view(), second.book) == ()
    snapshot = build_snapshot(store.view(), Demand(), PlacementSettings(frontiers=second.book))
    assert frontier_for(snapshot, "chat", H100) == frontier


async def test_default_stays_when_the_process_fails(
    store: FleetStore, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told once, put off, and neither stored nor asked again at once."""
    bad = deriver(store, [], sys.executable, "-c", "import sys; sys.stdin.readline(); sys.exit(3)")
    (question,) = missing(store.view(), bad.book)
    assert not await bad.derive(question)
    (told,) = [one for one in caplog.records if "frontier_failed" in one.message]
    assert "exit status 3" in told.message
    assert bad._next() is None
    assert bad._child is None
    assert store.list_frontiers() == ()


async def test_unreadable_frontier_is_left_out_when_a_leader_starts(
    store: FleetStore, caplog: pytest.LogCaptureFixture
) -> None:
    """The others are read, and a measured one is told from a derived one."""
    bodies = {
        "a": (FrontierSource.DERIVED, "{oops"),
        "b": (FrontierSource.DERIVED, json.dumps(to_json(FRONTIER))),
        "c": (FrontierSource.MEASURED, json.dumps(to_json(FRONTIER))),
    }
    with store.write() as state:
        for key, (source, body) in bodies.items():
            state.put_frontier(
                FrontierRecord(key=key, source=source, body=body, create_s=1.0, need_s=1.0)
            )
    with caplog.at_level(logging.INFO):
        leader = deriver(store, [])
        await leader.load()
    assert (leader.book.derived, leader.book.measured) == ({"b": FRONTIER}, {"c": FRONTIER})
    assert [one for one in caplog.records if "frontier_unreadable key=a" in one.message]


DAY_S = 86_400.0


def put_derived(store: FleetStore, book: FrontierBook, *, need_s: float) -> None:
    """The frontier of the only question, as an earlier leader stored it."""
    (question,) = missing(store.view(), book)
    body = json.dumps(to_json(FRONTIER))
    with store.write() as state:
        state.put_frontier(
            FrontierRecord(
                key=question.key,
                source=FrontierSource.DERIVED,
                body=body,
                create_s=need_s,
                need_s=need_s,
            )
        )


async def test_frontier_in_use_is_never_dropped_and_found_again_when_applied_soon(
    store: FleetStore,
) -> None:
    """However old; once its deployment is gone it stays for `KEPT_S`, and no longer."""
    leader = deriver(store, [])
    put_derived(store, leader.book, need_s=0.0)
    await leader.load()
    used, gone = store.view(), view()
    deleted_s = 10.0 * KEPT_S
    await leader.tend(used, now_s=deleted_s)
    assert missing(used, leader.book) == ()

    await leader.tend(gone, now_s=deleted_s + KEPT_S - DAY_S)
    assert missing(used, leader.book) == (), "applied again within a week"
    again_s = deleted_s + KEPT_S - DAY_S
    await leader.tend(used, now_s=again_s)

    await leader.tend(gone, now_s=again_s + KEPT_S)
    assert len(store.list_frontiers()) == 1
    await leader.tend(gone, now_s=again_s + KEPT_S + 1.0)
    assert store.list_frontiers() == ()
    assert len(missing(used, leader.book)) == 1, "nor in memory"


async def test_frontiers_are_dropped_by_the_deriver_when_it_has_nothing_to_derive(
    store: FleetStore,
) -> None:
    """Its loop does so by itself, and only as the leader in office."""
    leader = deriver(store, [])
    put_derived(store, leader.book, need_s=0.0)
    with store.write() as state:
        state.put_frontier(
            FrontierRecord(
                key="x", source=FrontierSource.DERIVED, body="{}", create_s=0.0, need_s=0.0
            )
        )
    await leader.load()
    later = deriver(store, [])
    with pytest.raises(Refusal, match="epoch"):
        await leader.run()
    assert len(store.list_frontiers()) == 2
    await later.load()
    running = asyncio.create_task(later.run())
    while len(store.list_frontiers()) == 2:  # noqa: ASYNC110 - bounded by the test's time limit
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.wait((running,))
    assert [one.need_s > 0.0 for one in store.list_frontiers()] == [True]
