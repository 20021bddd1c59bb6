"""From the options of `slacktide replay` to what is simulated.

Owns opening files, and putting a file's name in front of what is wrong in it. Refuses
simulation. Invariants: the online workload is read once, whole, before anything is
simulated, so that a broken line is told at once; it is never held in memory.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from math import ceil, floor
from pathlib import Path

from controlplane.cli.failures import CommandError
from planner.hardware.device import device_named
from planner.hardware.machine import Machine, Source, build_machine
from planner.hardware.model import model_named
from planner.hardware.truth import ground_truth
from planner.latency.predictor import default_model
from planner.replay.capacity import sustained_requests_per_s
from planner.replay.document import Fact, Workload
from planner.replay.predictors import Predictor, gather_iterations, predictor
from planner.replay.scenario import Scenario, engine_settings
from planner.simulation.settings import EngineSettings
from planner.simulation.truth import Truth
from planner.workload.bursts import (
    GATEWAY_IDLE_RATIO,
    GATEWAY_OUTPUT_TOKENS,
    GATEWAY_PROMPT_TOKENS,
    BurstShape,
    bursts,
    gateway_shape,
)
from planner.workload.generate import generate
from planner.workload.lengths import stream_lengths
from planner.workload.mmlu import mmlu
from planner.workload.offline import arxiv_summarization, cnn_dailymail
from planner.workload.request import WorkloadRequest
from planner.workload.shape import fit_context, shape_stream
from planner.workload.traces import stream_trace

GENERATED, BURST_IDLE = "generated", "burst-idle"
_GENERATED_S, _BURST_IDLE_S = 180.0, 900.0  # default windows; the second: five cycles
_AZURE_TOKENS = (1155, 211)  # means of the conversation trace's prompts and outputs
_GENERATED_LOAD = 0.5  # of what the machine sustains

Requests = Callable[[], Iterable[WorkloadRequest]]
"""Makes a workload anew."""

_PROFILED_S = 30.0  # of the workload, at each of several sizes of a pass


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """What was asked for on the command line; its help says what each is."""

    trace: str
    hardware: str
    model: str
    tensor_parallel_size: int
    operators: Path | None
    all_reduce: Path | None
    predictor: str
    offline: str
    offline_in_flight: int
    rate: float | None
    rate_scale: float
    length_scale: float
    start_s: float
    duration_s: float | None
    max_requests: int | None
    context_tokens: int | None
    fits_context: bool
    noise_ratio: float
    seed: int

    @property
    def is_generated(self) -> bool:
        """Whether no trace was given."""
        return self.trace in (GENERATED, BURST_IDLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayInputs:
    """What is simulated, and how to tell a reader of it."""

    scenario: Scenario
    workload: Workload
    engine: str
    configuration: dict[str, dict[str, Fact]]
    notes: tuple[str, ...]


def read_inputs(options: ReplayOptions) -> ReplayInputs:
    """Reads everything.

    Raises:
        CommandError: A file that cannot be read, with its line; unknown hardware or model;
            a slice without requests; a model or context the hardware cannot hold.
        OSError: A file that cannot be opened.
    """
    machine = _machine(options)
    settings = _engine(machine)
    context_tokens = machine.model.context_tokens
    drawn, rate = _online(options, machine)
    duration_s = _duration_s(options)
    sliced = partial(
        shape_stream,
        start_s=options.start_s,
        duration_s=duration_s,
        count=options.max_requests,
        rate_scale=options.rate_scale,
        length_scale=options.length_scale,
    )
    workload, cut = _survey(
        sliced(drawn()), options=options, duration_s=duration_s, context_tokens=context_tokens
    )
    offline = _offline(options, context_tokens=context_tokens)

    def truth(seed: int) -> Truth:
        return ground_truth(machine, noise_ratio=options.noise_ratio, seed=seed)

    scenario = Scenario(
        machine=machine,
        settings=settings,
        online=lambda: sliced(drawn(), max_context_tokens=context_tokens),
        offline=offline,
        duration_s=workload.duration_s,
        truth=partial(truth, options.seed),
        model=default_model(machine.device.name),
        offline_in_flight=options.offline_in_flight,
    )
    with _refusing():
        # fitted on other noise than what runs
        profiled = replace(scenario, truth=partial(truth, options.seed + 1))
        model = predictor(
            Predictor(options.predictor),
            machine=machine,
            samples=gather_iterations(profiled, seconds=_PROFILED_S),
        )
    scenario = replace(scenario, model=model)
    return ReplayInputs(
        scenario=scenario,
        workload=workload,
        engine=_engine_words(machine),
        configuration=_configuration(options, scenario, workload, rate=rate),
        notes=tuple(_notes(options, machine, cut=cut)),
    )


# ------------------------------------------------------------ the machine


def _machine(options: ReplayOptions) -> Machine:
    with _refusing():
        device, model = device_named(options.hardware), model_named(options.model)
        if options.context_tokens is not None:
            model = replace(model, context_tokens=options.context_tokens)
    build = partial(build_machine, device, model, tensor_parallel_size=options.tensor_parallel_size)
    # One table after the other, so that what is wrong in one has its file's name.
    operators = _read(options.operators)
    with _refusing(options.operators):
        machine = build(operators=operators)
    if options.all_reduce is not None:
        with _refusing(options.all_reduce):
            machine = build(operators=operators, all_reduces=_read(options.all_reduce))
    return machine


def _engine(machine: Machine) -> EngineSettings:
    with _refusing():
        settings = engine_settings(machine)
    if machine.model.context_tokens + settings.page_size >= settings.kv_tokens:
        raise CommandError(
            f"{machine.name}: a context of {machine.model.context_tokens} tokens does not fit KV"
            f" of {settings.kv_tokens}; give a smaller --context-tokens, more devices"
            " (--tensor-parallel-size) or larger ones"
        )
    return settings


def _engine_words(machine: Machine) -> str:
    size = machine.tensor_parallel_size
    return f"{machine.model.name} on {f'{size} ×' if size > 1 else 'one'} {machine.device.name}"


# ------------------------------------------------------------ workloads


def _online(options: ReplayOptions, machine: Machine) -> tuple[Requests, float | None]:
    """The workload as it is before slicing and scaling, and its rate where that was chosen."""
    if not options.is_generated:
        if options.rate is not None:
            raise CommandError("--rate is of a generated workload; a trace takes --rate-scale")
        most_tokens = floor(machine.model.context_tokens / options.length_scale)
        return partial(_trace, options, most_tokens=most_tokens), None
    # Long enough for what is skipped and for a faster replay.
    length_s = options.start_s + (_duration_s(options) or 0.0) * options.rate_scale
    if options.trace == GENERATED:
        sustained = _sustained(machine, *_AZURE_TOKENS)
        rate = options.rate or round(_GENERATED_LOAD * sustained, 3)
        return partial(generate, seed=options.seed, duration_s=length_s, requests_per_s=rate), rate
    shape = gateway_shape(_sustained(machine, GATEWAY_PROMPT_TOKENS, GATEWAY_OUTPUT_TOKENS))
    if options.rate is not None:
        shape = BurstShape(
            burst_requests_per_s=options.rate,
            idle_requests_per_s=options.rate * GATEWAY_IDLE_RATIO,
        )
    cycles = ceil(length_s / shape.cycle_s)
    return partial(
        bursts, seed=options.seed, shape=shape, cycles=cycles
    ), shape.burst_requests_per_s


def _sustained(machine: Machine, prompt_tokens: int, output_tokens: int) -> float:
    return sustained_requests_per_s(
        machine, prompt_tokens=prompt_tokens, output_tokens=output_tokens
    )


def _trace(options: ReplayOptions, *, most_tokens: int) -> Iterator[WorkloadRequest]:
    path = Path(options.trace)
    with _refusing(path), path.open(encoding="utf-8") as lines:
        yield from stream_trace(
            lines, max_context_tokens=None if options.fits_context else most_tokens
        )


def _duration_s(options: ReplayOptions) -> float | None:
    """The window asked for; None: to the last request."""
    defaults = {GENERATED: _GENERATED_S, BURST_IDLE: _BURST_IDLE_S}
    return defaults.get(options.trace) if options.duration_s is None else options.duration_s


def _survey(
    requests: Iterable[WorkloadRequest],
    *,
    options: ReplayOptions,
    duration_s: float | None,
    context_tokens: int,
) -> tuple[Workload, int]:
    """Reads the slice through: its sums, and how many requests the context cuts."""
    found = prompt_tokens = output_tokens = cut = 0
    last_s = 0.0
    for request in requests:
        found += 1
        fitted = fit_context(request, context_tokens)
        cut += fitted is not request and fitted != request
        prompt_tokens += fitted.prompt_tokens
        output_tokens += fitted.output_tokens
        last_s = request.at_s
    if not found:
        raise CommandError(
            f"{options.trace}: no request at or after --start {options.start_s:g} s within the"
            " window; choose an earlier --start or a longer --duration"
        )
    ends_s = floor(last_s) + 1.0
    is_cut = found == options.max_requests or not options.is_generated
    if duration_s is None or (is_cut and ends_s < duration_s):
        duration_s = ends_s
    workload = Workload(
        name=options.trace if options.is_generated else Path(options.trace).name,
        is_generated=options.is_generated,
        requests=found,
        duration_s=duration_s,
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
    )
    return workload, cut


def _offline(options: ReplayOptions, *, context_tokens: int) -> Requests:
    seed = options.seed
    draws: dict[str, Requests] = {
        "arxiv": partial(arxiv_summarization, seed=seed),
        "cnn": partial(cnn_dailymail, seed=seed),
        "mmlu": partial(mmlu, seed=seed),
        "none": tuple,
    }
    draw = draws.get(options.offline)
    if draw is not None:
        return lambda: (fit_context(request, context_tokens) for request in draw())
    path = Path(options.offline)
    read = partial(_lengths, options, path=path, context_tokens=context_tokens)
    if not sum(1 for _ in read()):  # the whole of it: a broken line is told at once
        raise CommandError(f"{path}: no request; give a table with at least one")
    return lambda: (request for _ in count() for request in read())


def _lengths(
    options: ReplayOptions, *, path: Path, context_tokens: int
) -> Iterator[WorkloadRequest]:
    most_tokens = None if options.fits_context else context_tokens
    with _refusing(path), path.open(encoding="utf-8") as lines:
        for request in stream_lengths(lines, max_context_tokens=most_tokens):
            yield fit_context(request, context_tokens)


# ------------------------------------------------------------ for its reader


def _configuration(
    options: ReplayOptions, scenario: Scenario, workload: Workload, *, rate: float | None
) -> dict[str, dict[str, Fact]]:
    machine, settings = scenario.machine, scenario.settings
    return {
        "Online requests": {
            "trace": options.trace,
            "requests": workload.requests,
            "duration_s": workload.duration_s,
            "mean_prompt_tokens": round(workload.prompt_tokens / workload.requests, 1),
            "mean_output_tokens": round(workload.output_tokens / workload.requests, 1),
            "requests_per_s": rate,
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
            "all_reduce": _path_words(options.all_reduce),
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


def _notes(options: ReplayOptions, machine: Machine, *, cut: int) -> Iterator[str]:
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


# ------------------------------------------------------------ refusals


@contextmanager
def _refusing(path: Path | None = None) -> Iterator[None]:
    """What these inputs cannot be is one clear line, with the file's name."""
    try:
        yield
    except UnicodeDecodeError as error:
        raise CommandError(f"{path}: not a text file ({error.reason})") from error
    except ValueError as error:
        where = "" if path is None else f"{path}: "
        raise CommandError(f"{where}{error}") from error


def _read(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    with _refusing(path), path.open(encoding="utf-8") as lines:
        return list(lines)
