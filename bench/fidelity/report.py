"""What a run found, simulated and judged.

Owns the report of a run, whole or cut short. Refuses engines: all of it happens when they
are gone.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from bench.colocate.engines import EngineSpec
from bench.colocate.reading import BLOCK_S
from bench.colocate.slices import OfflinePrompts, Slice
from bench.colocate.validity import problems
from bench.fidelity.arms import Arm
from bench.fidelity.calibrate import Calibrated
from bench.fidelity.judgement import Compared, Pair, compare, judge, show_compared
from bench.fidelity.measured import Bench, Measured
from bench.fidelity.options import Options
from bench.fidelity.twin import Simulated, Twin
from bench.harness import Figure, Report
from bench.statistics import COVERAGE_RATIO, REPLICATES
from controlplane.localfleet.readiness import Tell
from planner.model import Slo

INTERRUPTED = "interrupted"
"""Why a run ended early where somebody ended it: nothing is simulated then."""

_EVERYTHING = Slo(ttft_ms=1e9, itl_ms=1e9)  # attainment is not what this bench is about
_BUDGETS_SHOWN = ("latency_budget_ms", "max_stall_ms", "idle_budget_ms", "calm_budget_ms")


@dataclass(slots=True, kw_only=True)
class Findings:
    """What a run has so far; `measured` is by trace and load, one a round."""

    options: Options
    spec: EngineSpec | None = None
    calibrated: Calibrated | None = None
    bench: Bench | None = None
    arms: list[Arm] = field(default_factory=list)
    slices: dict[str, list[Slice]] = field(default_factory=dict)
    measured: dict[str, dict[str, list[Measured]]] = field(default_factory=dict)
    began_s: float = field(default_factory=time.monotonic)

    @property
    def offline(self) -> OfflinePrompts:
        """The batch."""
        load = self.options.load
        return OfflinePrompts(
            seed=load.seed,
            mean_prompt_tokens=load.offline_prompt_tokens,
            mean_output_tokens=load.offline_output_tokens,
        )


def report_of(findings: Findings, *, cause: str, tell: Tell) -> tuple[Report, list[str]]:
    """Simulates what was measured in whole rounds, and judges.

    Args:
        findings: of the run.
        cause: why it ended early; empty where it did not.
        tell: for progress.

    Returns:
        The report, and why the run is not valid, a sentence each.
    """
    invalid = [f"the run ended early: {cause}"] if cause else []
    figures: list[Figure] = []
    samples: dict[str, Any] = {}
    for trace, measured in findings.measured.items():
        rounds = min(len(found) for found in measured.values())
        samples[trace] = _measured_values(findings, trace)
        invalid += problems(trace, {arm: [m.reading for m in f] for arm, f in measured.items()})
        if not rounds or cause == INTERRUPTED:
            continue
        tell(f"{trace}: simulating {rounds} round(s) of {len(measured)} loads")
        try:
            found, values = _judged(findings, trace, rounds)
        except (RuntimeError, ValueError) as error:  # see `simulation.replay.replay`
            invalid.append(f"{trace}: the simulation ended: {error}")
            continue
        figures += found
        samples[trace] |= values
    if findings.calibrated is not None:
        samples |= findings.calibrated.as_values()
    if findings.bench is not None:
        samples["paces"] = [round(pace, 4) for pace in findings.bench.paces]
    samples |= {"took_s": round(time.monotonic() - findings.began_s, 1), "invalid": invalid}
    report = Report(
        name="fidelity",
        seed=findings.options.load.seed,
        configuration=_configuration(findings),
        samples=samples,
        figures=figures,
    )
    return report, invalid


def _judged(findings: Findings, trace: str, rounds: int) -> tuple[list[Figure], dict[str, Any]]:
    """Figures, and what explains them."""
    bench, options = findings.bench, findings.options
    assert bench is not None
    seeds = range(options.seeds)

    def simulated(pace: Callable[[Measured], float], *, runs: int) -> dict[str, list[Simulated]]:
        return _simulated(findings, trace, rounds, pace=pace, seeds=seeds[:runs])

    around = simulated(bench.pace_around, runs=options.seeds)
    pairs = _pairs(findings, trace, around)
    at_own = compare(_pairs(findings, trace, simulated(bench.own_pace, runs=2)))
    at_first = compare(_pairs(findings, trace, simulated(lambda _: 1.0, runs=2)))
    show_compared(f"{trace}: simulated at the pace measured around each run", compare(pairs))
    show_compared(f"{trace}: for comparison, at the pace of each run's own iterations", at_own)
    values = {
        "compared": {
            "pace_around": _compared_values(compare(pairs)),
            "own_pace": _compared_values(at_own),
            "pace_of_calibration": _compared_values(at_first),
        },
        "by_round": [
            _compared_values(compare([_round(pair, number) for pair in pairs]))
            for number in range(rounds)
        ],
        "simulated_counters": {
            arm: [asdict(each.counters) for each in found] for arm, found in around.items()
        },
    }
    replicates = _replicates(options)
    return judge(trace, pairs, seed=options.load.seed, replicates=replicates), values


def _simulated(
    findings: Findings,
    trace: str,
    rounds: int,
    *,
    pace: Callable[[Measured], float],
    seeds: Sequence[int],
) -> dict[str, list[Simulated]]:
    """Every load of every round in simulation."""
    calibrated = findings.calibrated
    assert calibrated is not None
    twin = Twin(
        settings=calibrated.settings,
        model=calibrated.fitted.model,
        times=calibrated.times,
        offline=findings.offline,
        window=findings.options.load.window,
        outside_ms=calibrated.outside.ttft_ms,
    )
    return {
        arm: [
            twin.simulate(
                each.judged,
                pace_ratio=pace(each),
                seeds=[1000 * number + seed for seed in seeds],
            )
            for number, each in enumerate(measured[:rounds])
        ]
        for arm, measured in findings.measured[trace].items()
    }


def _pairs(findings: Findings, trace: str, simulated: dict[str, list[Simulated]]) -> list[Pair]:
    """Measured and simulated readings of the rounds that were simulated."""
    pairs = []
    for arm in findings.arms:
        there = simulated[arm.name]
        here = findings.measured[trace][arm.name][: len(there)]
        pairs.append(
            Pair(
                arm=arm,
                measured=tuple(each.reading for each in here),
                simulated=tuple(each.reading for each in there),
            )
        )
    return pairs


def _round(pair: Pair, number: int) -> Pair:
    return Pair(
        arm=pair.arm, measured=(pair.measured[number],), simulated=(pair.simulated[number],)
    )


def _compared_values(compared: Sequence[Compared]) -> dict[str, dict[str, float]]:
    return {
        c.name: {"measured": round(c.measured, 3), "simulated": round(c.simulated, 3)}
        for c in compared
    }


def _measured_values(findings: Findings, trace: str) -> dict[str, Any]:
    bench = findings.bench
    assert bench is not None

    def values(measured: Measured) -> dict[str, Any]:
        paces = bench.own_paces(measured)
        return {
            **measured.reading.as_values(_EVERYTHING),
            "pace_around": round(bench.pace_around(measured), 4),
            "own_pace": round(bench.own_pace(measured), 4),
            "own_paces": {kind: round(pace, 4) for kind, pace in paces.items()},
            "counters": measured.counters,
        }

    return {
        "slices": [online.as_values() for online in findings.slices[trace]],
        "measured": {
            arm: [values(each) for each in found] for arm, found in findings.measured[trace].items()
        },
    }


def _configuration(findings: Findings) -> dict[str, Any]:
    options, load, spec = findings.options, findings.options.load, findings.spec
    loads = findings.calibrated.loads if findings.calibrated else ()
    engine = None
    if spec is not None:
        engine = {
            "model": spec.model_path.name,
            "kv_cache_tokens": spec.kv_cache_tokens,
            "chunked_prefill_size": spec.chunked_prefill_size,
            "max_running_requests": spec.max_running_requests,
            "device": spec.device,
            "flags": spec.flags,
        }
    return {
        "engine": engine,
        "rounds": load.rounds,
        "least_s_of_a_run": load.least_s,
        "length_divisors": {
            each.trace.spec.name: load.length_divisor(each.trace.spec) for each in loads
        },
        "is_generated": {each.trace.spec.name: each.trace.is_generated for each in loads},
        "window": load.window,
        "offline_mean_tokens": [load.offline_prompt_tokens, load.offline_output_tokens],
        "settle_s": load.settle_s,
        "loads": {
            arm.name: arm.budgets
            and {name: round(getattr(arm.budgets, name), 3) for name in _BUDGETS_SHOWN}
            for arm in findings.arms
        },
        "simulated_runs_of_each": options.seeds,
        "gauge_s": options.gauge_s,
        "is_quick": options.is_quick,
        "interval": {
            "method": "paired two-level block bootstrap, percentile",
            "block_s": BLOCK_S,
            "replicates": _replicates(options),
            "coverage_ratio": COVERAGE_RATIO,
        },
    }


def _replicates(options: Options) -> int:
    return 200 if options.is_quick else REPLICATES
