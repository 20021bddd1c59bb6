"""Deployments of the bench in families: a model, its devices, its SLO, and its profiles.

Owns what replicas are, and their profiles on the engine simulator, with measured operator
tables where the traces' folder has them. Refuses demand and fleets.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from bench.hygen.settings import traces_folder
from planner.hardware.device import device_named
from planner.hardware.machine import Machine, build_machine
from planner.hardware.model import model_named
from planner.hardware.operators import table_names
from planner.hardware.simulated import simulated_engine
from planner.model import Slo, Stage
from planner.replay.scenario import engine_settings
from planner.rollout.budgets import engine_budgets
from planner.simulation.fleet.lengths import drawn_token_work, mean_work_ms
from planner.simulation.fleet.measure import Probing
from planner.simulation.fleet.profile import ReplicaProfile
from planner.simulation.kind import EngineKind
from planner.workload.generate import azure_lengths
from planner.workload.offline import arxiv_summarization

_CONTEXT = 4096
# Of the TPOT target, as a profile would set it: on these engines 0.75 keeps 99 % at three
# quarters of the saturated load, where the derived half leaves up to a third of the room.
_BUDGET_RATIO = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """Deployments alike: a model, its devices and its SLO."""

    model: str
    tensor_parallel_size: int
    device_types: tuple[str, ...]
    slo: Slo


_CHAT = Slo(ttft_ms=2_000.0, tpot_ms=60.0, max_gap_ms=600.0)
_RELAXED = Slo(ttft_ms=4_000.0, tpot_ms=100.0, max_gap_ms=1_000.0)
_ALL, _LARGE = ("h100", "a100-80gb", "a40"), ("h100", "a100-80gb")
FAMILIES = (
    Family(model="llama3-8b", tensor_parallel_size=1, device_types=_ALL, slo=_CHAT),
    Family(model="llama2-7b", tensor_parallel_size=1, device_types=_ALL, slo=_RELAXED),
    Family(model="llama2-13b", tensor_parallel_size=1, device_types=_LARGE, slo=_CHAT),
    Family(model="qwen-14b", tensor_parallel_size=1, device_types=_LARGE, slo=_RELAXED),
    Family(model="yi-34b", tensor_parallel_size=2, device_types=_LARGE, slo=_RELAXED),
    Family(model="llama3-70b", tensor_parallel_size=4, device_types=_LARGE, slo=_RELAXED),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profiled:
    """A family with what its replicas bear, and the work of its requests."""

    family: Family
    profiles: Mapping[str, ReplicaProfile]
    request_work_ms: float
    item_work_ms: float


def profile(index: int, probe_s: float) -> Profiled:
    """What replicas of one of `FAMILIES` bear, each probe that long."""
    family = FAMILIES[index]
    kinds = {device: _kind(family, device) for device in family.device_types}
    reference = kinds[family.device_types[0]].model
    item_work = drawn_token_work(reference, item_lengths)
    request_ms = mean_work_ms(reference, online_lengths)
    budgets = engine_budgets(
        slo=family.slo,
        latency_budget_ms=budget_ms(family.slo),
        stage=Stage.ACTIVE,
        may_run_offline=True,
    )
    return Profiled(
        family=family,
        profiles={
            device: Probing(
                kind=kind,
                slo=family.slo,
                budgets=budgets,
                lengths=online_lengths,
                items=item_lengths,
                request_work_ms=request_ms,
                item_work=item_work,
                window_s=probe_s,
            ).profile()
            for device, kind in kinds.items()
        },
        request_work_ms=request_ms,
        item_work_ms=mean_work_ms(reference, item_lengths),
    )


def budget_ms(slo: Slo) -> float:
    """The latency budget of replicas that serve it."""
    assert slo.tpot_ms is not None  # all families have one
    return _BUDGET_RATIO * slo.tpot_ms


def _kind(family: Family, device: str) -> EngineKind:
    machine = _machine(family.model, device, family.tensor_parallel_size)
    # Chunks that the tightest gap leaves room for on the slowest of the devices.
    return simulated_engine(machine, settings=engine_settings(machine, chunked_prefill_size=1024))


def _machine(model: str, device: str, size: int) -> Machine:
    shape, kind = model_named(model), device_named(device)
    operators, all_reduces = (lines_of(name) for name in table_names(kind, shape))
    if operators is None or (size > 1 and all_reduces is None):
        return build_machine(kind, shape, tensor_parallel_size=size)
    return build_machine(
        kind,
        shape,
        tensor_parallel_size=size,
        operators=operators,
        all_reduces=all_reduces if size > 1 else None,
    )


def lines_of(name: str) -> list[str] | None:
    """Of a measured table; None where it is not there."""
    path = traces_folder() / name
    return path.read_text().splitlines() if path.is_file() else None


def online_lengths(source: random.Random) -> tuple[int, int]:
    """Azure's conversations, cut to the context."""
    prompt_tokens, output_tokens = azure_lengths(source)
    output_tokens = min(output_tokens, _CONTEXT // 2)
    return min(prompt_tokens, _CONTEXT - output_tokens - 2), output_tokens


@lru_cache(maxsize=1)
def _articles() -> tuple[tuple[int, int], ...]:
    return tuple(
        (min(one.prompt_tokens, _CONTEXT - 2 - one.output_tokens), one.output_tokens)
        for one in arxiv_summarization(seed=0, count=2000)
        if one.output_tokens < _CONTEXT - 2
    )


def item_lengths(source: random.Random) -> tuple[int, int]:
    """Articles to summarise."""
    prompt_tokens, output_tokens = source.choice(_articles())
    return max(1, prompt_tokens), output_tokens
