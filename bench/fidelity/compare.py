"""`make bench-fidelity`: a real engine against its own simulation.

Owns the order of a run: engine, calibration, rounds, then simulation once the engine is gone,
and a machine with nothing left running. Exit status 0 for a valid run whatever its figures
say, 1 for one that is not valid or did not end, 130 for an interrupted one. A run that did
not end writes what it has.
"""

import asyncio
import signal
import sys
import traceback
from collections.abc import Sequence

from bench.colocate.engines import BenchEngineError, running_engines
from bench.colocate.prepare import FIRST_JUDGED_SLICE, slice_of
from bench.colocate.slices import Slice
from bench.colocate.specs import engine_spec
from bench.colocate.stage import Stage, pin_this_process
from bench.colocate.tables import sentence
from bench.demo.session import progress_since_start
from bench.fidelity.arms import BUDGETS, Arm, arms_of, round_order
from bench.fidelity.calibrate import Load, calibrate
from bench.fidelity.measured import Bench
from bench.fidelity.options import read_options
from bench.fidelity.report import INTERRUPTED, Findings, report_of
from bench.fidelity.twin import JudgedRun, labels_of
from bench.harness import publish
from controlplane.localfleet.readiness import Tell
from nodeagent.engine.errors import EngineError

_ENGINE = "plugin"


def main(arguments: Sequence[str]) -> int:
    """Runs the bench; returns its exit code."""
    options = read_options(arguments, budgets=BUDGETS)
    tell = progress_since_start()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    findings = Findings(options=options)
    cause, status = "", 0
    try:
        asyncio.run(measure(findings, tell=tell))
    except (BenchEngineError, EngineError, ValueError) as error:
        cause, status = str(error), 1
    except KeyboardInterrupt:
        cause, status = INTERRUPTED, 130
    except Exception as error:  # noqa: BLE001 - minutes of measuring are written all the same
        traceback.print_exc()
        cause, status = f"{type(error).__name__}: {error}", 1
    try:
        report, invalid = report_of(findings, cause=cause, tell=tell)
    except KeyboardInterrupt:
        print("interrupted; nothing is left running", file=sys.stderr)
        return 130
    print(f"report {publish(report)}")
    for problem in invalid:
        print(f"not valid: {problem}", file=sys.stderr)
    return status or int(bool(invalid))


async def measure(findings: Findings, *, tell: Tell) -> None:
    """Calibrates and runs all rounds; the engine is gone afterwards.

    Args:
        findings: takes what is found as soon as it is.
        tell: for progress.
    """
    options, load = findings.options, findings.options.load
    cores = pin_this_process() if load.is_cpu else None
    findings.spec = engine_spec(load, name=_ENGINE, has_plugin=True)
    tell("starting an engine")
    logs = load.output / "logs"
    async with running_engines([findings.spec], logs=logs, cores=cores) as engines:
        stage = Stage(engines)
        engine = await stage.enter(_ENGINE)
        calibrated = await calibrate(engine, options, offline=findings.offline, tell=tell)
        findings.calibrated = calibrated
        findings.arms = arms_of(calibrated.fitted.model, budgets=options.budgets)
        bench = findings.bench = Bench(
            stage,
            _ENGINE,
            times=calibrated.times,
            offline=findings.offline,
            window=load.window,
            gauge=calibrated.gauge,
            gauge_s=options.gauge_s,
        )
        for each in calibrated.loads:
            await _rounds(findings, bench, each, tell=tell)
        await bench.gauge()


async def _rounds(findings: Findings, bench: Bench, load: Load, *, tell: Tell) -> None:
    options, name = findings.options.load, load.trace.spec.name
    measured = findings.measured[name] = {arm.name: [] for arm in findings.arms}
    slices = findings.slices[name] = []
    for number in range(options.rounds[name]):
        online = slice_of(options, load.trace, FIRST_JUDGED_SLICE + number, rate=load.rate)
        slices.append(online)
        for arm in round_order(findings.arms, number=number):
            await bench.gauge()
            found = await bench.run(judged_run(arm, online, load, settle_s=options.settle_s))
            measured[arm.name].append(found)
            tell(f"{name} round {number + 1}, {arm.name}: {sentence(found.reading)},"
                 f" pace {bench.paces[-1]:.2f} before")  # fmt: skip


def judged_run(arm: Arm, online: Slice, load: Load, *, settle_s: float) -> JudgedRun:
    """What a load comes to on a slice.

    Args:
        arm: the load.
        online: the slice.
        load: its trace as the engine bears it.
        settle_s: how long a batch beside online runs before the judged time.
    """
    if not arm.has_online:  # a steady state needs no arrivals, only its ramp behind it
        settle_s = max(settle_s, online.duration_s / 4)
    return JudgedRun(
        arm=arm,
        online=online if arm.has_online else None,
        labels=labels_of(arm, load.slo),
        duration_s=online.duration_s if arm.has_online else online.duration_s / 2,
        settle_s=settle_s if arm.has_offline else 0.5,
    )
