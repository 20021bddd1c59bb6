"""One engine setting soaked: two engines side by side, three passes, then the checks.

The stock engine answers the requests twice, in different company: the reference, and the
control that says how often stock differs from itself. Meanwhile the plugin's engine answers
them under changing budgets, pauses and aborts.
"""

import asyncio
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
from harness import Engine, running_engine

from nodeagent.plugin_contract import PluginState, encode_budgets
from planner.batching.state import Budgets
from soak.answers import Comparison, compare, gap_of
from soak.client import ANSWER_S, Answer, EngineClient
from soak.regimes import draw_budgets
from soak.settings import Setting
from soak.workload import Abort, Phase, make_phases, shuffled

# SGLang's own account of KV after every pass: what is owned, free and cached adds up, no
# page is owned and free, none is free twice.
_BUSY_CHECKS = {
    "SGLANG_ENABLE_STRICT_MEM_CHECK_DURING_BUSY": "1",
    "SGLANG_CHECK_KV_PAGE_INVARIANTS": "1",
}
_STOCK = {"SGLANG_PLUGINS": "none"}
_START_S = 400.0  # both start at once, on cores that may be busy
_SETTLE_S = 30.0
_IDLE_S = 1.5  # for the idle check, which runs in the engine's own loop
_SHARE_PAUSED = 0.06  # of regime changes

_RETRACTED = re.compile(r"Retract requests.*#retracted_reqs: (\d+)")
_EVICTED = re.compile(r"slacktide_evicted rid=(\S+)")
_TROUBLE = re.compile(
    r"leak|Scheduler hit an exception|slacktide_fault|slacktide_refused", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingResult:
    """What one setting showed."""

    setting: Setting
    requests: int
    plugin: Comparison
    control: Comparison
    counters: dict[str, int]  # of the plugin, at the end
    regimes: dict[str, int]  # live settings by name, and how often each was in force
    evicted_requests: int
    equal_after_eviction: int  # of those, full answers equal to stock's
    retractions: int  # rows SGLang itself retracted: in the plugin's engine
    stock_retractions: int
    trouble: tuple[str, ...]  # faults, leaks, an engine that did not settle
    duration_s: float


def soak_setting(
    setting: Setting,
    *,
    model: Path,
    folder: Path,
    seed: int,
    requests: int,
    checks_busy: bool = True,
    device: str = "cpu",
    tell: Callable[[str], None] = print,
) -> SettingResult:
    """Soaks one setting.

    Args:
        setting: How both engines start.
        model: Folder of an fp32 model.
        folder: Where the engines' logs go.
        seed: Of requests, regimes and aborts.
        requests: How many requests the plugin's engine is sent, > 0.
        checks_busy: The plugin's engine accounts for its KV after every pass, not only idle.
        device: "cpu" or "cuda", of both engines.
        tell: Takes a line of progress.

    Raises:
        RuntimeError: An engine did not start, or stock gave no answer to compare with.
    """
    began = time.monotonic()
    phases = make_phases(seed=seed, count=requests)
    checks = _BUSY_CHECKS if checks_busy else {}
    pair = _pair(setting, model=model, folder=folder, checks=checks, device=device)
    with pair as (stock, engine):
        tell(f"{setting.name}: engines up after {time.monotonic() - began:.0f} s")
        reference, again, found, regimes = asyncio.run(
            _passes(stock, engine, phases=phases, seed=seed)
        )
        by_rid = {r.rid: r for phase in phases for r in phase.requests}
        if bad := [f"{rid}: {a}" for rid, a in reference.items() if a.error or a.was_aborted]:
            raise RuntimeError(f"{setting.name}: stock failed {len(bad)} requests: {bad[:3]}")
        ask_gap = gap_of(stock)
        plugin = compare(by_rid, reference=reference, found=found, ask_gap=ask_gap)
        whole = {rid: replace(r, abort=Abort.NONE) for rid, r in by_rid.items()}
        control = compare(whole, reference=reference, found=again, ask_gap=ask_gap)
        state, trouble = _settle(engine)
        evicted = set(_EVICTED.findall(engine.log.read_text(errors="replace")))
        differing = {m.rid for m in plugin.mismatches}
        result = SettingResult(
            setting=setting,
            requests=len(by_rid),
            plugin=plugin,
            control=control,
            counters=asdict(state.counters) if state else {},
            regimes=dict(regimes),
            evicted_requests=len(evicted),
            equal_after_eviction=sum(
                rid not in differing and not found[rid].was_aborted and not found[rid].error
                for rid in evicted & by_rid.keys()
            ),
            retractions=_retractions(engine),
            stock_retractions=_retractions(stock),
            trouble=(*trouble, *_trouble_in(engine)),
            duration_s=time.monotonic() - began,
        )
    tell(
        f"{setting.name}: {plugin.equal} equal, {plugin.equal_prefixes} equal up to an abort,"
        f" {len(plugin.mismatches)} differ, {result.duration_s:.0f} s"
    )
    return result


@contextmanager
def _pair(
    setting: Setting, *, model: Path, folder: Path, checks: dict[str, str], device: str
) -> Any:
    """A stock engine and one with the plugin, started together."""
    with ExitStack() as stack, ThreadPoolExecutor(max_workers=2) as pool:
        starts = []
        for name, own in (("stock", _STOCK), ("plugin", checks)):
            started = stack.enter_context(ExitStack())  # each thread fills its own
            context = running_engine(
                model,
                folder / f"{setting.name}.{name}.log",
                flags=setting.flags,
                environment=setting.environment | own,
                start_s=_START_S,
                device=device,
            )
            starts.append(pool.submit(started.enter_context, context))
            # Ports are free only until an engine binds them: let the first one choose.
            time.sleep(0.5)
        stock, engine = (start.result() for start in starts)
        if stock.state() is not None or engine.state() is None:
            raise RuntimeError(f"{setting.name}: stock has a plugin, or the other has none")
        yield stock, engine


async def _passes(
    stock: Engine, engine: Engine, *, phases: tuple[Phase, ...], seed: int
) -> tuple[dict[str, Answer], dict[str, Answer], dict[str, Answer], Counter[str]]:
    timeout = aiohttp.ClientTimeout(total=ANSWER_S)
    # No connection is kept: one that the server closes while idle would fail a request.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:

        async def ask_stock() -> tuple[dict[str, Answer], dict[str, Answer]]:
            client = EngineClient(session, port=stock.port)
            first = await client.run(phases, with_aborts=False)
            await _flush(client)
            # rids may repeat: every request of the first pass has ended
            return first, await client.run(shuffled(phases, seed=seed), with_aborts=False)

        async def ask_plugin() -> tuple[dict[str, Answer], Counter[str]]:
            client = EngineClient(session, port=engine.port)
            regimes: Counter[str] = Counter()
            change = asyncio.create_task(_change_regimes(client, seed=seed, regimes=regimes))
            answers = await client.run(phases, with_aborts=True)
            change.cancel()
            await asyncio.wait((change,))
            if not change.cancelled() and (error := change.exception()):
                raise error
            await client.post("/continue_generation", {})
            await client.post("/set_internal_state", {"server_args": encode_budgets(Budgets())})
            return answers, regimes

        (first, again), (found, regimes) = await asyncio.gather(ask_stock(), ask_plugin())
    return first, again, found, regimes


async def _flush(client: EngineClient) -> None:
    """Empties the prefix cache, once the batch of the last answer is settled too."""
    deadline = time.monotonic() + _SETTLE_S
    while True:
        try:
            await client.post("/flush_cache", {})
            return
        except aiohttp.ClientResponseError:  # refused while anything is in flight
            if time.monotonic() > deadline:
                raise
        await asyncio.sleep(0.1)


async def _change_regimes(client: EngineClient, *, seed: int, regimes: Counter[str]) -> None:
    draw = random.Random(seed + 1)
    while True:
        name, budgets = draw_budgets(draw)
        taken = await client.post("/set_internal_state", {"server_args": encode_budgets(budgets)})
        if not all(taken):
            raise RuntimeError(f"regime {name}: the engine refused {budgets}")
        regimes[name] += 1
        await asyncio.sleep(draw.uniform(0.1, 0.6))
        if draw.random() < _SHARE_PAUSED:
            mode = draw.choice(("in_place", "retract"))
            await client.post("/pause_generation", {"mode": mode})
            await asyncio.sleep(draw.uniform(0.0, 0.1))
            await client.post("/continue_generation", {})
            regimes[f"paused, {mode}"] += 1


def _settle(engine: Engine) -> tuple[PluginState | None, list[str]]:
    """The state of an engine with nothing left in it, and what is wrong with it."""
    try:
        state = _wait_idle(engine)
        trouble = []
        if not _is_idle(state):
            trouble.append(f"not idle after {_SETTLE_S:.0f} s: {state.online} {state.offline}")
        elif state.kv_free_tokens != state.kv_total_tokens:
            trouble.append(f"KV: {state.kv_free_tokens} of {state.kv_total_tokens} free when idle")
        time.sleep(_IDLE_S)
        engine.call("/flush_cache", {})
        state = _state(engine)
        if state.kv_free_tokens != state.kv_total_tokens:
            trouble.append(f"KV: {state.kv_free_tokens} of {state.kv_total_tokens} free, flushed")
        if state.fault or state.counters.faults:
            trouble.append(f"fault: {state.counters.faults} times, {state.fault}")
    except (OSError, RuntimeError) as error:
        return None, [f"the engine does not answer: {error}; {engine.log}"]
    return state, trouble


def _wait_idle(engine: Engine) -> PluginState:
    deadline = time.monotonic() + _SETTLE_S
    state = _state(engine)
    while not _is_idle(state) and time.monotonic() < deadline:
        time.sleep(0.2)
        state = _state(engine)
    return state


def _state(engine: Engine) -> PluginState:
    state = engine.state()
    if state is None:
        raise RuntimeError("no plugin state")
    return state


def _is_idle(state: PluginState) -> bool:
    return not any(
        load.running or load.parked or load.waiting for load in (state.online, state.offline)
    )


def _retractions(engine: Engine) -> int:
    return sum(int(n) for n in _RETRACTED.findall(engine.log.read_text(errors="replace")))


def _trouble_in(engine: Engine) -> list[str]:
    """Lines of the log that tell of a leak, a fault or a dead scheduler."""
    lines = engine.log.read_text(errors="replace").splitlines()
    return [f"log: {line[:300]}" for line in lines if _TROUBLE.search(line)][:5]
