"""What is told of online demand: observed, expected and forecast, each as it is."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.rounds.demand import Demand, online_parts, online_wanted
from controlplane.rounds.explanation import explained
from controlplane.rounds.snapshot import build_snapshot
from planner.model import Allocation, Device, ReplicaState, Slo
from storage.records import (
    AllocationRecord,
    DeploymentRecord,
    DeploymentSpec,
    EngineSpec,
    FleetState,
    FleetView,
    NodeRecord,
    SloClassSpec,
)

ENGINE = EngineSpec(model="tiny", weights_bytes=1000, kv_bytes_per_token=1)
SLO = Slo(ttft_ms=500.0, itl_ms=100.0)
PLAIN = DeploymentRecord(
    id="chat",
    generation=1,
    spec=DeploymentSpec(engine=ENGINE, slo=SLO, min_replicas=1, max_replicas=4),
)
CLASSED = replace(
    PLAIN,
    spec=replace(
        PLAIN.spec,
        slo_classes=(
            SloClassSpec(id="tight", slo=SLO, expected_online_work=100.0),
            SloClassSpec(id="loose", slo=SLO),
        ),
    ),
)


def _said(record: DeploymentRecord, demand: Demand) -> str:
    """The summary where one replica of the default frontier runs."""
    running = Allocation(
        replica="chat-a", deployment="chat", node="n1", devices=(0,), state=ReplicaState.RUNNING
    )
    view = FleetView(
        state=FleetState(),
        nodes=(
            NodeRecord(
                id="n1",
                devices=(Device(index=0, device_type="cpu", memory_bytes=1 << 40),),
                failure_domain="n1",
            ),
        ),
        deployments=(record,),
        allocations=(AllocationRecord(allocation=running, engine=ENGINE, round=1),),
    )
    snapshot = build_snapshot(view, demand)
    return explained(snapshot, "chat", online=online_parts(record, demand)).summary


@pytest.mark.parametrize(
    ("observed", "forecast", "words"),
    [
        (640.0, 1180.0, "of 1200 online (640 observed, 1180 forecast) and"),
        (640.0, 0.0, "of 650 online (640 observed) and"),
        (0.0, 410.0, "of 450 online (0 observed, 410 forecast) and"),
        (0.0, 0.0, "of 0 online and"),
    ],
)
def test_observed_and_forecast_are_told_apart(observed: float, forecast: float, words: str) -> None:
    """Of what is placed for; nothing is said of a forecast that was not made."""
    demand = Demand(online_work={"chat": observed}, forecast={"chat": forecast})
    assert words in _said(PLAIN, demand)


def test_classes_are_told_when_agents_tell_them() -> None:
    """The whole's forecast counts for nothing then, and is not told."""
    demand = Demand(
        online_work={"chat": 900.0, "chat/tight": 500.0, "chat/loose": 250.0},
        forecast={"chat": 2000.0, "chat/tight": 560.0},
    )
    assert (
        "online (900 observed, 100 expected;"
        " tight: 500 observed, 100 expected, 560 forecast; loose: 250 observed) and"
    ) in _said(CLASSED, demand)
    untold = Demand(online_work={"chat": 90.0}, forecast={"chat": 200.0})
    assert "online (90 observed, 100 expected, 200 forecast) and" in _said(CLASSED, untold)


WORK = st.sampled_from([0.0, 40.0, 300.0, 1100.0])


@given(
    st.sampled_from([PLAIN, CLASSED]),
    st.dictionaries(st.sampled_from(["chat", "chat/tight", "chat/loose"]), WORK),
    st.dictionaries(st.sampled_from(["chat", "chat/tight", "chat/loose"]), WORK),
)
def test_what_is_told_is_what_is_placed_for(
    record: DeploymentRecord, observed: dict[str, float], forecast: dict[str, float]
) -> None:
    """The most of the whole's parts, or of each class's where those come to more."""
    demand = Demand(online_work=observed, forecast=forecast)
    whole, *classes = (
        (one, max(one.expected, one.observed, one.forecast)) for one in online_parts(record, demand)
    )
    by_class = sum(most for _, most in classes)
    wanted = sum(online_wanted(record, demand).values())
    if classes:
        unnamed = max(whole[0].observed, record.spec.expected_online_work)
        assert wanted == pytest.approx(max(unnamed, by_class))
    else:
        assert wanted == pytest.approx(whole[1])
