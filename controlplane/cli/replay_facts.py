"""What a reader of a replay is told of its inputs.

Owns the configuration by section, and the notes without which figures mislead. Refuses
results.
"""

from collections.abc import Iterator
from pathlib import Path

from controlplane.cli.replay_options import BURST_IDLE, GENERATED, ReplayOptions
from controlplane.cli.replay_workloads import OnlineRequests
from planner.hardware.machine import Machine, Source
from planner.replay.document import Fact
from planner.replay.scenario import Scenario


def configuration(
    options: ReplayOptions, scenario: Scenario, online: OnlineRequests
) -> dict[str, dict[str, Fact]]:
    """Every setting that the figures depend on, by section."""
    machine, settings, workload = scenario.machine, scenario.settings, online.workload
    return {
        "Online requests": {
            "trace": options.trace,
            "requests": workload.requests,
            "duration_s": workload.duration_s,
            "mean_prompt_tokens": round(workload.prompt_tokens / workload.requests, 1),
            "mean_output_tokens": round(workload.output_tokens / workload.requests, 1),
            "requests_per_s": online.requests_per_s,
            "start_s": options.start_s,
            "rate_scale": options.rate_scale,
            "length_scale": options.length_scale,
            "max_requests": options.max_requests,
            "fit_context": options.fits_context,
        },
        "Engine": {
            "hardware": machine.device.name,
            "model": machine.model.name,
            "tensor_parallel_size": machine.tensor_parallel_size,
            "operators": _path_words(options.operators),
            "all_reduce": (
                _path_words(options.all_reduce) if machine.tensor_parallel_size > 1 else None
            ),
            "context_tokens": machine.model.context_tokens,
            "kv_tokens": settings.kv_tokens,
            "page_size": settings.page_size,
            "chunked_prefill_size": settings.chunked_prefill_size,
            "max_prefill_tokens": settings.max_prefill_tokens,
            "max_running_requests": settings.max_running_requests,
            "mixes": settings.mixes,
            "loop": settings.loop.value,
        },
        "Offline requests": {
            "offline": options.offline,
            "offline_in_flight": options.offline_in_flight,
        },
        "Simulation": {
            "seed": options.seed,
            "noise_ratio": options.noise_ratio,
            "predictor": options.predictor,
            "predictor_seed": options.seed + 1,
            "settle_s": scenario.settle_s,
        },
    }


def _path_words(path: Path | None) -> str:
    return "derived" if path is None else path.name


def notes(options: ReplayOptions, machine: Machine, *, cut: int) -> Iterator[str]:
    """A sentence for each thing that is not what a reader might take it for."""
    if options.trace == GENERATED:
        yield (
            "No trace was given: arrivals and lengths are drawn with the statistics of Azure's"
            " conversation trace of 2023."
        )
    elif options.trace == BURST_IDLE:
        yield "No trace was given: bursts and idle phases of 90 s each, drawn from the seed."
    if machine.source is Source.DERIVED:
        yield (
            "Operator times are derived from the hardware's data sheet, not measured; give"
            " --operators (and --all-reduce for several devices) for measured ones."
        )
    if cut:
        yield (
            f"Online requests longer than the context of {machine.model.context_tokens} tokens"
            f" were cut: {cut}."
        )
    if options.offline == "cnn":
        yield "Lengths of CNN/DailyMail are an approximation from published means."
    elif Path(options.offline).suffix:
        yield f"The batch is {Path(options.offline).name}, read again whenever it ends."
