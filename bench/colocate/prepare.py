"""What the arms rest on: latency model, rates, and the simulation they are tuned in.

Owns the order of these steps. Invariant: everything comes from slices of the traces that no
arm is judged by, and every engine is left empty.
"""

import asyncio
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from enum import Enum
from functools import partial
from typing import Any

from bench.colocate.arms import slo_relative_to
from bench.colocate.engines import BenchEngine
from bench.colocate.fitting import Fitted, fit_model, model_settings
from bench.colocate.options import Options
from bench.colocate.probing import OnlineOnly, gather_samples, measure_online_only, run_pilot
from bench.colocate.rehearsal import Rehearsal, half_busy_rate, simulated_engine
from bench.colocate.scale import NO_GROWTH
from bench.colocate.slices import TRACES, OfflinePrompts, Slice, Trace, cut, load_trace
from bench.colocate.tuning import growth_of, tune
from controlplane.localfleet.readiness import Tell
from planner.simulation.settings import EngineSettings

BUSY_RATIO = 0.5
"""How busy online alone is to keep the engine."""

FIRST_JUDGED_SLICE = 4  # slices before a rate is known may be longer than those after
_MODEL_SLICE, _ALONE_SLICE = 0, 1
_REHEARSAL_SLICE = -1  # from the other end of the trace
_RATED = 600  # requests a rate is found on: slices of a hundred differ by a third
_REHEARSED = 140  # requests: a p99 of fewer than 100 is their maximum
_LENGTHS_MAX = 4096
_SPEED_TOLERANCE = 0.1  # of measured over simulated busy share, before the rate is corrected


Rehearse = Callable[[Slice], Rehearsal]
"""Takes a slice into simulation."""


@dataclass(slots=True, kw_only=True)
class Tuning:
    """What the arms of a trace rest on.

    Args:
        rate: online requests a second.
        alone: the engine with the plugin and online alone, at that rate.
        rehearsal: other requests of the trace in simulation, at that rate.
        pilot_growth: by what a pilot came out above its simulation (`scale.growths`).
    """

    trace: Trace
    rate: float
    alone: OnlineOnly
    rehearsal: Rehearsal
    pilot_growth: dict[str, float] = field(default_factory=lambda: dict(NO_GROWTH))


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """All of it, by trace; `rehearse` simulates any slice on the same engine."""

    fitted: Fitted
    settings: EngineSettings
    tunings: dict[str, Tuning]
    rehearse: Rehearse

    def as_values(self) -> dict[str, Any]:
        """What the report says of it."""
        return {
            "latency_model": self.fitted.as_values(),
            "simulated_engine": {
                name: value.value if isinstance(value, Enum) else value
                for name, value in asdict(self.settings).items()
            },
            "online_only": {
                name: {
                    "requests_per_s": round(t.rate, 4),
                    **t.alone.as_values(),
                    "pilot_growth": {metric: round(k, 3) for metric, k in t.pilot_growth.items()},
                }
                for name, t in self.tunings.items()
            },
        }


def slice_of(options: Options, trace: Trace, number: int, *, rate: float, count: int = 0) -> Slice:
    """Slice `number` of a trace as this run scales it; `count` 0: as long as an arm."""
    return cut(
        trace,
        number=number,
        count=count or _arm_requests(options, rate=rate),
        requests_per_s=rate,
        length_scale=1.0 / options.length_divisor(trace.spec),
        max_context_tokens=_LENGTHS_MAX,
        seed=options.seed,
    )


def _arm_requests(options: Options, *, rate: float) -> int:
    return max(options.requests, math.ceil(options.least_s * rate))


def refuse_short(trace: Trace, *, rounds: int, count: int) -> None:
    """Refuses a trace whose judged slices would meet those it is tuned on.

    Args:
        trace: at full length.
        rounds: judged.
        count: requests of an arm.

    Raises:
        ValueError: it has too few requests.
    """
    needed = (FIRST_JUDGED_SLICE + rounds) * count + _RATED
    if len(trace.requests) < needed:
        raise ValueError(
            f"trace {trace.spec.name}: {len(trace.requests)} requests; {rounds} rounds of {count}"
            f" and those it is tuned on need {needed}: lower --rounds, --requests or --rate"
        )


async def prepare(
    plugin: BenchEngine, options: Options, *, offline: OfflinePrompts, tell: Tell
) -> Prepared:
    """Measures iterations, fits, finds rates, and corrects the simulation by one pilot.

    Args:
        plugin: the engine with the plugin, awake and empty; it is left with the model.
        options: of the run.
        offline: the batch.
        tell: for progress.
    """
    traces = [load_trace(TRACES[name], seed=options.seed) for name in options.traces]
    first = traces[0]
    tell(f"measuring iterations for {options.tuning_s:.0f} s")
    samples = await gather_samples(
        plugin,
        slice_of(options, first, _MODEL_SLICE, rate=first.spec.requests_per_s),
        offline,
        window=options.window,
        seconds=options.tuning_s,
    )
    fitted = fit_model(samples, device_name=options.device)
    tell(f"latency model of {fitted.samples} iterations: decode: {fitted.decode.reason};"
         f" prefill: {fitted.prefill.reason}")  # fmt: skip
    await plugin.set(model_settings(fitted))
    settings = await _settings(plugin, options)

    def rehearse(online: Slice) -> Rehearsal:
        return Rehearsal(
            fitted=fitted, settings=settings, online=online, offline=offline, window=options.window
        )

    bench = _Bench(plugin=plugin, options=options, offline=offline, rehearse=rehearse, tell=tell)
    tunings = {trace.spec.name: await bench.tuning(trace) for trace in traces}
    growth = await bench.pilot(tunings[first.spec.name])
    for tuning in tunings.values():  # what one pilot finds is the engine's, not the trace's
        tuning.pilot_growth = growth
    return Prepared(
        fitted=fitted,
        settings=settings,
        tunings=tunings,
        rehearse=bench.rehearse,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Bench:
    """What the steps share."""

    plugin: BenchEngine
    options: Options
    offline: OfflinePrompts
    rehearse: Rehearse
    tell: Tell

    async def tuning(self, trace: Trace) -> Tuning:
        """A trace's rate, by simulation, and what online alone comes to at it, measured."""
        options, name = self.options, trace.spec.name

        def rehearse(rate: float, *, count: int = _REHEARSED) -> Rehearsal:
            online = slice_of(options, trace, _REHEARSAL_SLICE, rate=rate, count=count)
            return self.rehearse(online)

        rate = options.rates[name] or await asyncio.to_thread(
            half_busy_rate, partial(rehearse, count=_RATED), busy_ratio=BUSY_RATIO,
            start=trace.spec.requests_per_s,
        )  # fmt: skip
        alone, speed = await self._alone(trace, rate)
        if not options.rates[name] and abs(speed - 1.0) > _SPEED_TOLERANCE:
            rate /= speed
            alone, speed = await self._alone(trace, rate)
        refuse_short(trace, rounds=options.rounds[name], count=_arm_requests(options, rate=rate))
        self.tell(f"{name}: {rate:.2f} requests/s keep the engine {alone.busy_ratio:.0%} busy,"
                  f" {speed:.2f} times what simulation says")  # fmt: skip
        rehearsal = await asyncio.to_thread(rehearse, rate)
        return Tuning(trace=trace, rate=rate, alone=alone, rehearsal=rehearsal)

    async def _alone(self, trace: Trace, rate: float) -> tuple[OnlineOnly, float]:
        """Online alone, measured; and how busy it kept the engine over what it simulates to."""
        online = slice_of(self.options, trace, _ALONE_SLICE, rate=rate)
        alone = await measure_online_only(self.plugin, online)
        await self.plugin.empty()
        simulated = await asyncio.to_thread(self.rehearse, online)
        return alone, alone.busy_ratio / simulated.alone_busy_ratio

    async def pilot(self, tuning: Tuning) -> dict[str, float]:
        """One run at the widest tolerance: by what simulation understates latencies."""
        options = self.options
        if not options.tolerances:
            return dict(NO_GROWTH)
        alone = tuning.alone.latencies
        slo = slo_relative_to(alone.metrics(), tolerance_ratio=max(options.tolerances))
        online = slice_of(options, tuning.trace, _ALONE_SLICE, rate=tuning.rate)
        judged = await asyncio.to_thread(self.rehearse, online)
        found = await asyncio.to_thread(
            tune, tuning.rehearsal, slo, alone=alone, judged=judged.alone, growth=NO_GROWTH,
            start=None, max_probes=options.max_probes,
        )  # fmt: skip
        beside = await run_pilot(
            self.plugin,
            online,
            slo=slo,
            budgets=found.budgets,
            offline=self.offline,
            window=options.window,
            settle_s=options.settle_s,
        )
        await self.plugin.empty()
        growth = await asyncio.to_thread(
            growth_of, judged, slo=slo, budgets=found.budgets, alone=alone,
            beside=beside,
        )  # fmt: skip
        shown = ", ".join(f"{name} {k:.2f}" for name, k in growth.items())
        self.tell(f"pilot: measured over simulated: {shown}")
        return growth


async def _settings(plugin: BenchEngine, options: Options) -> EngineSettings:
    """The plugin's engine, as it says it is."""
    info = await plugin.client.server_info()
    return simulated_engine(
        is_cpu=options.is_cpu,
        mixes=bool(info.get("enable_mixed_chunk")),
        kv_tokens=(await plugin.state()).kv_total_tokens,
        chunk_tokens=int(info.get("chunked_prefill_size") or 0),
        max_rows=int(info.get("max_running_requests") or plugin.spec.max_running_requests),
    )
