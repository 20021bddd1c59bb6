"""From the options of `slacktide replay` to what is simulated.

Owns the machine, its engine and the predictor. Refuses simulation of policies. Invariant: the
online workload is read once, whole, before anything is simulated, so that a broken line is
told at once.
"""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from controlplane.cli.failures import CommandError
from controlplane.cli.replay_facts import configuration, notes
from controlplane.cli.replay_options import ReplayOptions, refusing
from controlplane.cli.replay_workloads import offline_requests, online_requests
from planner.hardware.device import device_named
from planner.hardware.machine import Machine, build_machine
from planner.hardware.model import model_named
from planner.hardware.truth import ground_truth
from planner.latency.predictor import LatencyModel, default_model
from planner.replay.document import Fact, Workload
from planner.replay.predictors import Predictor, gather_iterations, predictor
from planner.replay.scenario import Scenario, engine_settings
from planner.simulation.settings import EngineSettings

_PROFILED_S = 30.0  # of the workload, at each of several sizes of a pass


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
    online = online_requests(options, machine)
    truth = partial(ground_truth, machine, noise_ratio=options.noise_ratio)
    scenario = Scenario(
        machine=machine,
        settings=settings,
        online=online.requests,
        offline=offline_requests(options, context_tokens=machine.model.context_tokens),
        duration_s=online.workload.duration_s,
        truth=partial(truth, seed=options.seed),
        model=default_model(machine.device.name),
        offline_in_flight=options.offline_in_flight,
    )
    # Fitted on other noise than what runs.
    profiled = replace(scenario, truth=partial(truth, seed=options.seed + 1))
    scenario = replace(scenario, model=_model(Predictor(options.predictor), profiled))
    return ReplayInputs(
        scenario=scenario,
        workload=online.workload,
        engine=_engine_words(machine),
        configuration=configuration(options, scenario, online),
        notes=tuple(notes(options, machine, cut=online.cut)),
    )


def _machine(options: ReplayOptions) -> Machine:
    with refusing():
        device, model = device_named(options.hardware), model_named(options.model)
        if options.context_tokens is not None:
            model = replace(model, context_tokens=options.context_tokens)
    build = partial(build_machine, device, model, tensor_parallel_size=options.tensor_parallel_size)
    # One table after the other, so that what is wrong in one has its file's name.
    operators = _read(options.operators)
    with refusing(options.operators):
        machine = build(operators=operators)
    if options.all_reduce is not None:
        with refusing(options.all_reduce):
            machine = build(operators=operators, all_reduces=_read(options.all_reduce))
    return machine


def _engine(machine: Machine) -> EngineSettings:
    with refusing():
        settings = engine_settings(machine)
    if machine.model.context_tokens + settings.page_size >= settings.kv_tokens:
        raise CommandError(
            f"{machine.name}: a context of {machine.model.context_tokens} tokens does not fit KV"
            f" of {settings.kv_tokens}; give a smaller --context-tokens, more devices"
            " (--tensor-parallel-size) or larger ones"
        )
    return settings


def _model(kind: Predictor, profiled: Scenario) -> LatencyModel:
    """What policies plan by."""
    with refusing():
        return predictor(
            kind,
            machine=profiled.machine,
            samples=(
                () if kind is Predictor.ORACLE else gather_iterations(profiled, seconds=_PROFILED_S)
            ),
        )


def _engine_words(machine: Machine) -> str:
    size = machine.tensor_parallel_size
    return f"{machine.model.name} on {f'{size} ×' if size > 1 else 'one'} {machine.device.name}"


def _read(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    with refusing(path), path.open(encoding="utf-8") as lines:
        return list(lines)
