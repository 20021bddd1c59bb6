"""`make bench-colocate`: stock SGLang and Slacktide on one real engine, arm by arm.

Owns the order of a run: engines, latency model, rates, rounds, figures, and a machine with
nothing left running. Exit status 0 for a valid run whatever its figures say, 1 for one
that is not valid or did not end, 130 for an interrupted one.
"""

import asyncio
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from bench.colocate import caps
from bench.colocate.arms import (
    ITL_P99_RATIO,
    TTFT_P99_RATIO,
    Arm,
    ArmKind,
    arms_of,
    attained_slo,
    round_order,
)
from bench.colocate.client import SloLabels
from bench.colocate.engines import BenchEngineError, EngineSpec, running_engines
from bench.colocate.judgement import PLUGIN_TARGET, Judge
from bench.colocate.options import Options, read_options
from bench.colocate.prepare import (
    BUSY_RATIO,
    FIRST_JUDGED_SLICE,
    Prepared,
    Rehearse,
    Tuning,
    prepare,
    slice_of,
)
from bench.colocate.reading import BLOCK_S, ArmReading, read_arm
from bench.colocate.slices import TRACES, OfflinePrompts, Slice
from bench.colocate.specs import engine_spec
from bench.colocate.stage import Stage, pin_this_process
from bench.colocate.tables import sentence, show_arms
from bench.colocate.tuner import Tuner
from bench.colocate.validity import disturbance, problems
from bench.demo.session import progress_since_start
from bench.harness import Figure, Report, figure_of, publish
from bench.prefix.compare import PrefixOptions, measure_prefix_order
from bench.statistics import COVERAGE_RATIO as INTERVAL_RATIO
from bench.statistics import REPLICATES
from controlplane.localfleet.readiness import Tell
from nodeagent.engine.errors import EngineError
from nodeagent.plugin_contract import encode_budgets
from planner.batching.state import Budgets

_STOCK, _MIXED, _PLUGIN = "stock", "stock-mixed", "plugin"
_MIXED_CHUNK_WORDS = (
    "off in every arm but B with --mixed-chunk: torch_native pads the decode rows of a mixed"
    " batch to the longest KV, which makes it 2-3 times as dear as its halves (measured)"
)


def main(arguments: Sequence[str]) -> int:
    """Runs the bench; returns its exit code."""
    options = read_options(arguments)
    tell = progress_since_start()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        report, invalid = asyncio.run(_Run(options, tell=tell).everything())
    except (BenchEngineError, EngineError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing is left running", file=sys.stderr)
        return 130
    print(f"report {publish(report)}")
    for cause in invalid:
        print(f"not valid: {cause}", file=sys.stderr)
    return 1 if invalid else 0


class _Run:
    """One run of the bench and what it gathered so far."""

    def __init__(self, options: Options, *, tell: Tell) -> None:
        self._options, self._tell = options, tell
        self._began_s = time.monotonic()
        self._arms = arms_of(caps=options.caps, tolerances=options.tolerances, only=options.only)
        self._offline = OfflinePrompts(
            seed=options.seed,
            mean_prompt_tokens=options.offline_prompt_tokens,
            mean_output_tokens=options.offline_output_tokens,
        )
        self._samples: dict[str, Any] = {}
        self._figures: list[Figure] = []
        self._invalid: list[str] = []
        self._phases_s: dict[str, float] = {}
        self._searched_s = 0.0
        self._replicates = 200 if options.is_quick else REPLICATES

    async def everything(self) -> tuple[Report, list[str]]:
        """Runs it all; the report, and why it is not valid."""
        options = self._options
        cores = pin_this_process() if options.is_cpu else None
        specs = self._specs()
        self._tell(f"starting {len(specs)} engines")
        logs = options.output / "logs"
        async with running_engines(specs, logs=logs, cores=cores) as engines:
            self._phase("start")
            stage = Stage(engines)
            plugin = await stage.enter(_PLUGIN)
            prepared = await prepare(plugin, options, offline=self._offline, tell=self._tell)
            self._phase("latency model, rates, pilot")
            for tuning in prepared.tunings.values():
                await self._trace(stage, tuning, prepared.rehearse)
        if options.with_prefix:
            await self._prefix()
        self._figures.append(
            figure_of(
                "plugin CPU time / pass time, online only",
                [tuning.alone.plugin_ratio for tuning in prepared.tunings.values()],
                "ratio",
                target=PLUGIN_TARGET,
            )
        )
        return self._report(specs, cores, prepared), self._invalid

    # ------------------------------------------------------------ the arms of a trace

    async def _trace(self, stage: Stage, tuning: Tuning, rehearse: Rehearse) -> None:
        options, trace = self._options, tuning.trace
        name = trace.spec.name
        rounds = options.rounds[name]
        readings: dict[str, list[ArmReading]] = {arm.name: [] for arm in self._arms}
        tuner = Tuner(tuning, rehearse, max_probes=options.max_probes)
        slices: list[dict[str, Any]] = []
        run_again: list[str] = []
        for number in range(rounds):
            if number and 0.0 < options.last_round_s < time.monotonic() - self._began_s:
                self._tell(f"{name}: round {number + 1} of {rounds} would begin too late")
                break
            online = slice_of(options, trace, FIRST_JUDGED_SLICE + number, rate=tuning.rate)
            slices.append(online.as_values())
            await tuner.begin(online)
            for arm in round_order(self._arms, number=number, rounds=rounds):
                labels, budgets = SloLabels(), None
                if arm.kind is ArmKind.SLACKTIDE:
                    slo, budgets = await tuner.tune(arm, readings)
                    labels = SloLabels(ttft_ms=slo.ttft_ms, itl_ms=slo.itl_ms)
                run_arm = partial(self._arm, stage, arm, online, labels=labels, budgets=budgets)
                reading = await run_arm()
                if why := disturbance(reading):
                    # Once, and whatever it came to: the machine chose, not the figures.
                    self._tell(f"{name} round {number + 1}, {arm.name}: run again: {why}")
                    run_again.append(f"round {number + 1}, {arm.name}: {why}")
                    reading = await run_arm()
                readings[arm.name].append(reading)
                self._tell(f"{name} round {number + 1}, {arm.name}: {sentence(reading)}")
            if number + 1 < rounds:
                await tuner.learn(readings)
        self._searched_s += tuner.searched_s
        attained = attained_slo(readings.get("A", ()))
        show_arms(name, readings, slo=attained)
        self._samples[name] = {
            "is_generated": trace.is_generated,
            "slices": slices,
            "run_again": run_again,
            "budgets": tuner.as_values(),
            "arms": {
                arm: [r.as_values(attained) for r in found] for arm, found in readings.items()
            },
        }
        judge = Judge(
            trace=name,
            arms=self._arms,
            readings=readings,
            seed=options.seed,
            replicates=self._replicates,
        )
        self._figures += judge.figures()
        self._invalid += problems(name, readings)
        self._phase(f"arms of {name}")

    async def _arm(
        self,
        stage: Stage,
        arm: Arm,
        online: Slice,
        *,
        labels: SloLabels,
        budgets: Budgets | None,
    ) -> ArmReading:
        options = self._options
        name = self._engine_of(arm)
        engine = await stage.enter(name)
        if budgets is not None:
            await engine.set(encode_budgets(budgets))
        watched = await stage.run(
            name,
            online=online if arm.has_online else None,
            # The batch alone needs no arrivals, only a steady state.
            duration_s=online.duration_s if arm.has_online else online.duration_s / 2,
            labels=labels,
            offline=self._offline if arm.has_offline else None,
            window=arm.cap if arm.kind is ArmKind.CAP else options.window,
            settle_s=self._settle_s(arm, online),
        )
        return read_arm(
            watched.run,
            arm=arm.name,
            idle_engine_cpu_s=watched.idle_engine_cpu_s,
            foreign_cores=watched.foreign_cores,
        )

    def _settle_s(self, arm: Arm, online: Slice) -> float:
        """Longer for the batch alone: its steady-state tail is what counts."""
        if not arm.has_offline:
            return 0.5
        if not arm.has_online:
            return max(self._options.settle_s, online.duration_s / 4)
        return self._options.settle_s

    def _engine_of(self, arm: Arm) -> str:
        if arm.kind is ArmKind.SLACKTIDE:
            return _PLUGIN
        is_mixed = arm.kind is ArmKind.PRIORITY and self._options.mixed_chunk
        return _MIXED if is_mixed and self._options.is_cpu else _STOCK

    async def _prefix(self) -> None:
        """The part on prefix order, on an engine of its own; see `bench.prefix`."""
        options = self._options
        found = await measure_prefix_order(
            PrefixOptions(
                device=options.device,
                model_path=options.model_path,
                rounds=1 if options.is_quick else 2,
                ramp_s=3.0 if options.is_quick else 8.0,
                seconds=6.0 if options.is_quick else 18.0,
                seed=options.seed,
                replicates=self._replicates,
                output=options.output,
            ),
            tell=self._tell,
        )
        self._figures += found.figures
        self._samples["prefix_order"] = {"configuration": found.configuration, **found.samples}
        self._phase("prefix order")

    # ------------------------------------------------------------ details

    def _specs(self) -> list[EngineSpec]:
        """The engines: equal flags, with and without the plugin."""
        options = self._options
        plugin = engine_spec(options, name=_PLUGIN, has_plugin=True)
        specs = [plugin, replace(plugin, name=_STOCK, has_plugin=False)]
        if options.mixed_chunk and options.is_cpu:
            specs.append(replace(plugin, name=_MIXED, has_plugin=False, mixed_chunk=True))
        return specs

    def _phase(self, name: str) -> None:
        now_s = time.monotonic()
        self._phases_s[name] = round(now_s - self._began_s - sum(self._phases_s.values()), 1)

    def _report(
        self,
        specs: Sequence[EngineSpec],
        cores: tuple[int, int] | None,
        prepared: Prepared,
    ) -> Report:
        options = self._options
        configuration = {
            "device": options.device,
            "model": specs[0].model_path.name,
            "engine": {
                "kv_cache_tokens": specs[0].kv_cache_tokens,
                "chunked_prefill_size": specs[0].chunked_prefill_size,
                "max_running_requests": specs[0].max_running_requests,
                "mem_fraction_static": specs[0].memory_ratio,
                "flags": specs[0].flags,
            },
            "arms": {a.name: a.kind.value for a in self._arms},
            "mixed_chunk_of_B": options.mixed_chunk or not options.is_cpu,
            "mixed_chunk_words": _MIXED_CHUNK_WORDS if options.is_cpu else "on, as in all arms",
            "rounds": options.rounds,
            "requests_of_an_arm": {
                name: self._samples[name]["slices"][0]["requests"] for name in prepared.tunings
            },
            "requests_per_s": {name: round(t.rate, 4) for name, t in prepared.tunings.items()},
            "busy_ratio_aimed_at": BUSY_RATIO,
            "length_divisors": {n: options.length_divisor(TRACES[n]) for n in options.traces},
            "caps": options.caps,
            "tolerances": options.tolerances,
            "tails_over_A": {"ttft_p99": TTFT_P99_RATIO, "itl_p99": ITL_P99_RATIO},
            "window": options.window,
            "offline_mean_tokens": [options.offline_prompt_tokens, options.offline_output_tokens],
            "settle_s": options.settle_s,
            "cores": {"engine": cores[0], "load_and_http": cores[1]} if cores else None,
            "is_quick": options.is_quick,
            "interval": {
                "method": "paired two-level block bootstrap, percentile",
                "block_s": BLOCK_S,
                "replicates": self._replicates,
                "coverage_ratio": INTERVAL_RATIO,
            },
            "caps_interpolated": caps.__doc__,
        }
        samples = {
            **self._samples,
            **prepared.as_values(),
            "phases_s": self._phases_s,
            "budget_search_s": round(self._searched_s, 1),
            "took_s": round(time.monotonic() - self._began_s, 1),
            "invalid": self._invalid,
        }
        return Report(
            name="colocate",
            seed=options.seed,
            configuration=configuration,
            samples=samples,
            figures=self._figures,
        )
