"""Two tensor-parallel ranks that decide apart and must decide alike."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from engine_prompts import mixed_prompts
from harness import Engine, running_engine, settled, wait_for

from nodeagent.models.tiny import TinyOptions, make_tiny
from nodeagent.plugin_contract import encode_budgets
from nodeagent.sglang_plugin.cpu_platform import declare_vision_operators
from planner.batching.state import Budgets

pytestmark = pytest.mark.engine

# SGLang wants a NUMA node for each rank, or to be told the cores: two of ours, or one for both.
_CORES = sorted(os.sched_getaffinity(0))
_RANKS_ON_CORES = {"SGLANG_CPU_OMP_THREADS_BIND": f"{_CORES[0]}|{_CORES[-1]}"}


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A live engine of two ranks, joined by gloo."""
    declare_vision_operators()
    folder = tmp_path_factory.mktemp("ranks")
    model = make_tiny(folder, options=TinyOptions())
    flags = ("--max-total-tokens=6144", "--chunked-prefill-size=256", "--tp=2")
    with running_engine(
        model, folder / "ranks.log", flags=flags, environment=_RANKS_ON_CORES
    ) as engine:
        yield engine


def test_ranks_stay_together_when_offline_is_parked_and_chunked(two_ranks: Engine) -> None:
    """Ranks that planned different batches would hang or mix up rows; outputs are those of
    the same engine with one request at a time, where the plugin has nothing to decide.
    """
    prompts = mixed_prompts()[:16]
    alone = {p.rid: two_ranks.generate(replace(p, offline=False)) for p in prompts}
    before = settled(two_ranks).counters
    tight = Budgets(
        latency_budget_ms=14.0,
        idle_budget_ms=40.0,
        min_chunk_tokens=16,
        min_parked_passes=2,
        min_resident_passes=2,
        uncalibrated_ratio=1.0,
    )
    assert two_ranks.settings(encode_budgets(tight))
    with ThreadPoolExecutor(max_workers=2) as pool:
        offline = pool.submit(two_ranks.generate_all, [p for p in prompts if p.offline])
        wait_for(two_ranks, lambda s: s.offline.running >= 2)
        online = two_ranks.generate_all([p for p in prompts if not p.offline], stagger_s=0.05)
        assert offline.result() | online == alone
    after = settled(two_ranks)
    assert after.counters.parked > before.parked
    assert after.counters.resumed > before.resumed
    assert after.fault == ""
    assert two_ranks.generate(prompts[0]) == alone[prompts[0].rid]
