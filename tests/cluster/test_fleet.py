"""The whole fleet: real processes, real engines, no request lost whatever happens.

The tests share one fleet and each leaves it as it found it: all processes running, and
"chat" with a replica on either node. How a second deployment comes beside it is part of
`test_load_shift`, which runs after these.
"""

import time
from pathlib import Path

import grpc
import pytest
from fleet_under_test import FleetUnderTest, under_load
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from slacktide.v1.placement_pb2 import PLAN_STATUS_UNSPECIFIED
from slacktide.v1.placement_service_pb2 import GetPlacementRequest
from slacktide.v1.replica_pb2 import REPLICA_STATE_LOST
from slacktide.wire.version import build_version

from controlplane.client import CALL_DEADLINE_S
from controlplane.localfleet.readiness import list_nodes, wait_until
from controlplane.localfleet.release import build_wheel, install_release
from controlplane.localfleet.upgrade import UpgradeOptions, upgrade
from planner.rollout.upgrade import ProcessKind

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).parents[2]
LEASE_S = 10.0


@pytest.mark.parametrize("kind", list(ProcessKind))
def test_process_answers_a_generic_client_when_asked(
    fleet: FleetUnderTest, kind: ProcessKind
) -> None:
    """Reflection lists the services, health says SERVING, without our stubs."""
    with grpc.insecure_channel(fleet.process(kind).address) as channel:
        ask = reflection_pb2.ServerReflectionRequest(list_services="")
        answers = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(
            iter([ask]), timeout=CALL_DEADLINE_S
        )
        names = {s.name for s in next(answers).list_services_response.service}
        assert any(name.startswith("slacktide.v1.") for name in names)
        for name in ("", *(n for n in names if n.startswith("slacktide."))):
            request = health_pb2.HealthCheckRequest(service=name)
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=CALL_DEADLINE_S)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING, name


def test_batch_completes_beside_online_load_when_all_is_well(
    fleet: FleetUnderTest, tmp_path: Path
) -> None:
    """The main job: both nodes serve, nothing fails, every line is there, the plan is shown."""
    assert {r.node for r in fleet.running("chat")} == {"nodes/n1", "nodes/n2"}
    with under_load(fleet) as load:
        fleet.submit(tmp_path, count=60).require_exact()
    assert not load.failures
    assert len({r.replica for r in load.records}) == 2
    with fleet.client() as client:
        plan = client.placement.GetPlacement(GetPlacementRequest(), timeout=CALL_DEADLINE_S).plan
    assert plan.status != PLAN_STATUS_UNSPECIFIED
    assert plan.gap >= 0


def test_batch_completes_when_the_control_plane_is_killed(
    fleet: FleetUnderTest, tmp_path: Path
) -> None:
    """Kill -9: no online request fails, and what was committed is neither lost nor doubled."""
    with under_load(fleet) as load:
        batch = fleet.submit(tmp_path, count=120, seed=2)
        batch.wait(lambda b: b.counts.succeeded > 0)
        fleet.kill(fleet.process(ProcessKind.CONTROL_PLANE))
        time.sleep(LEASE_S / 2)  # requests flow without any control plane
        fleet.revive()
        batch.require_exact()
    assert not load.failures
    fleet.settle()


def test_batch_completes_elsewhere_when_an_agent_is_killed(
    fleet: FleetUnderTest, tmp_path: Path
) -> None:
    """SIGKILL of an agent: no engine survives, its replica is LOST, its items run elsewhere."""
    batch = fleet.submit(tmp_path, count=150, seed=3)
    batch.wait(lambda b: b.counts.leased > 0)
    victim = fleet.process(ProcessKind.AGENT, "n1")
    lost = {r.name for r in fleet.running("chat") if r.node == "nodes/n1"}
    engines = fleet.kill(victim)
    killed_s = time.monotonic()
    assert engines

    def engines_left() -> str:
        return ", ".join(str(e.pid) for e in engines if e.is_running() and e.status() != "zombie")

    wait_until("engines of n1 end", engines_left, timeout_s=10)
    wait_until(
        "replica is lost",
        lambda: ", ".join(
            r.name for r in fleet.replicas() if r.name in lost and r.state != REPLICA_STATE_LOST
        ),
        timeout_s=LEASE_S + 10,
    )
    assert time.monotonic() - killed_s < LEASE_S + 10
    batch.require_exact()
    fleet.revive()
    fleet.settle()


def test_upgrade_loses_no_request_when_every_process_is_replaced(
    fleet: FleetUnderTest, tmp_path: Path
) -> None:
    """A rolling upgrade under load: zero failures, every version changed, nothing cordoned."""
    version = f"{build_version()}.post1"
    releases = fleet.state_dir / "releases"
    release = install_release(
        build_wheel(ROOT, version=version, into=releases / "wheels"), releases_dir=releases
    )
    before = {p.pid for p in fleet.record.processes}
    with under_load(fleet) as load:
        batch = fleet.submit(tmp_path, count=40, seed=4)
        upgrade(fleet.state_dir, release=release, options=UpgradeOptions(), tell=print)
        batch.require_exact()
    assert not load.failures
    assert {p.version for p in fleet.record.processes} == {version}
    assert before.isdisjoint({p.pid for p in fleet.record.processes})
    with fleet.client() as client:
        nodes = list_nodes(client)
    assert {(n.agent_version, n.cordoned) for n in nodes} == {(version, False)}
