"""Real SGLang requests and a real prefix cache, without a model or an engine."""

import itertools
from array import array
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from token_allocator import TokenAllocator

from nodeagent.plugin_contract import offline_labels, online_labels
from nodeagent.sglang_plugin.cpu_platform import declare_vision_operators

declare_vision_operators()

MakeRequest = Callable[..., Any]


@pytest.fixture(scope="session")
def sglang_context(tmp_path_factory: pytest.TempPathFactory) -> None:
    """SGLang's process-wide configuration, as a scheduler child publishes it."""
    from sglang.srt.runtime_context import SpawnRanks, publish
    from sglang.srt.server_args import ServerArgs

    from nodeagent.models.tiny import TinyOptions, make_tiny

    model = make_tiny(tmp_path_factory.mktemp("models"), options=TinyOptions(hidden=64, layers=1))
    arguments = ServerArgs(model_path=str(model), device="cpu", schedule_policy="fcfs")
    arguments.resolve_once()
    publish(arguments, role="scheduler", ranks=SpawnRanks(world_rank=0, dp_rank=None, gpu_id=0))


@pytest.fixture
def make_request(sglang_context: None) -> MakeRequest:
    """Makes labelled `Req`s; prompts of different requests share nothing unless told to."""
    from sglang.srt.managers.schedule_batch import Req
    from sglang.srt.sampling.sampling_params import SamplingParams

    starts = itertools.count(0, 10_000)

    def make(
        rid: str,
        tokens: int,
        *,
        offline: bool = False,
        start: int | None = None,
        priority: int | None = None,
        **params: Any,
    ) -> Any:
        labels = offline_labels() if offline else online_labels(ttft_ms=500.0, itl_ms=50.0)
        sampling = SamplingParams(
            max_new_tokens=16, custom_params=labels["custom_params"], **params
        )
        first = next(starts) if start is None else start
        return Req(
            rid,
            "",
            array("q", range(first, first + tokens)),
            sampling,
            priority=labels["priority"] if priority is None else priority,
        )

    return make


@pytest.fixture
def scheduler(sglang_context: None) -> Any:
    """The parts of a scheduler that the plugin reads."""
    from sglang.srt.mem_cache.radix_cache import RadixCache

    return SimpleNamespace(
        waiting_queue=[],
        chunked_req=None,
        tree_cache=RadixCache.create_simulated(),
        token_to_kv_pool_allocator=TokenAllocator(5000),
        req_to_token_pool=SimpleNamespace(available_size=lambda: 32),
        max_total_num_tokens=5000,
        page_size=1,
        chunked_prefill_size=256,
        is_mixed_chunk=False,
        enable_overlap=False,
        result_queue=[],
        running_batch=SimpleNamespace(reqs=[]),
        last_batch=None,
        model_config=SimpleNamespace(model_path="none"),
    )
