"""What is simulated: a machine, a model, an online trace at a rate, and a batch.

Owns the settings by name and where their traces lie. Refuses policies. Without the traces
the generated workload stands in, and without measured operator tables the derived ones;
`sources` says which, and so does the report.
"""

import os
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

from planner.hardware.device import device_named
from planner.hardware.machine import Machine, build_machine
from planner.hardware.model import model_named
from planner.hardware.operators import table_names
from planner.hardware.truth import ground_truth
from planner.latency.predictor import LatencyModel, default_model
from planner.latency.sample import IterationSample
from planner.replay.predictors import Predictor, blurred, gather_iterations, predictor
from planner.replay.scenario import SETTLE_S, Scenario, engine_settings
from planner.workload.bursts import bursts, gateway_shape
from planner.workload.generate import generate
from planner.workload.lengths import stream_lengths
from planner.workload.mmlu import mmlu
from planner.workload.offline import arxiv_summarization, cnn_dailymail
from planner.workload.request import WorkloadRequest
from planner.workload.shape import shape
from planner.workload.traces import read_trace

TRACES_VARIABLE = "SLACKTIDE_TRACES"
_BESIDE = Path(__file__).parents[3] / "shared" / "traces"
_AZURE_FILE, _MOONCAKE_FILE = "azure_llm_2023_conv.csv", "mooncake_conversation.jsonl"
_ARXIV_FILE = "arxiv_summarization_lengths.csv"
_MOONCAKE_TICK_S = 3.0  # its stamps are multiples of it; arrivals are spread over one
_FIT_SLICE, _FIT_S = 0, 30.0
NOISE_RATIO = 0.03
_PHASE_S = 30.0  # of a burst and of idleness: a third of what llm-d's users ran


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A machine with a workload.

    Attributes:
        name: For tables.
        device: As `planner.hardware.device`.
        model: As `planner.hardware.model`.
        online: azure, mooncake or bursts.
        offline: arxiv, cnn or mmlu.
        rates: Online requests a second, each its own panel.
        length_scale: Of online lengths.
        offline_in_flight: Offline requests in the engine at once, waiting ones included.
    """

    name: str
    device: str
    model: str
    online: str = "azure"
    offline: str = "arxiv"
    rates: tuple[float, ...] = (1.0, 2.0)
    tensor_parallel_size: int = 1
    length_scale: float = 1.0
    offline_in_flight: int = 64


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting(name="hygen", device="a100-40gb", model="llama2-7b"),
        Setting(
            name="mooncake",
            device="a100-40gb",
            model="llama2-7b",
            online="mooncake",
            rates=(1.5,),
            length_scale=1 / 8,
        ),
        Setting(
            name="mmlu",
            device="a100-40gb",
            model="llama2-7b",
            offline="mmlu",
            rates=(2.0,),
            offline_in_flight=512,  # an order has to have something to choose from
        ),
        Setting(name="h100", device="h100", model="llama2-7b", rates=(6.0,)),
        Setting(
            name="70b",
            device="a100-80gb",
            model="llama2-70b",
            tensor_parallel_size=4,
            rates=(1.5,),
        ),
        Setting(
            name="bursts", device="a100-40gb", model="llama2-7b", online="bursts", rates=(13.0,)
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """One slice of a setting, cheap to send to another process.

    Args:
        setting: Which.
        rate: Online requests a second; of bursts: what the replica sustains.
        number: Which slice of the trace, and the seed of all that is drawn.
        duration_s: Of the window.
        predictor: What policies plan by.
        error_ratio: Added to what policies plan by, as `predictors.blurred`.
        noise_ratio: Of the truth.
        is_warm: As of `Scenario`: else a batch that filled KV beforehand would be a third of
            what a short window sees.
    """

    setting: str
    rate: float
    number: int
    duration_s: float
    predictor: Predictor = Predictor.FITTED
    error_ratio: float = 0.0
    noise_ratio: float = NOISE_RATIO
    is_warm: bool = True

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.setting} {self.rate:g}/s slice {self.number}"

    def scenario(self) -> Scenario:
        """All that a policy meets."""
        model = _model_of(self.setting, self.rate, self.predictor)
        if self.error_ratio:
            model = blurred(model, error_ratio=self.error_ratio, seed=self.number)
        return replace(_unplanned(self), model=model)


def _unplanned(spec: Spec) -> Scenario:
    """With a model that nobody asks."""
    setting = SETTINGS[spec.setting]
    machine = machine_of(spec.setting)
    online = _online(spec)
    return Scenario(
        machine=machine,
        settings=engine_settings(machine),
        online=lambda: online,
        offline=partial(_offline, setting.offline, seed=spec.number),
        duration_s=spec.duration_s,
        truth=partial(ground_truth, machine, noise_ratio=spec.noise_ratio, seed=spec.number),
        model=default_model(setting.device),
        offline_in_flight=setting.offline_in_flight,
        is_warm=spec.is_warm,
    )


@lru_cache(maxsize=8)
def machine_of(name: str) -> Machine:
    """The setting's machine, measured where its tables are there."""
    setting = SETTINGS[name]
    device, model = device_named(setting.device), model_named(setting.model)
    operators, all_reduces = (_lines(file) for file in table_names(device, model))
    return build_machine(
        device,
        model,
        tensor_parallel_size=setting.tensor_parallel_size,
        operators=operators,
        all_reduces=all_reduces if setting.tensor_parallel_size > 1 else None,
    )


@lru_cache(maxsize=16)
def _model_of(name: str, rate: float, kind: Predictor) -> LatencyModel:
    """What policies plan by, fitted on a slice that no policy is judged by."""
    return predictor(kind, machine=machine_of(name), samples=_iterations(name, rate))


@lru_cache(maxsize=4)
def _iterations(name: str, rate: float) -> tuple[IterationSample, ...]:
    spec = Spec(setting=name, rate=rate, number=_FIT_SLICE, duration_s=_FIT_S)
    return tuple(gather_iterations(_unplanned(spec), seconds=_FIT_S))


def traces_folder() -> Path:
    """Where the public traces lie, if they do."""
    return Path(os.environ.get(TRACES_VARIABLE, _BESIDE))


def sources(name: str) -> dict[str, str]:
    """What of a setting is public data, and what stands in for it."""
    setting = SETTINGS[name]
    file = {"azure": _AZURE_FILE, "mooncake": _MOONCAKE_FILE}.get(setting.online)
    has_trace = file is not None and (traces_folder() / file).is_file()
    online = (
        "generated by its published shape"
        if setting.online == "bursts"
        else (f"trace {file}" if has_trace else "generated, like Azure's")
    )
    has_lengths = (traces_folder() / _ARXIV_FILE).is_file()
    is_drawn = setting.offline != "arxiv" or not has_lengths
    offline = f"generated, like {setting.offline}" if is_drawn else f"lengths of {_ARXIV_FILE}"
    return {"online": online, "offline": offline, "machine": machine_of(name).name}


def _lines(file: str) -> list[str] | None:
    path = traces_folder() / file
    return path.read_text().splitlines() if path.is_file() else None


@lru_cache(maxsize=4)
def _trace(online: str) -> tuple[WorkloadRequest, ...]:
    """All requests of a trace at its own rate."""
    lines = _lines(_AZURE_FILE if online == "azure" else _MOONCAKE_FILE)
    if lines is None:
        return generate(seed=0, duration_s=3500.0)
    requests = read_trace(lines)
    if online == "mooncake":
        source = random.Random("ticks")
        requests = tuple(
            sorted(
                (replace(r, at_s=r.at_s + _MOONCAKE_TICK_S * source.random()) for r in requests),
                key=lambda r: r.at_s,
            )
        )
    return requests


def _online(spec: Spec) -> tuple[WorkloadRequest, ...]:
    """Slice `number`, at the rate, lengths cut to the model's context."""
    setting = SETTINGS[spec.setting]
    duration_s = spec.duration_s + SETTLE_S * spec.is_warm
    context = model_named(setting.model).context_tokens
    if setting.online == "bursts":
        phases = replace(gateway_shape(spec.rate), burst_s=_PHASE_S, idle_s=_PHASE_S)
        drawn = bursts(seed=spec.number, shape=phases, cycles=None)
        return shape(drawn, duration_s=duration_s, max_context_tokens=context)
    trace = _trace(setting.online)
    count = max(1, round(spec.rate * duration_s))
    slices = max(1, len(trace) // count)
    start = spec.number % slices * count
    taken = trace[start : start + count]
    span_s = max(1e-9, taken[-1].at_s - taken[0].at_s) * count / max(1, count - 1)
    return shape(
        taken,
        start_s=taken[0].at_s,
        rate_scale=span_s / duration_s,
        length_scale=setting.length_scale,
        max_context_tokens=context,
    )


def _offline(name: str, *, seed: int) -> Iterator[WorkloadRequest]:
    """The batch, without end."""
    if name == "mmlu":
        return mmlu(seed=seed)
    if name == "cnn":
        return cnn_dailymail(seed=seed)
    lengths = _arxiv_lengths()
    if not lengths:
        return arxiv_summarization(seed=seed)
    source = random.Random(f"{seed}/arxiv")
    return iter(lambda: source.choice(lengths), None)


@lru_cache(maxsize=1)
def _arxiv_lengths() -> tuple[WorkloadRequest, ...]:
    lines = _lines(_ARXIV_FILE)
    return () if lines is None else tuple(stream_lengths(lines))
