"""One run of a simulated replica at a stated online load and budget.

Owns what a run is made of: arrivals, a batch that never ends, the production decision code
between them, and what is read from it. Refuses to choose loads or budgets. Deterministic by
seed: at any rate the same requests arrive in the same order, only sooner or later, so that
runs are compared and not luck.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

from planner.batching.decide import plan_iteration
from planner.batching.state import Budgets, WorkClass
from planner.hardware.machine import Machine
from planner.hardware.oracle import oracle_model
from planner.hardware.truth import ground_truth
from planner.interference.derive_mix import RequestMix, work_of, work_rates
from planner.model import Slo
from planner.replay.capacity import sustained_requests_per_s
from planner.simulation.replay import replay
from planner.simulation.request import SimulatedRequest
from planner.simulation.settings import EngineSettings, Loop
from planner.simulation.workload import ClosedLoop
from planner.slo import attains
from planner.workload.generate import arrivals, rate_steps

_TAIL_RATIO = 0.5  # of the window, in which arrivals go on while its last requests end


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
    def settings(self) -> EngineSettings:
        """SGLang on that machine, under this project's plugin."""
        return EngineSettings(
            kv_tokens=self.kv_tokens,
            chunked_prefill_size=self.engine.chunked_prefill_size,
            max_running_requests=self.engine.max_running_requests,
            mixes=self.engine.mixes,
            loop=Loop.OVERLAP,
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
        settle_s: Simulated before the window.
        window_s: In which requests are sent that count, and offline work is counted.
        seed: Says arrivals, lengths and noise.
    """

    requests_per_s: float
    budgets: Budgets
    settle_s: float
    window_s: float
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one run came to.

    Attributes:
        online_work: Of the requests sent in the window, engine-ms per second.
        offline_work: Done in it, likewise.
        requests: Sent in it.
        attainment_ratio: Share of them that met the SLO; 1 where there were none.
    """

    online_work: float
    offline_work: float
    requests: int
    attainment_ratio: float

    def keeps(self, slo: Slo, *, miss_share: float = 1.0) -> bool:
        """Whether no more requests missed the SLO than this share of those it allows."""
        return 1.0 - self.attainment_ratio <= miss_share * (1.0 - slo.attainment_ratio) + 1e-12


def run(replica: Replica, load: Load, *, slo: Slo | None) -> Seen:
    """Simulates one load.

    Args:
        replica: What serves it.
        load: What it meets.
        slo: That online requests carry and are judged by; None where none arrive.
    """
    online = _online(replica.online, load, slo=slo) if slo is not None else []
    clients = []
    if load.budgets.runs_offline:
        clients = [
            ClosedLoop(
                source=_offline(replica.offline, seed=load.seed),
                in_flight=replica.engine.offline_in_flight,
            )
        ]
    end_s = load.settle_s + load.window_s
    replayed = replay(
        settings=replica.settings,
        policy=plan_iteration,
        model=oracle_model(replica.machine),
        budgets=load.budgets,
        truth=ground_truth(replica.machine, noise_ratio=replica.noise_ratio, seed=load.seed),
        scheduled=online,
        clients=clients,
        from_s=load.settle_s,
        to_s=end_s,
    )
    reference = oracle_model(replica.reference)
    sent = [
        (one.prompt_tokens, one.output_tokens)
        for one in online
        if load.settle_s <= one.at_s < end_s
    ]
    attained = sum(attains(trace, slo) for trace in replayed.online) if slo is not None else 0
    return Seen(
        online_work=work_of(sent, reference=reference) / load.window_s,
        offline_work=work_rates(replica.offline, reference=reference).of(
            prompt_tokens=replayed.offline_prompt_tokens,
            output_tokens=replayed.offline_output_tokens,
        )
        / load.window_s,
        requests=len(replayed.online),
        attainment_ratio=attained / len(replayed.online) if replayed.online else 1.0,
    )


def _online(mix: RequestMix, load: Load, *, slo: Slo) -> list[SimulatedRequest]:
    """Poisson arrivals whose rate wanders as measured on a trace of conversations."""
    if load.requests_per_s <= 0.0:
        return []
    duration_s = load.settle_s + (1.0 + _TAIL_RATIO) * load.window_s
    steps = rate_steps(seed=load.seed, duration_s=duration_s, requests_per_s=load.requests_per_s)
    lengths = random.Random(f"{load.seed}/lengths")
    found = []
    for index, at_s in enumerate(arrivals(steps, random.Random(f"{load.seed}/arrivals"))):
        prompt_tokens, output_tokens = mix.draw(lengths)
        found.append(
            SimulatedRequest(
                rid=f"online-{index:07d}",
                work_class=WorkClass.ONLINE,
                at_s=at_s,
                prompt_tokens=prompt_tokens,
                output_tokens=output_tokens,
                ttft_target_ms=slo.ttft_ms,
                itl_target_ms=slo.itl_ms,
                tpot_target_ms=slo.tpot_ms,
                max_gap_ms=None if slo.tpot_ms is None else slo.gap_ms,
            )
        )
    return found


def _offline(mix: RequestMix, *, seed: int) -> Iterator[SimulatedRequest]:
    """Requests without end."""
    lengths = random.Random(f"{seed}/offline")
    for index in count():
        prompt_tokens, output_tokens = mix.draw(lengths)
        yield SimulatedRequest(
            rid=f"offline-{index:07d}",
            work_class=WorkClass.OFFLINE,
            prompt_tokens=prompt_tokens,
            output_tokens=output_tokens,
        )
