"""A stock GPU engine and the plugin in it, where there is a CUDA device.

Skips without one. Figures are printed, and written to SLACKTIDE_GPU_FIGURES where it
names a folder; they are kept by hand in docs/benchmarks. SLACKTIDE_GPU_ENGINE_FLAGS has
more of SGLang's flags, for both engines: a backend for attention, say.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "engine"))

from harness import Engine, Prompt, _free_port, _kill_group, _wait_ready

from nodeagent.devices import find_devices
from nodeagent.engine.command import EngineNeeds, engine_command
from nodeagent.models.tiny import TinyOptions, make_tiny
from nodeagent.plugin_contract import DISABLE_VARIABLE, MeasuredIteration, encode_budgets
from planner.batching.state import Budgets
from planner.latency.fit import fit
from planner.latency.predictor import default_model
from planner.latency.sample import IterationSample

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="no CUDA device here"),
]

_TIE = 0.01  # of logits with a deviation of 1.7; seen on an H100: 0.00007 and 0.002


@contextmanager
def cuda_engine(model: Path, log: Path, *, dtype: str, plugin: bool) -> Iterator[Engine]:
    """An engine as the agent would start it on the node's first GPU."""
    needs = EngineNeeds(
        model_path=model,
        served_name="chat",
        devices=find_devices("auto", memory_bytes=None)[:1],
        kv_cache_tokens=65536,
        max_running_requests=64,
        chunked_prefill_size=512,
        dtype=dtype,
    )
    port = _free_port()
    environment = dict(os.environ) | ({} if plugin else {DISABLE_VARIABLE: "off"})
    command = engine_command(needs, port=port, python=sys.executable, environment=environment)
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command.argv, *os.environ.get("SLACKTIDE_GPU_ENGINE_FLAGS", "").split()],
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env=dict(command.environment) | {"SGLANG_ENABLE_STRICT_MEM_CHECK_DURING_IDLE": "1"},
        )
    engine = Engine(port=port, log=log)
    try:
        _wait_ready(engine, process)
        yield engine
    finally:
        _kill_group(process)


def _prompts(count: int, *, offline: bool, lengths: tuple[int, int], new: int) -> list[Prompt]:
    draw = random.Random(count + offline)
    kind = "off" if offline else "onl"
    return [
        Prompt(
            rid=f"{kind}-{index:04d}",
            ids=tuple(draw.randrange(250) for _ in range(draw.randint(*lengths))),
            new_tokens=new,
            offline=offline,
        )
        for index in range(count)
    ]


def _beside(engine: Engine, offline: list[Prompt], online: list[Prompt]) -> dict[str, list[int]]:
    with ThreadPoolExecutor(max_workers=2) as pool:
        batch = pool.submit(engine.generate_all, offline)
        time.sleep(0.3)
        return engine.generate_all(online, stagger_s=0.05) | batch.result()


def _margin(model: Path, prompt: Prompt, outputs: list[int]) -> float:
    """By how much the best next token beats the second after those outputs, on the CPU."""
    import torch
    from transformers import AutoModelForCausalLM

    with torch.no_grad():
        llama = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32).eval()
        logits = llama(torch.tensor([[*prompt.ids, *outputs]])).logits[0, -1]
    best, second = logits.topk(2).values.tolist()
    return float(best - second)


def _keep(name: str, figures: object) -> None:
    text = json.dumps(figures, indent=1)
    folder = os.environ.get("SLACKTIDE_GPU_FIGURES")
    if folder:
        (Path(folder) / f"{name}.json").write_text(text)
    print(text[:2000])


def test_outputs_beside_a_batch_equal_stock_when_decoding_is_greedy(tmp_path: Path) -> None:
    """Parking and chunking change an output only where two tokens are as good as each other.

    Kernels round by the shape of a batch, so a tie falls one way or the other. A wrong KV
    changes outputs wherever it is read.
    """
    model = make_tiny(tmp_path, options=TinyOptions())
    offline = _prompts(32, offline=True, lengths=(100, 1200), new=64)
    online = _prompts(24, offline=False, lengths=(20, 300), new=32)
    with cuda_engine(model, tmp_path / "stock.log", dtype="float32", plugin=False) as stock:
        alone = stock.generate_all(offline[:8]) | stock.generate_all(online)
        expected = _beside(stock, offline, online)
    with cuda_engine(model, tmp_path / "plugin.log", dtype="float32", plugin=True) as engine:
        state = engine.state()
        assert state is not None, engine.tail()
        tight = Budgets(latency_budget_ms=12.0, min_parked_passes=2, min_resident_passes=2)
        assert engine.settings(encode_budgets(tight))
        actual = _beside(engine, offline, online)
        time.sleep(1.0)  # the strict idle check runs in the engine's own loop
        after = engine.state()
    assert after is not None
    control = sum(alone[rid] != expected[rid] for rid in alone)
    margins = {}
    for prompt in (*offline, *online):
        pairs = enumerate(zip(expected[prompt.rid], actual[prompt.rid], strict=True))
        first = next((index for index, (one, other) in pairs if one != other), None)
        if first is not None:
            margins[prompt.rid] = _margin(model, prompt, expected[prompt.rid][:first])
    _keep(
        "equality",
        {
            "requests": len(expected),
            "different": len(margins),
            "margins_where_they_part": margins,
            "stock_against_stock": f"{control} of {len(alone)}",
            "counters": asdict(after.counters),
        },
    )
    assert after.counters.parked > 0
    assert after.counters.resumed > 0
    assert all(margin < _TIE for margin in margins.values()), margins
    assert "leak" not in (tmp_path / "plugin.log").read_text(errors="replace").lower()


def test_latency_model_is_fitted_from_a_gpu_engine(tmp_path: Path) -> None:
    """Samples of a GPU engine give a model that is better than the default."""
    options = TinyOptions(hidden=2048, layers=16, heads=32, kv_heads=8)
    model = make_tiny(tmp_path, options=options, name="wide")
    samples: dict[int, MeasuredIteration] = {}
    offline = _prompts(160, offline=True, lengths=(100, 2500), new=96)
    online = _prompts(120, offline=False, lengths=(20, 900), new=48)
    with cuda_engine(model, tmp_path / "plugin.log", dtype="bfloat16", plugin=True) as engine:
        assert engine.settings(encode_budgets(Budgets(latency_budget_ms=60.0)))
        with ThreadPoolExecutor(max_workers=1) as pool:
            done = pool.submit(_beside, engine, offline, online)
            while not done.done():
                state = engine.state()
                assert state is not None
                samples |= {sample.sequence: sample for sample in state.samples}
                time.sleep(0.1)
        done.result()
    default = default_model("NVIDIA H100")
    outcome = fit(
        [IterationSample(shape=s.shape, measured_ms=s.measured_ms) for s in samples.values()],
        identity="gpu-test",
        incumbent=default,
    )
    _keep(
        "samples",
        {
            "reason": outcome.reason,
            "samples": [
                [asdict(s.shape), s.measured_ms, s.offline_rows, s.ran_online]
                for s in samples.values()
            ],
        },
    )
    assert len(samples) > 200
    assert outcome.model is not None, outcome.reason
