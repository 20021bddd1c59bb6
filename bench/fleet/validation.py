"""The aggregated mode against the exact one, on fleets small enough for both.

Owns the small fleets and the comparison. Refuses tolerances; the figures' targets have them.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import process_time

from planner.hardware.device import device_named
from planner.hardware.machine import build_machine
from planner.hardware.model import model_named
from planner.hardware.simulated import simulated_engine
from planner.model import Deployment, Device, Node, Slo, Stage
from planner.replay.scenario import engine_settings
from planner.rollout.budgets import engine_budgets
from planner.simulation.fleet.demand import Demand, constant
from planner.simulation.fleet.lengths import drawn_token_work, mean_work_ms
from planner.simulation.fleet.measure import Probing
from planner.simulation.fleet.recording import FleetRecord
from planner.simulation.fleet.rounds import GreedyRounds
from planner.simulation.fleet.run import Mode, replay_fleet
from planner.simulation.fleet.scenario import (
    FleetBatch,
    FleetScenario,
    Outage,
    RoundSettings,
    Service,
)
from planner.simulation.kind import EngineKind

_SLO = Slo(ttft_ms=2_000.0, tpot_ms=60.0, max_gap_ms=600.0)
_TIGHT = Slo(ttft_ms=1_000.0, itl_ms=120.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """One small fleet in both modes."""

    name: str
    aggregated: FleetRecord
    exact: FleetRecord
    exact_s: float  # of one core

    @property
    def throughput_ratio(self) -> float:
        """Aggregated over exact, of online and offline work together."""
        return _work(self.aggregated) / max(1e-9, _work(self.exact))

    @property
    def offline_ratio(self) -> float | None:
        """The same of offline work; None of none."""
        done = self.exact.total("offline_work_ms")
        return self.aggregated.total("offline_work_ms") / done if done else None

    @property
    def attainment_points(self) -> float:
        """Aggregated less exact, in points of 100."""
        return 100.0 * (self.aggregated.attainment_ratio - self.exact.attainment_ratio)


def compare(name: str, scenario: FleetScenario) -> Compared:
    """Replays a fleet in both modes, rounds by the greedy."""
    aggregated = replay_fleet(scenario, rounds=GreedyRounds())
    began_s = process_time()
    exact = replay_fleet(scenario, rounds=GreedyRounds(), mode=Mode.EXACT)
    return Compared(name=name, aggregated=aggregated, exact=exact, exact_s=process_time() - began_s)


def small_fleets(
    *, probe_s: float = 120.0, duration_s: float = 600.0, seed: int = 0
) -> Mapping[str, FleetScenario]:
    """Small fleets by name: what each is about."""
    chat = service("chat", model="llama2-7b", devices=("a100-40gb",), slo=_SLO, probe_s=probe_s)
    full = chat.profiles["a100-40gb"].capacity_work / chat.request_work_ms
    base = FleetScenario(
        nodes=tuple(node(i, "a100-40gb") for i in range(3)),
        services=(at(chat, 1.2 * full),),
        batches=(FleetBatch(id="b", deployment="chat", items=1_000_000),),
        duration_s=duration_s,
        interval_s=20.0,
        rounds=RoundSettings(interval_s=60.0, resplit_s=20.0),
        begins_loaded=True,
        seed=seed,
    )
    steps = [full * (0.4 + 1.6 * (i + 0.5) / 30) for i in range(30)]
    rising = Demand(rates=tuple(steps), step_s=duration_s / 30, lengths=chat.demand.lengths)
    mixed = service(
        "code", model="llama3-8b", devices=("h100", "a100-80gb"), slo=_TIGHT, probe_s=probe_s
    )
    code_full = mixed.profiles["a100-80gb"].capacity_work / mixed.request_work_ms
    return {
        "steady load, endless batch": base,
        "light load alone": replace(base, services=(at(chat, 0.6 * full),), batches=()),
        "heavy load, endless batch": replace(base, services=(at(chat, 2.1 * full),)),
        "at its limit": replace(base, services=(at(chat, 2.7 * full),)),
        "load rises fivefold": replace(
            base, begins_loaded=False, services=(replace(chat, demand=rising),)
        ),
        "a node fails and returns": replace(
            base,
            outages=(Outage(nodes=("n1",), at_s=duration_s / 3, for_s=duration_s / 3),),
        ),
        "batches with deadlines": replace(
            base,
            batches=tuple(
                FleetBatch(
                    id=f"b{i}",
                    deployment="chat",
                    items=300,
                    submit_s=60.0 * i,
                    deadline_s=duration_s * (0.6 + 0.1 * i),
                    tenant=f"t{i % 2}",
                )
                for i in range(4)
            ),
        ),
        "two models, two types": replace(
            base,
            nodes=(
                node(0, "a100-40gb"), node(1, "a100-40gb"), node(2, "h100"), node(3, "a100-80gb"),
            ),
            services=(at(chat, 1.0 * full), at(mixed, 1.1 * code_full)),
            batches=(*base.batches, FleetBatch(id="c", deployment="code", items=1_000_000)),
        ),
        "beyond what it bears": replace(base, services=(at(chat, 3.3 * full),)),
    }  # fmt: skip


def service(
    name: str, *, model: str, devices: tuple[str, ...], slo: Slo, probe_s: float
) -> Service:
    """A deployment profiled on each of the devices; nothing comes to it yet."""
    kinds = {device: _kind(model, device) for device in devices}
    reference = kinds[devices[0]].model
    request_ms = mean_work_ms(reference, _questions)
    item_work = drawn_token_work(reference, _articles)
    budgets = engine_budgets(
        slo=slo, latency_budget_ms=0.0, stage=Stage.ACTIVE, may_run_offline=True
    )
    shape = model_named(model)
    return Service(
        deployment=Deployment(
            id=name,
            model=model,
            slo=slo,
            min_replicas=1,
            max_replicas=8,
            weights_bytes=shape.weights_bytes,
            kv_cache_bytes=int(8e9),
            device_types=devices,
            stage=Stage.ACTIVE,
            load_s=40.0,
            warm_load_s=15.0,
        ),
        demand=constant(0.0, lengths=_questions),
        request_work_ms=request_ms,
        item_work_ms=mean_work_ms(reference, _articles),
        profiles={
            device: Probing(
                kind=kind,
                slo=slo,
                budgets=budgets,
                lengths=_questions,
                items=_articles,
                request_work_ms=request_ms,
                item_work=item_work,
                window_s=probe_s,
            ).profile()
            for device, kind in kinds.items()
        },
        engines=kinds,
        items=_articles,
        item_work=item_work,
    )


def at(one: Service, requests_per_s: float) -> Service:
    """The service at a constant rate."""
    return replace(one, demand=constant(requests_per_s, lengths=one.demand.lengths))


def node(number: int, device_type: str) -> Node:
    """A node with one device."""
    memory_bytes = int(device_named(device_type).memory_bytes)
    return Node(
        id=f"n{number}",
        devices=(Device(index=0, device_type=device_type, memory_bytes=memory_bytes),),
        failure_domain=f"d{number}",
        host_memory_bytes=1 << 38,
    )


def _kind(model: str, device: str) -> EngineKind:
    machine = build_machine(device_named(device), model_named(model))
    return simulated_engine(machine, settings=engine_settings(machine, chunked_prefill_size=512))


def _questions(source: random.Random) -> tuple[int, int]:
    return _drawn(source, prompt_tokens=600.0, output_tokens=100.0)


def _articles(source: random.Random) -> tuple[int, int]:
    return _drawn(source, prompt_tokens=1500.0, output_tokens=150.0)


def _drawn(source: random.Random, *, prompt_tokens: float, output_tokens: float) -> tuple[int, int]:
    """Log-normal lengths of about these means, spread by half."""
    prompt = max(1, int(0.88 * prompt_tokens * source.lognormvariate(0.0, 0.5)))
    output = max(2, int(0.88 * output_tokens * source.lognormvariate(0.0, 0.5)))
    return min(3000, prompt), min(900, output)


def _work(record: FleetRecord) -> float:
    return record.total("online_work_ms") + record.total("offline_work_ms")
