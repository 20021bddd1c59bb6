"""Small fleets for the tests of the fleet's replay."""

from planner.model import Deployment, Device, Node, Slo, Stage
from planner.rollout.budgets import engine_budgets
from planner.simulation.fleet.demand import constant
from planner.simulation.fleet.lengths import drawn_token_work, mean_work_ms
from planner.simulation.fleet.measure import Probing
from planner.simulation.fleet.profile import Level, ReplicaProfile
from planner.simulation.fleet.scenario import FleetScenario, RoundSettings, Service
from planner.simulation.kind import EngineKind
from tests.planner.simulation.simulated_engines import MODEL, settings

SLO = Slo(ttft_ms=2_000.0, tpot_ms=60.0, max_gap_ms=600.0)
GPU = "gpu"


def questions(source):
    """100 to 200 prompt and 10 to 30 output tokens."""
    return source.randint(100, 200), source.randint(10, 30)


def articles(source):
    """200 to 400 prompt and 20 to 40 output tokens."""
    return source.randint(200, 400), source.randint(20, 40)


PROFILE = ReplicaProfile(
    levels=(
        Level(online_work=0.0, offline_work=1000.0),
        Level(online_work=800.0, offline_work=200.0, beside_ratio=0.995, stay_s=1.0),
    ),
    capacity_work=1000.0,
    saturated_ratio=0.5,
    wait_s=2.0,
    queue_work=5_000.0,
)


def node(number, *, devices=1, domain=None, device_type=GPU):
    """A node of that many devices of 80 GB."""
    return Node(
        id=f"n{number}",
        devices=tuple(
            Device(index=i, device_type=device_type, memory_bytes=80 * 10**9)
            for i in range(devices)
        ),
        failure_domain=domain or f"d{number}",
        host_memory_bytes=10**12,
    )


def service(name="chat", *, rate=5.0, profile=PROFILE, **fields):
    """A deployment of 100 ms a request, 500 ms an item."""
    return Service(
        deployment=Deployment(
            **{
                "id": name,
                "model": name,
                "slo": SLO,
                "min_replicas": 1,
                "max_replicas": 8,
                "weights_bytes": 10**10,
                "kv_cache_bytes": 10**10,
                "device_types": (GPU,),
                "stage": Stage.ACTIVE,
                "load_s": 40.0,
                "warm_load_s": 15.0,
                **fields,
            }
        ),
        demand=constant(rate, lengths=questions),
        request_work_ms=100.0,
        item_work_ms=500.0,
        profiles={GPU: profile},
    )


def fleet(*, nodes=3, services=None, **fields):
    """A fleet of single-device nodes over twenty minutes."""
    return FleetScenario(
        **{
            "nodes": tuple(node(i) for i in range(nodes)),
            "services": services or (service(),),
            "duration_s": 1200.0,
            "interval_s": 20.0,
            "rounds": RoundSettings(interval_s=120.0, resplit_s=20.0),
            **fields,
        }
    )


def engine_service(name="chat", *, window_s=20.0, **fields):
    """A deployment with an engine behind it, profiled on it."""
    kind = EngineKind(
        settings=settings(), model=MODEL, truth=lambda _: MODEL.predict_ms, offline_in_flight=8
    )
    item_work = drawn_token_work(MODEL, articles)
    request_ms = mean_work_ms(MODEL, questions)
    profile = Probing(
        kind=kind,
        slo=SLO,
        budgets=engine_budgets(
            slo=SLO, latency_budget_ms=0.0, stage=Stage.ACTIVE, may_run_offline=True
        ),
        lengths=questions,
        items=articles,
        request_work_ms=request_ms,
        item_work=item_work,
        window_s=window_s,
        levels=(0.4, 0.8),
    ).profile()
    base = service(name, profile=profile, **fields)
    return Service(
        deployment=base.deployment,
        demand=constant(0.0, lengths=questions),
        request_work_ms=request_ms,
        item_work_ms=mean_work_ms(MODEL, articles),
        profiles={GPU: profile},
        engines={GPU: kind},
        items=articles,
        item_work=item_work,
    )
