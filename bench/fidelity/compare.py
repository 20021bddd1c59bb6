"""`make bench-fidelity`: a real engine against its own simulation.

Owns the order of a run: engine, calibration, rounds, then simulation once the engine is gone,
and a machine with nothing left running. Exit status 0 for a valid run whatever its figures
say, 1 for one that is not valid or did not end, 130 for an interrupted one. A run that did
not end writes what it has.
"""

import asyncio
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any

from bench.colocate.engines import BenchEngineError, EngineSpec, running_engines
from bench.colocate.model import make_bench_model
from bench.colocate.prepare import FIRST_JUDGED_SLICE, slice_of
from bench.colocate.reading import BLOCK_S
from bench.colocate.slices import OfflinePrompts, Slice
from bench.colocate.stage import Stage, pin_this_process
from bench.colocate.tables import sentence
from bench.colocate.validity import problems
from bench.demo.session import progress_since_start
from bench.fidelity.arms import BUDGETS, Arm, arms_of, round_order
from bench.fidelity.calibrate import Calibrated, Load, calibrate
from bench.fidelity.judgement import Pair, compare, judge, show_compared
from bench.fidelity.measured import Bench, Measured
from bench.fidelity.options import Options, read_options
from bench.fidelity.twin import JudgedRun, Simulated, Twin, labels_of
from bench.harness import Figure, Report, publish
from bench.statistics import COVERAGE_RATIO, REPLICATES
from controlplane.localfleet.readiness import Tell
from nodeagent.engine.errors import EngineError
from planner.model import Slo

_ENGINE = "plugin"
_INTERRUPTED = "interrupted"
_EVERYTHING = Slo(ttft_ms=1e9, itl_ms=1e9)  # attainment is not what this bench is about


def main(arguments: Sequence[str]) -> int:
    """Runs the bench; returns its exit code."""
    options = read_options(arguments, budgets=BUDGETS)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    run = _Run(options, tell=progress_since_start())
    cause, status = "", 0
    try:
        asyncio.run(run.measure())
    except (BenchEngineError, EngineError, ValueError) as error:
        cause, status = str(error), 1
    except KeyboardInterrupt:
        cause, status = _INTERRUPTED, 130
    except Exception as error:  # noqa: BLE001 - minutes of measuring are written all the same
        traceback.print_exc()
        cause, status = f"{type(error).__name__}: {error}", 1
    try:
        report, invalid = run.report(cause)
    except KeyboardInterrupt:
        print("interrupted; nothing is left running", file=sys.stderr)
        return 130
    print(f"report {publish(report)}")
    for problem in invalid:
        print(f"not valid: {problem}", file=sys.stderr)
    return status or int(bool(invalid))


class _Run:
    """One run of the bench and what it gathered so far."""

    def __init__(self, options: Options, *, tell: Tell) -> None:
        self._options, self._tell = options, tell
        self._began_s = time.monotonic()
        load = options.load
        self._offline = OfflinePrompts(
            seed=load.seed,
            mean_prompt_tokens=load.offline_prompt_tokens,
            mean_output_tokens=load.offline_output_tokens,
        )
        self._spec: EngineSpec | None = None
        self._calibrated: Calibrated | None = None
        self._bench: Bench | None = None
        self._arms: list[Arm] = []
        self._slices: dict[str, list[dict[str, Any]]] = {}
        self._measured: dict[str, dict[str, list[Measured]]] = {}  # by trace, by load

    # ------------------------------------------------------------ the real engine

    async def measure(self) -> None:
        """Calibrates and runs all rounds; the engine is gone afterwards."""
        options, load = self._options, self._options.load
        cores = pin_this_process()
        self._spec = _spec(options)
        self._tell("starting an engine")
        logs = load.output / "logs"
        async with running_engines([self._spec], logs=logs, cores=cores) as engines:
            stage = Stage(engines)
            engine = await stage.enter(_ENGINE)
            calibrated = await calibrate(engine, options, offline=self._offline, tell=self._tell)
            self._calibrated = calibrated
            self._arms = arms_of(calibrated.fitted.model, budgets=options.budgets)
            self._bench = Bench(
                stage,
                _ENGINE,
                times=calibrated.times,
                offline=self._offline,
                window=load.window,
                gauge_s=options.gauge_s,
            )
            for each in calibrated.loads:
                await self._rounds(self._bench, each)
            await self._bench.gauge()

    async def _rounds(self, bench: Bench, load: Load) -> None:
        options, name = self._options.load, load.trace.spec.name
        measured = self._measured[name] = {arm.name: [] for arm in self._arms}
        slices = self._slices[name] = []
        for number in range(options.rounds[name]):
            online = slice_of(options, load.trace, FIRST_JUDGED_SLICE + number, rate=load.rate)
            slices.append(online.as_values())
            for arm in round_order(self._arms, number=number):
                await bench.gauge()
                found = await bench.run(self._judged(arm, online, load))
                measured[arm.name].append(found)
                self._tell(f"{name} round {number + 1}, {arm.name}: {sentence(found.reading)},"
                           f" pace {bench.paces[-1]:.2f} before")  # fmt: skip

    def _judged(self, arm: Arm, online: Slice, load: Load) -> JudgedRun:
        settle_s = self._options.load.settle_s
        if not arm.has_online:  # a steady state needs no arrivals, only its ramp behind it
            settle_s = max(settle_s, online.duration_s / 4)
        return JudgedRun(
            arm=arm,
            online=online if arm.has_online else None,
            labels=labels_of(arm, load.slo),
            duration_s=online.duration_s if arm.has_online else online.duration_s / 2,
            settle_s=settle_s if arm.has_offline else 0.5,
        )

    # ------------------------------------------------------------ its simulation

    def report(self, cause: str) -> tuple[Report, list[str]]:
        """Simulates what was measured, and judges.

        Args:
            cause: why the run ended early; empty where it did not.
        """
        invalid = [f"the run ended early: {cause}"] if cause else []
        figures: list[Figure] = []
        samples: dict[str, Any] = {}
        is_interrupted = cause == _INTERRUPTED  # whoever did so does not wait for simulations
        for name, measured in self._measured.items():
            rounds = min(len(found) for found in measured.values())
            samples[name] = self._samples(name, measured)
            invalid += problems(name, {arm: [m.reading for m in found]
                                       for arm, found in measured.items()})  # fmt: skip
            if rounds and not is_interrupted:
                self._tell(f"{name}: simulating {rounds} round(s) of {len(measured)} loads")
                try:
                    found, simulated = self._judge(name, rounds)
                except (RuntimeError, ValueError) as error:  # see `simulation.replay.replay`
                    invalid.append(f"{name}: the simulation ended: {error}")
                    continue
                figures += found
                samples[name] |= simulated
        if self._calibrated is not None:
            samples |= self._calibrated.as_values()
        if self._bench is not None:
            samples["paces"] = [round(pace, 4) for pace in self._bench.paces]
        samples |= {"took_s": round(time.monotonic() - self._began_s, 1), "invalid": invalid}
        report = Report(
            name="fidelity",
            seed=self._options.load.seed,
            configuration=self._configuration(),
            samples=samples,
            figures=figures,
        )
        return report, invalid

    def _judge(self, trace: str, rounds: int) -> tuple[list[Figure], dict[str, Any]]:
        assert self._bench is not None
        bench, options = self._bench, self._options
        replicates = 200 if options.is_quick else REPLICATES
        seeds = range(options.seeds)
        judged = self._simulated(trace, rounds, pace=bench.pace_around, seeds=seeds)
        pairs = self._pairs(trace, judged)
        show_compared(f"{trace}: simulated at the pace measured around each run", compare(pairs))
        own = self._simulated(trace, rounds, pace=bench.own_pace, seeds=seeds[:2])
        at_own = compare(self._pairs(trace, own))
        show_compared(f"{trace}: for comparison, at the pace of each run's own iterations", at_own)
        fixed = self._simulated(trace, rounds, pace=lambda _: 1.0, seeds=seeds[:1])
        samples = {
            "compared": {
                "pace_around": {c.name: _both(c.measured, c.simulated) for c in compare(pairs)},
                "own_pace": {c.name: _both(c.measured, c.simulated) for c in at_own},
                "pace_of_calibration": {
                    c.name: _both(c.measured, c.simulated)
                    for c in compare(self._pairs(trace, fixed))
                },
            },
            "simulated": {
                arm: [{**s.reading.as_values(_EVERYTHING), "counters": _counters(s)} for s in found]
                for arm, found in judged.items()
            },
        }
        return judge(trace, pairs, seed=options.load.seed, replicates=replicates), samples

    def _simulated(
        self, trace: str, rounds: int, *, pace: Callable[[Measured], float], seeds: Sequence[int]
    ) -> dict[str, list[Simulated]]:
        """Every load of every round in simulation."""
        calibrated, options = self._calibrated, self._options
        assert calibrated is not None
        twin = Twin(
            settings=calibrated.settings,
            model=calibrated.fitted.model,
            times=calibrated.times,
            offline=self._offline,
            window=options.load.window,
            outside_ms=calibrated.outside.ttft_ms,
        )
        return {
            arm: [
                twin.simulate(
                    found.judged,
                    pace_ratio=pace(found),
                    seeds=[1000 * number + seed for seed in seeds],
                )
                for number, found in enumerate(measured[:rounds])
            ]
            for arm, measured in self._measured[trace].items()
        }

    def _pairs(self, trace: str, simulated: dict[str, list[Simulated]]) -> list[Pair]:
        return [
            Pair(
                arm=arm,
                measured=tuple(
                    m.reading for m in self._measured[trace][arm.name][: len(simulated[arm.name])]
                ),
                simulated=tuple(s.reading for s in simulated[arm.name]),
            )
            for arm in self._arms
        ]

    # ------------------------------------------------------------ details

    def _samples(self, trace: str, measured: dict[str, list[Measured]]) -> dict[str, Any]:
        assert self._bench is not None
        bench = self._bench
        return {
            "slices": self._slices[trace],
            "measured": {
                arm: [
                    {
                        **m.reading.as_values(_EVERYTHING),
                        "pace_around": round(bench.pace_around(m), 4),
                        "own_pace": round(bench.own_pace(m), 4),
                        "own_paces": {k: round(p, 4) for k, p in bench.own_paces(m).items()},
                        "counters": m.counters,
                    }
                    for m in found
                ]
                for arm, found in measured.items()
            },
        }

    def _configuration(self) -> dict[str, Any]:
        options, load, spec = self._options, self._options.load, self._spec
        return {
            "model": spec.model_path.name if spec else None,
            "engine": {
                "kv_cache_tokens": spec.kv_cache_tokens,
                "chunked_prefill_size": spec.chunked_prefill_size,
                "max_running_requests": spec.max_running_requests,
            }
            if spec
            else None,
            "rounds": load.rounds,
            "least_s_of_a_run": load.least_s,
            "length_divisors": {
                each.trace.spec.name: load.length_divisor(each.trace.spec)
                for each in (self._calibrated.loads if self._calibrated else ())
            },
            "is_generated": {
                each.trace.spec.name: each.trace.is_generated
                for each in (self._calibrated.loads if self._calibrated else ())
            },
            "window": load.window,
            "offline_mean_tokens": [load.offline_prompt_tokens, load.offline_output_tokens],
            "settle_s": load.settle_s,
            "loads": {a.name: _budgets(a) for a in self._arms},
            "simulated_runs_of_each": options.seeds,
            "gauge_s": options.gauge_s,
            "is_quick": options.is_quick,
            "interval": {
                "method": "paired two-level block bootstrap, percentile",
                "block_s": BLOCK_S,
                "replicates": 200 if options.is_quick else REPLICATES,
                "coverage_ratio": COVERAGE_RATIO,
            },
        }


def _spec(options: Options) -> EngineSpec:
    """The engine of `bench-colocate` on a CPU."""
    load = options.load
    model = load.model_path or make_bench_model(load.output / "models", is_cpu=True)
    return EngineSpec(
        name=_ENGINE, model_path=model.absolute(), device=load.device, has_plugin=True
    )


def _budgets(arm: Arm) -> dict[str, float] | None:
    if arm.budgets is None:
        return None
    names = ("latency_budget_ms", "max_stall_ms", "idle_budget_ms", "calm_budget_ms")
    return {name: round(getattr(arm.budgets, name), 3) for name in names}


def _both(measured: float, simulated: float) -> dict[str, float]:
    return {"measured": round(measured, 3), "simulated": round(simulated, 3)}


def _counters(simulated: Simulated) -> dict[str, int]:
    counters = simulated.counters
    return {name: getattr(counters, name) for name in counters.__slots__}
