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
from dataclasses import dataclass, replace
from typing import Any

from bench.colocate import caps
from bench.colocate.arms import (
    ITL_P99_RATIO,
    TTFT_P99_RATIO,
    Arm,
    ArmKind,
    ArmSlo,
    arms_of,
    attained_slo,
    pooled_metrics,
    round_order,
    slo_of,
    slo_relative_to,
)
from bench.colocate.client import SloLabels
from bench.colocate.engines import BenchEngine, BenchEngineError, EngineSpec, running_engines
from bench.colocate.judgement import PLUGIN_TARGET, Judge
from bench.colocate.model import make_bench_model
from bench.colocate.options import Options, read_options
from bench.colocate.reading import BLOCK_S, ArmReading, read_arm
from bench.colocate.slices import TRACES, OfflinePrompts, Slice, Trace, cut, load_trace
from bench.colocate.stage import Stage, pin_this_process
from bench.colocate.tables import sentence, show_arms
from bench.colocate.tuning import (
    Fitted,
    OnlineOnly,
    Rehearsal,
    Tuned,
    find_growth,
    fit_model,
    gather_samples,
    half_busy_rate,
    measure_online_only,
    model_settings,
    simulated_engine,
    tune,
)
from bench.colocate.validity import problems
from bench.demo.session import progress_since_start
from bench.harness import Figure, Report, figure_of, publish
from bench.prefix.compare import PrefixOptions, measure_prefix_order
from bench.statistics import COVERAGE_RATIO as INTERVAL_RATIO
from bench.statistics import REPLICATES
from controlplane.localfleet.readiness import Tell
from nodeagent.plugin_contract import encode_budgets
from nodeagent.sglang_plugin.cpu_platform import declare_vision_operators
from planner.batching.state import Budgets
from planner.simulation.settings import EngineSettings

BUSY_RATIO = 0.5
"""How busy online alone is to keep the engine."""

_STOCK, _MIXED, _PLUGIN = "stock", "stock-mixed", "plugin"
_TUNING_SLICE, _FIRST_SLICE = 0, 2  # slices 0 and 1 are never judged
_REHEARSAL_SLICE = -1  # from the other end of the trace
_REHEARSED = 200  # requests: a p99 of fewer than 100 is their maximum
_LENGTHS_MAX = 4096
_KV_TOKENS, _CHUNK_TOKENS, _CPU_ROWS, _GPU_ROWS = 32768, 256, 48, 256
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
    except (BenchEngineError, ValueError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; nothing is left running", file=sys.stderr)
        return 130
    print(f"report {publish(report)}")
    for cause in invalid:
        print(f"not valid: {cause}", file=sys.stderr)
    return 1 if invalid else 0


@dataclass(frozen=True, slots=True, kw_only=True)
class _Tuning:
    """What a trace's arms rest on, all from slices that none of them is judged by."""

    trace: Trace
    rate: float
    online: Slice
    alone: OnlineOnly
    rehearsal: Rehearsal


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
        self._alone: list[OnlineOnly] = []
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
            tunings, fitted = await self._prepare(plugin)
            for tuning in tunings.values():
                await self._trace(stage, tuning)
        if options.with_prefix:
            await self._prefix()
        self._figures.append(
            figure_of(
                "plugin CPU time / pass time, online only",
                [seen.plugin_ratio for seen in self._alone],
                "ratio",
                target=PLUGIN_TARGET,
            )
        )
        return self._report(specs, cores, tunings, fitted), self._invalid

    # ------------------------------------------------------------ before the arms

    async def _prepare(self, plugin: BenchEngine) -> tuple[dict[str, "_Tuning"], Fitted]:
        """Latency model, rates and pilot, on slices that no arm is judged by."""
        options = self._options
        first = self._cut(options.traces[0], _TUNING_SLICE, rate=0.0)
        self._tell(f"measuring iterations for {options.tuning_s:.0f} s")
        samples = await gather_samples(
            plugin, first, self._offline, window=options.window, seconds=options.tuning_s
        )
        fitted = fit_model(samples, device_name=options.device)
        self._tell(f"latency model of {fitted.samples} iterations: {fitted.decode.reason};"
                   f" {fitted.prefill.reason}")  # fmt: skip
        await plugin.client.set_internal_state(model_settings(fitted))
        self._phase("latency model")
        settings = await self._simulated(plugin)
        tunings = {}
        for name in options.traces:
            tunings[name] = await self._tuning(plugin, name, fitted=fitted, settings=settings)
            if name != options.traces[0]:  # one pilot: what it finds is the engine's
                tunings[name].rehearsal.growth = tunings[options.traces[0]].rehearsal.growth
        await self._pilot(plugin, tunings[options.traces[0]], fitted=fitted, settings=settings)
        self._phase("rates and pilot")
        return tunings, fitted

    async def _tuning(
        self, plugin: BenchEngine, name: str, *, fitted: Fitted, settings: EngineSettings
    ) -> "_Tuning":
        """A trace's rate, by simulation, and what online alone comes to at it, measured."""
        options = self._options
        trace = load_trace(TRACES[name], seed=options.seed)

        def rehearse(rate: float) -> Rehearsal:
            return Rehearsal(
                fitted=fitted,
                settings=settings,
                online=self._slice(trace, _REHEARSAL_SLICE, rate=rate, count=_REHEARSED),
                offline=self._offline,
                window=options.window,
            )

        rate = options.rates[name] or half_busy_rate(
            rehearse, busy_ratio=BUSY_RATIO, start=trace.spec.requests_per_s
        )
        online = self._slice(trace, _TUNING_SLICE + 1, rate=rate)
        alone = await measure_online_only(plugin, online)
        await plugin.empty()
        self._tell(f"{name}: {rate:.2f} requests/s keep the engine {alone.busy_ratio:.0%} busy")
        self._alone.append(alone)
        self._samples.setdefault("online_only", {})[name] = {
            "requests_per_s": round(rate, 4), **alone.as_values()
        }  # fmt: skip
        return _Tuning(trace=trace, rate=rate, online=online, alone=alone, rehearsal=rehearse(rate))

    async def _pilot(
        self, plugin: BenchEngine, tuning: "_Tuning", *, fitted: Fitted, settings: EngineSettings
    ) -> None:
        """Corrects the simulation by one run of the widest tolerance on the tuning slice."""
        options = self._options
        if not options.tolerances:
            return
        metrics = tuning.alone.metrics
        slo = slo_relative_to(metrics, tolerance_ratio=max(options.tolerances))
        found = tune(
            tuning.rehearsal, slo, measured_alone=metrics, start=None,
            max_probes=options.max_probes,
        )  # fmt: skip
        same_slice = Rehearsal(
            fitted=fitted,
            settings=settings,
            online=tuning.online,
            offline=self._offline,
            window=options.window,
        )
        growth = await find_growth(
            plugin,
            tuning.online,
            slo=slo,
            budgets=found.budgets,
            rehearsal=same_slice,
            alone=metrics,
            offline=self._offline,
            window=options.window,
            settle_s=options.settle_s,
        )
        await plugin.empty()
        tuning.rehearsal.growth = growth
        self._samples["pilot_growth"] = {name: round(k, 3) for name, k in growth.items()}
        shown = ", ".join(f"{name} {k:.2f}" for name, k in growth.items())
        self._tell(f"pilot: measured over simulated interference: {shown}")

    def _cut(self, trace: str, number: int, *, rate: float) -> Slice:
        return self._slice(load_trace(TRACES[trace], seed=self._options.seed), number, rate=rate)

    def _slice(self, trace: Trace, number: int, *, rate: float, count: int = 0) -> Slice:
        options = self._options
        divisor = trace.spec.length_divisor if options.is_cpu else 1.0
        return cut(
            trace,
            number=number,
            count=count or options.requests,
            requests_per_s=rate or trace.spec.requests_per_s,
            length_scale=1.0 / divisor,
            max_context_tokens=_LENGTHS_MAX,
            seed=options.seed,
        )

    # ------------------------------------------------------------ the arms of a trace

    async def _trace(
        self,
        stage: Stage,
        tuning: "_Tuning",
    ) -> None:
        options, trace, rate = self._options, tuning.trace, tuning.rate
        name = trace.spec.name
        readings: dict[str, list[ArmReading]] = {arm.name: [] for arm in self._arms}
        budgets: dict[str, Budgets] = {}
        slices, tunings = [], []
        for number in range(options.rounds[name]):
            online = self._slice(trace, _FIRST_SLICE + number, rate=rate)
            slices.append(online.as_values())
            tuned: dict[str, Any] = {}
            for arm in round_order(self._arms, number=number, rounds=options.rounds[name]):
                labels = SloLabels()
                if arm.kind is ArmKind.SLACKTIDE:
                    slo = slo_of(arm, readings)
                    labels = SloLabels(ttft_ms=slo.ttft_ms, itl_ms=slo.itl_ms)
                    found = self._tune(
                        tuning.rehearsal, slo, measured=readings["A"], start=budgets.get(arm.name)
                    )
                    budgets[arm.name] = found.budgets
                    tuned[arm.name] = {
                        "slo_ms": {k: round(v, 3) for k, v in slo.limits_ms.items()},
                        **found.as_values(),
                    }
                reading = await self._arm(
                    stage, arm, online, labels=labels, budgets=budgets.get(arm.name)
                )
                readings[arm.name].append(reading)
                self._tell(f"{name} round {number + 1}, {arm.name}: {sentence(reading)}")
            tunings.append(tuned)
        attained = attained_slo(readings.get("A", ()))
        show_arms(name, readings, slo=attained)
        self._samples[name] = {
            "is_generated": trace.is_generated,
            "slices": slices,
            "budgets": tunings,
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

    def _tune(
        self,
        rehearsal: Rehearsal,
        slo: ArmSlo,
        *,
        measured: Sequence[ArmReading],
        start: Budgets | None,
    ) -> Tuned:
        """Searches budgets; from those of the round before, half as many probes do."""
        probes = self._options.max_probes
        began_s = time.monotonic()
        found = tune(
            rehearsal,
            slo,
            measured_alone=pooled_metrics(measured),
            start=start,
            max_probes=probes if start is None else max(1, probes // 2),
        )
        self._searched_s += time.monotonic() - began_s
        return found

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
            await engine.client.set_internal_state(encode_budgets(budgets))
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
        model = options.model_path
        if model is None:
            declare_vision_operators()
            model = make_bench_model(options.output / "models")
        plugin = EngineSpec(
            name=_PLUGIN,
            model_path=model.absolute(),
            device=options.device,
            has_plugin=True,
            kv_cache_tokens=_KV_TOKENS if options.is_cpu else None,
            chunked_prefill_size=_CHUNK_TOKENS if options.is_cpu else None,
            max_running_requests=_CPU_ROWS if options.is_cpu else _GPU_ROWS,
        )
        specs = [plugin, replace(plugin, name=_STOCK, has_plugin=False)]
        if options.mixed_chunk and options.is_cpu:
            specs.append(replace(plugin, name=_MIXED, has_plugin=False, mixed_chunk=True))
        return specs

    async def _simulated(self, plugin: BenchEngine) -> EngineSettings:
        """The plugin's engine, as it says it is."""
        info = await plugin.client.server_info()
        return simulated_engine(
            is_cpu=self._options.is_cpu,
            mixes=bool(info.get("enable_mixed_chunk")),
            kv_tokens=(await plugin.state()).kv_total_tokens,
            chunk_tokens=int(info.get("chunked_prefill_size") or 0),
            max_rows=int(info.get("max_running_requests") or _CPU_ROWS),
        )

    def _phase(self, name: str) -> None:
        now_s = time.monotonic()
        self._phases_s[name] = round(now_s - self._began_s - sum(self._phases_s.values()), 1)

    def _report(
        self,
        specs: Sequence[EngineSpec],
        cores: tuple[int, int] | None,
        tunings: "dict[str, _Tuning]",
        fitted: Fitted,
    ) -> Report:
        options = self._options
        configuration = {
            "device": options.device,
            "model": specs[0].model_path.name,
            "engine": {
                "kv_cache_tokens": specs[0].kv_cache_tokens,
                "chunked_prefill_size": specs[0].chunked_prefill_size,
                "max_running_requests": specs[0].max_running_requests,
            },
            "arms": {a.name: a.kind.value for a in self._arms},
            "mixed_chunk_of_B": options.mixed_chunk or not options.is_cpu,
            "mixed_chunk_words": _MIXED_CHUNK_WORDS if options.is_cpu else "on, as in all arms",
            "rounds": options.rounds,
            "requests_of_an_arm": options.requests,
            "requests_per_s": {name: round(t.rate, 4) for name, t in tunings.items()},
            "busy_ratio_aimed_at": BUSY_RATIO,
            "length_divisors": {
                n: TRACES[n].length_divisor if options.is_cpu else 1.0 for n in options.traces
            },
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
            "latency_model": fitted.as_values(),
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
