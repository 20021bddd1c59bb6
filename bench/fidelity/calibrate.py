"""What simulation is told of the engine, measured apart from the judged runs.

Owns the order: iterations of mixed loads, the rate that keeps the engine half busy, online
alone at that rate, requests one at a time, the batch alone at few rows, the gauge's load; then
the model fitted to all their iterations, and what it leaves over. Everything is on slices no
run is judged by.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from typing import Any

from bench.colocate import options as colocate
from bench.colocate.arms import ArmSlo, slo_relative_to
from bench.colocate.engines import BenchEngine
from bench.colocate.fitting import Fitted, fit_model, model_settings
from bench.colocate.prepare import BUSY_RATIO, FIRST_JUDGED_SLICE, refuse_short, slice_of
from bench.colocate.probing import OnlineOnly, follow, gather_samples, measure_online_only
from bench.colocate.rehearsal import Rehearsal, half_busy_rate, simulated_engine
from bench.colocate.slices import TRACES, OfflinePrompts, Slice, Trace, load_trace
from bench.fidelity.gauge import GAUGE_ROWS, run_small, samples_of
from bench.fidelity.options import Options
from bench.fidelity.outside import Outside, measure_outside, one_at_a_time
from controlplane.localfleet.readiness import Tell
from nodeagent.plugin_contract import MeasuredIteration
from planner.simulation.measured import MeasuredTimes
from planner.simulation.settings import EngineSettings

_MIXED_SLICE, _ALONE_SLICE, _SOLITARY_SLICE, _GAUGE_SLICE = 0, 1, 2, 3
_RATED_SLICE, _RATED = -1, 600  # from the other end of the trace; requests a rate is found on
_ROWS = (2, 3, 4, 5, 6, 12)  # what decodes beside online; each count has a time of its own
_TOLERANCE_RATIO = 0.5  # of the targets that online requests carry, as of D@50%


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """A trace as the engine bears it.

    Args:
        rate: online requests a second.
        slo: what its requests carry beside a batch.
    """

    trace: Trace
    rate: float
    slo: ArmSlo


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibrated:
    """All that simulation is told; `gauge` is what the pace is measured by."""

    fitted: Fitted
    times: MeasuredTimes
    settings: EngineSettings
    outside: Outside
    alone: OnlineOnly
    gauge: Slice
    loads: tuple[Load, ...]

    def as_values(self) -> dict[str, Any]:
        """What the report says of it."""
        return {
            "latency_model": self.fitted.as_values(),
            "simulated_engine": {
                name: value.value if isinstance(value, Enum) else value
                for name, value in asdict(self.settings).items()
            },
            "outside_engine": self.outside.as_values(),
            "online_only": self.alone.as_values(),
            "loads": {
                load.trace.spec.name: {
                    "requests_per_s": round(load.rate, 4),
                    "ttft_target_ms": round(load.slo.ttft_ms, 3),
                    "itl_target_ms": round(load.slo.itl_ms, 3),
                }
                for load in self.loads
            },
        }


async def calibrate(
    engine: BenchEngine, options: Options, *, offline: OfflinePrompts, tell: Tell
) -> Calibrated:
    """Measures, fits, and leaves the engine empty, with its model.

    Args:
        engine: with the plugin, awake and empty.
        options: of the run.
        offline: the batch.
        tell: for progress.

    Raises:
        BenchEngineError: requests sent one at a time failed or were disturbed.
        ValueError: a trace too short, or too few iterations.
    """
    load = options.load
    traces = [load_trace(TRACES[name], seed=load.seed) for name in load.traces]
    first = traces[0]
    settings = await _settings(engine, load)
    tell(f"measuring iterations of mixed loads for {options.mixed_s:.0f} s")
    mixed = slice_of(load, first, _MIXED_SLICE, rate=first.spec.requests_per_s)
    passes = await gather_samples(
        engine, mixed, offline, window=load.window, seconds=options.mixed_s
    )
    fitted = fit_model(passes, device_name=load.device)
    await engine.set(model_settings(fitted))
    rates = [await asyncio.to_thread(_rate, trace, options, fitted, settings, offline)
             for trace in traces]  # fmt: skip
    tell(f"online alone for {options.alone_s:.0f} s, and {options.solitary} requests one at a time")
    alone, more = await _alone(engine, options, trace=first, rate=rates[0])
    passes += more
    solitary = slice_of(load, first, _SOLITARY_SLICE, rate=1.0, count=options.solitary)
    outside, more = await measure_outside(engine, one_at_a_time(solitary), loop=settings.loop)
    passes += more
    tell("the batch alone at few rows, and the gauge's load")
    for rows in _ROWS:
        passes += await run_small(engine, offline=offline, rows=rows, seconds=options.rows_s)
    count = max(4, round(options.gauge_s * rates[0]))
    gauge = slice_of(load, first, _GAUGE_SLICE, rate=rates[0], count=count)
    for _ in range(2):
        passes += await run_small(
            engine, offline=offline, rows=GAUGE_ROWS, seconds=options.gauge_s, online=gauge
        )
    fitted = fit_model(passes, device_name=load.device)
    await engine.set(model_settings(fitted))
    tell(f"latency model of {fitted.samples} iterations: decode: {fitted.decode.reason};"
         f" prefill: {fitted.prefill.reason}; outside {outside.ttft_ms:.1f} ms")  # fmt: skip
    slo = slo_relative_to(alone.latencies.metrics(), tolerance_ratio=_TOLERANCE_RATIO)
    return Calibrated(
        fitted=fitted,
        times=MeasuredTimes(fitted.model, samples_of(passes)),
        settings=settings,
        outside=outside,
        alone=alone,
        gauge=gauge,
        loads=tuple(
            Load(trace=trace, rate=rate, slo=slo) for trace, rate in zip(traces, rates, strict=True)
        ),
    )


async def _alone(
    engine: BenchEngine, options: Options, *, trace: Trace, rate: float
) -> tuple[OnlineOnly, Sequence[MeasuredIteration]]:
    """Online alone, with its passes."""
    gathered: dict[int, MeasuredIteration] = {}
    count = max(8, round(options.alone_s * rate))
    online = slice_of(options.load, trace, _ALONE_SLICE, rate=rate, count=count)
    before = (await engine.state()).samples
    newest = before[-1].sequence if before else 0
    follower = asyncio.create_task(follow(engine, gathered))
    try:
        found = await measure_online_only(engine, online)
    finally:
        follower.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await follower
    await engine.empty()
    return found, [gathered[number] for number in sorted(gathered) if number > newest]


def _rate(
    trace: Trace,
    options: Options,
    fitted: Fitted,
    settings: EngineSettings,
    offline: OfflinePrompts,
) -> float:
    """The rate asked for; else, by simulation, that which keeps the engine half busy."""
    load = options.load

    def rehearse(rate: float) -> Rehearsal:
        online = slice_of(load, trace, _RATED_SLICE, rate=rate, count=_RATED)
        return Rehearsal(
            fitted=fitted, settings=settings, online=online, offline=offline, window=load.window
        )

    start = trace.spec.requests_per_s
    rate = load.rates[trace.spec.name] or half_busy_rate(
        rehearse, busy_ratio=BUSY_RATIO, start=start
    )
    count = len(slice_of(load, trace, FIRST_JUDGED_SLICE, rate=rate).requests)
    refuse_short(trace, rounds=load.rounds[trace.spec.name], count=count)
    return rate


async def _settings(engine: BenchEngine, load: colocate.Options) -> EngineSettings:
    """The engine, as it says it is."""
    info = await engine.client.server_info()
    return simulated_engine(
        is_cpu=load.is_cpu,
        mixes=bool(info.get("enable_mixed_chunk")),
        kv_tokens=(await engine.state()).kv_total_tokens,
        chunk_tokens=int(info.get("chunked_prefill_size") or 0),
        max_rows=int(info.get("max_running_requests") or engine.spec.max_running_requests),
    )
