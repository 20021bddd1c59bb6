"""The replica a frontier is derived of, at one level of online load.

Owns how its engine is started, and the arrivals and the batch it meets. Refuses to choose
loads or budgets, and to judge: `simulation.probe` does. Deterministic by seed: at any rate
the same requests arrive in the same order, only sooner or later, so that runs are compared
and not luck.
"""

import random
from dataclasses import dataclass

from planner.batching.state import Budgets
from planner.hardware.machine import Machine
from planner.hardware.oracle import oracle_model
from planner.hardware.simulated import simulated_engine
from planner.interference.derive_mix import RequestMix, work_of
from planner.latency.work import token_work
from planner.model import Slo
from planner.replay.capacity import sustained_requests_per_s
from planner.simulation.kind import EngineKind
from planner.simulation.probe import Seen, Window, batch, labelled, probe
from planner.simulation.settings import EngineSettings, Loop
from planner.workload.generate import arrivals, rate_steps, requests_at
from planner.workload.request import WorkloadRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """How a replica's engine is started; as agents do where a deployment does not say.

    Attributes:
        kv_cache_tokens: As many as the machine holds at most.
        max_running_requests: Past admission.
        chunked_prefill_size: Prompt tokens of a pass.
        mixes: Whether decodes run beside prompts.
        offline_in_flight: Offline requests it holds at once: the agent's window.
    """

    kv_cache_tokens: int = 32_768
    max_running_requests: int = 32
    chunked_prefill_size: int = 512
    mixes: bool = True
    offline_in_flight: int = 16


AGENTS_ENGINE = Engine()


@dataclass(frozen=True, slots=True, kw_only=True)
class Replica:
    """What is simulated.

    Attributes:
        machine: The devices and the model they share.
        reference: Work is counted on it; see `planner.model.ReplicaFrontier`.
        online: Requests with an SLO.
        offline: Requests of the batches.
        engine: Between them.
        noise_ratio: Of iterations, as `ground_truth` takes it.

    Raises:
        ValueError: A request does not fit the model's context or the engine's KV.
    """

    machine: Machine
    reference: Machine
    online: RequestMix
    offline: RequestMix
    engine: Engine
    noise_ratio: float = 0.03

    def __post_init__(self) -> None:
        allowed = min(self.machine.model.context_tokens, self.kv_tokens)
        for kind, mix in (("online", self.online), ("offline", self.offline)):
            if mix.longest_tokens > allowed:
                raise ValueError(
                    f"{self.machine.name}: an {kind} request has {mix.longest_tokens} tokens, "
                    f"context and KV allow {allowed}; cut the mix, or give more KV"
                )

    @property
    def kv_tokens(self) -> int:
        """KV of its engine."""
        return min(self.engine.kv_cache_tokens, self.machine.kv_tokens)

    @property
    def kind(self) -> EngineKind:
        """SGLang on that machine, under this project's plugin."""
        return simulated_engine(
            self.machine,
            settings=EngineSettings(
                kv_tokens=self.kv_tokens,
                chunked_prefill_size=self.engine.chunked_prefill_size,
                max_running_requests=self.engine.max_running_requests,
                mixes=self.engine.mixes,
                loop=Loop.OVERLAP,
            ),
            offline_in_flight=self.engine.offline_in_flight,
            noise_ratio=self.noise_ratio,
        )

    def sustained_rate(self, mix: RequestMix) -> float:
        """Requests of a mix per second at which queues begin to grow."""
        context = mix.prompt_tokens + mix.output_tokens / 2.0
        rows = min(self.engine.max_running_requests, int(self.kv_tokens / context))
        return sustained_requests_per_s(
            self.machine,
            prompt_tokens=mix.prompt_tokens,
            output_tokens=mix.output_tokens,
            max_running_requests=max(1, rows),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What a replica meets in one run.

    Attributes:
        requests_per_s: Mean online rate, >= 0.
        budgets: Of the plugin; not enabled: online alone.
        window: In which requests are sent that count, and offline work is counted.
        seed: Says arrivals, lengths and noise.
    """

    requests_per_s: float
    budgets: Budgets
    window: Window
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """One level of online load, simulated.

    Attributes:
        load: What the replica met.
        online_work: Of the requests sent in the window, engine-ms per second.
        seen: What that came to.
    """

    load: Load
    online_work: float
    seen: Seen


def run(replica: Replica, load: Load, *, slo: Slo | None) -> Level:
    """Simulates one load.

    Args:
        replica: What serves it.
        load: What it meets.
        slo: That online requests carry and are judged by; None where none arrive.
    """
    reference = oracle_model(replica.reference)
    window = load.window
    drawn = _drawn(replica.online, load) if slo is not None else []
    clients = []
    if load.budgets.runs_offline:
        clients = [
            batch(
                replica.offline.draw,
                source=random.Random(f"{load.seed}/offline"),
                in_flight=replica.engine.offline_in_flight,
            )
        ]
    seen = probe(
        replica.kind,
        window=window,
        budgets=load.budgets,
        slo=slo,
        item_work=token_work(reference, replica.offline.sizes),
        online=labelled(drawn, slo=slo) if slo is not None else (),
        clients=clients,
        seed=load.seed,
    )
    sent = [
        (one.prompt_tokens, one.output_tokens)
        for one in drawn
        if window.settle_s <= one.at_s < window.end_s
    ]
    online_work = work_of(sent, reference=reference) / window.length_s
    return Level(load=load, online_work=online_work, seen=seen)


def _drawn(mix: RequestMix, load: Load) -> list[WorkloadRequest]:
    """Poisson arrivals whose rate wanders as measured on a trace of conversations."""
    if load.requests_per_s <= 0.0:
        return []
    steps = rate_steps(
        seed=load.seed,
        duration_s=load.window.arrivals_until_s,
        requests_per_s=load.requests_per_s,
    )
    return list(
        requests_at(
            arrivals(steps, random.Random(f"{load.seed}/arrivals")),
            lengths=mix.draw,
            source=random.Random(f"{load.seed}/lengths"),
        )
    )
