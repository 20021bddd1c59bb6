"""Online work by SLO class, from agents' reports to what a round places for."""

from collections.abc import Mapping
from math import exp, inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slacktide.v1 import replica_pb2

from controlplane.rounds.demand import Demand, key_of, online_wanted
from controlplane.telemetry import MOST_WORK, SMOOTHING_S, Telemetry
from planner.model import Slo
from storage.records import DeploymentRecord, DeploymentSpec, EngineSpec, SloClassSpec

CHAT = DeploymentRecord(
    id="chat",
    generation=1,
    spec=DeploymentSpec(
        engine=EngineSpec(model="tiny", weights_bytes=1000, kv_bytes_per_token=1),
        slo=Slo(ttft_ms=500.0, itl_ms=100.0),
        min_replicas=1,
        max_replicas=4,
        slo_classes=tuple(
            SloClassSpec(id=id_, slo=Slo(ttft_ms=500.0, itl_ms=100.0), expected_online_work=work)
            for id_, work in (("tight", 100.0), ("loose", 300.0))
        ),
    ),
)


def _report(work: float, classes: Mapping[str, float] | None = None) -> replica_pb2.ReplicaReport:
    return replica_pb2.ReplicaReport(
        load=replica_pb2.ReplicaLoad(
            online_work=work,
            online_work_by_class=[
                replica_pb2.ClassWork(slo_class=id_, online_work=part)
                for id_, part in (classes or {}).items()
            ],
        )
    )


def _wanted(telemetry: Telemetry, *replicas: str, now_s: float) -> dict[str, float]:
    works = telemetry.online_works(replicas, now_s=now_s)
    online = {key_of("chat", slo_class): work for slo_class, work in works.items()}
    return online_wanted(CHAT, Demand(online_work=online))


def test_demand_splits_as_agents_tell_it_when_they_do() -> None:
    """Two replicas' classes add up; each is placed for by itself."""
    telemetry = Telemetry()
    first, second = {"tight": 500.0, "loose": 200.0}, {"tight": 0.0, "loose": 400.0}
    telemetry.record({"a": _report(700.0, first), "b": _report(400.0, second)}, now_s=0.0)
    assert _wanted(telemetry, "a", "b", now_s=1.0) == {"tight": 500.0, "loose": 600.0}


def test_demand_splits_as_expected_when_no_agent_tells_classes() -> None:
    """An older agent's work is all there, in the proportions of the spec."""
    telemetry = Telemetry()
    telemetry.record({"a": _report(1200.0)}, now_s=0.0)
    assert _wanted(telemetry, "a", now_s=1.0) == {"tight": 300.0, "loose": 900.0}


def test_untold_work_is_the_tightest_classes_when_one_agent_is_older() -> None:
    """What one tells of no class might be of any."""
    telemetry = Telemetry()
    told = _report(700.0, {"tight": 300.0, "loose": 400.0})
    telemetry.record({"a": told, "b": _report(500.0)}, now_s=0.0)
    assert _wanted(telemetry, "a", "b", now_s=1.0) == {"tight": 800.0, "loose": 400.0}


def test_work_of_a_class_is_smoothed_as_the_whole() -> None:
    """The same time constant: shares of classes stay shares of the whole."""
    telemetry = Telemetry()
    telemetry.record({"a": _report(400.0, {"tight": 400.0, "loose": 0.0})}, now_s=0.0)
    telemetry.record({"a": _report(400.0, {"tight": 0.0, "loose": 400.0})}, now_s=5.0)
    kept = 400.0 * exp(-5.0 / SMOOTHING_S)
    assert telemetry.online_works(["a"], now_s=5.0) == {
        "tight": pytest.approx(kept),
        "loose": pytest.approx(400.0 - kept),
        "": pytest.approx(400.0),
    }


def test_classes_are_forgotten_when_reports_name_them_no_more() -> None:
    """An agent of an older release took over: in minutes its work is split as expected again."""
    telemetry = Telemetry()
    telemetry.record({"a": _report(1200.0, {"tight": 1200.0, "loose": 0.0})}, now_s=0.0)
    for second in range(1, 301):
        telemetry.record({"a": _report(1200.0)}, now_s=float(second))
    assert _wanted(telemetry, "a", now_s=300.0) == {
        "tight": pytest.approx(300.0),
        "loose": pytest.approx(900.0),
    }


def test_class_stays_known_when_its_work_is_nothing() -> None:
    """Told to be 0 is not untold."""
    telemetry = Telemetry()
    for second in range(3):
        telemetry.record({"a": _report(0.0, {"tight": 0.0, "loose": 0.0})}, now_s=float(second))
    assert set(telemetry.online_works(["a"], now_s=2.0)) == {"", "tight", "loose"}


@given(
    st.lists(
        st.tuples(st.floats(), st.floats())
        | st.sampled_from([(nan, inf), (-inf, -1.0), (1e300, 2.0 * MOST_WORK)]),
        min_size=1,
        max_size=5,
    )
)
def test_work_is_within_reason_whatever_an_agent_says(said: list[tuple[float, float]]) -> None:
    """No number, less than nothing, more than engines do: none of it reaches a round."""
    telemetry = Telemetry()
    for second, (whole, tight) in enumerate(said):
        telemetry.record({"a": _report(whole, {"tight": tight})}, now_s=float(second))
    works = telemetry.online_works(["a"], now_s=float(len(said)))
    assert set(works) <= {"", "tight"}
    assert all(0.0 <= work <= MOST_WORK * (1 + 1e-9) for work in works.values())
