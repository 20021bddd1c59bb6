"""SLO classes at an agent: what a request is held to, what the replica is, what is reported."""

from typing import Any

import grpc
import grpc.aio
import pytest
from agent_kit import AgentUnderTest, make_assignment, until
from controlplane_fake import FakeControlPlane
from hypothesis import given
from hypothesis import strategies as st
from slacktide.v1 import agent_service_pb2, inference_service_pb2, replica_pb2

from nodeagent.assignment import DesiredReplica
from nodeagent.codec import assignment_from_proto
from nodeagent.work import WorkMeter
from planner.batching.state import WorkClass
from planner.latency.predictor import default_model
from planner.model import OFFLINE_ONLY, Device

GAPS_MS = {"interactive": 100, "relaxed": 800}


def _with_classes(slo_class: str, *, revision: int = 2) -> agent_service_pb2.NodeAssignment:
    """r1 held to a class of a deployment of two; its own SLO allows gaps of 500 ms."""
    message = make_assignment(revision=revision)
    (assigned,) = message.replicas
    assigned.replica.slo_class = slo_class
    for name, gap_ms in GAPS_MS.items():
        one = assigned.spec.slo_classes.add(id=name)
        one.slo.ttft.FromMilliseconds(2000)
        one.slo.itl.FromMilliseconds(gap_ms)
    return message


def _desired(slo_class: str) -> DesiredReplica:
    devices = (Device(index=0, device_type="cpu", memory_bytes=1 << 30),)
    (desired,) = assignment_from_proto(_with_classes(slo_class), devices=devices).replicas
    return desired


@pytest.mark.parametrize(
    ("slo_class", "gap_ms"),
    [("interactive", 100), ("relaxed", 800), ("", 100), ("gone", 100), (OFFLINE_ONLY, 800)],
)
def test_replica_is_held_to_its_class(slo_class: str, gap_ms: float) -> None:
    """To the tightest where it serves all or one nobody knows, never to looser than needed."""
    assert _desired(slo_class).slo.itl_ms == gap_ms


@given(asked=st.text(max_size=80), held=st.sampled_from(["", *GAPS_MS, OFFLINE_ONLY]))
def test_request_is_promised_its_own_class_wherever_it_runs(asked: str, held: str) -> None:
    """The SLO of a request is its class's, whatever its replica is held to; else the tightest."""
    name, slo = _desired(held).class_of(asked)
    assert name == (asked if asked in GAPS_MS else "interactive")
    assert slo.itl_ms == GAPS_MS[name]


def test_work_is_counted_by_class_and_adds_up() -> None:
    """The classes' work is the replica's; other classes' and offline work count elsewhere."""
    model = default_model("cpu")
    now_s = 0.0
    meter = WorkMeter(model=lambda: model, clock=lambda: now_s)
    for slo_class, times in (("interactive", 2), ("relaxed", 3)):
        for _ in range(times):
            meter.add(WorkClass.ONLINE, prompt_tokens=10, output_tokens=5, slo_class=slo_class)
    meter.add(WorkClass.OFFLINE, prompt_tokens=10, output_tokens=5)
    rates = meter.online_rates()
    assert set(rates) == {"interactive", "relaxed"}
    assert rates["relaxed"] == pytest.approx(1.5 * rates["interactive"])
    assert sum(rates.values()) == pytest.approx(meter.rate(WorkClass.ONLINE))
    now_s = 100.0
    assert meter.online_rates() == {}


async def _generate(
    agent: AgentUnderTest, slo_class: str, **fields: Any
) -> list[inference_service_pb2.GenerateResponse]:
    request = inference_service_pb2.GenerateRequest(
        deployment="deployments/chat", text="hello", slo_class=slo_class, **fields
    )
    request.sampling.max_tokens = 3
    return [one async for one in agent.stub.Generate(request, timeout=20)]


async def test_engine_is_told_the_slo_of_the_requests_class(
    serving: AgentUnderTest, control_plane: FakeControlPlane
) -> None:
    """Also where a gateway sends a request of a tighter class than the replica is held to; the
    first message names the class, and reports count its work.
    """
    control_plane.send(_with_classes("relaxed"))
    desired = serving.agent._reconciler.find("r1")
    assert desired is not None
    await until(lambda: desired.desired.slo_class == "relaxed")
    first = (await _generate(serving, "relaxed"))[0]
    assert first.served.slo_class == "relaxed"
    through = (await _generate(serving, "interactive", replica="replicas/r1"))[0]
    assert through.served.slo_class == "interactive"
    not_heard_of = (await _generate(serving, "brand-new", replica="replicas/r1"))[0]
    assert not_heard_of.served.slo_class == "interactive"
    bodies = (await serving.seen())["bodies"]
    told = [one["sampling_params"]["custom_params"]["slacktide_itl_ms"] for one in bodies]
    assert told == [800.0, 100.0, 100.0]

    def counted() -> dict[str, float]:
        (report,) = control_plane.reports[-1].replicas
        return {one.slo_class: one.online_work for one in report.load.online_work_by_class}

    await until(lambda: counted().get("relaxed", 0.0) > 0.0)
    await until(lambda: counted()["interactive"] > counted()["relaxed"])


async def test_unknown_class_is_refused_where_no_gateway_did(
    serving: AgentUnderTest, control_plane: FakeControlPlane
) -> None:
    """A direct caller gets INVALID_ARGUMENT with deployment, class and remedy."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await _generate(serving, "gold")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    for word in ("deployment chat", "'gold'", "leave it empty"):
        assert word in (caught.value.details() or "")
    assert not (await serving.seen())["bodies"]
    (report,) = control_plane.reports[-1].replicas
    assert report.state == replica_pb2.REPLICA_STATE_RUNNING
    assert not report.load.online_work_by_class
