"""Engines to decide for, varied in what makes a decision cheap or dear.

Owns the states of the bench: every combination of mixing or taking turns, online rows or
none, page size, tight or loose budget, prompts that share prefixes or not; each with
several draws. Refuses to time anything.
"""

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass

from planner.batching.prefixes import PromptOrder
from planner.batching.state import (
    Budgets,
    DecodeRow,
    EngineState,
    Memory,
    PrefillWork,
    WorkClass,
)
from planner.latency.predictor import LatencyModel, default_model

RUNNING_ROWS, PARKED_ROWS, WAITING = 64, 64, 256

_NOW_S = 1_000.0
_PASS = 10_000
_TOKEN_BYTES = 8  # of a token id in a prompt key
_GROUP = 16  # prompts that share a prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One decision to take."""

    label: str  # mixes | turns, online | idle: how figures are grouped
    state: EngineState
    budgets: Budgets
    model: LatencyModel


def draw_cases(*, seed: int, draws: int) -> list[Case]:
    """All combinations, each `draws` times.

    Args:
        seed: Of the draws.
        draws: States per combination, >= 1.
    """
    rng = random.Random(seed)
    return list(_combinations(rng, draws=draws))


def _combinations(rng: random.Random, *, draws: int) -> Iterator[Case]:
    for mixes, online, page, tight, shares in itertools.product(
        (False, True), (0, 8, 32), (1, 16), (False, True), (False, True)
    ):
        for _ in range(draws):
            model = default_model("a100" if mixes else "cpu")
            yield Case(
                label=f"{'mixes' if mixes else 'turns'} {'online' if online else 'idle'}",
                state=_state(rng, mixes=mixes, online=online, page_size=page, shares=shares),
                budgets=_budgets(model, tight=tight),
                model=model,
            )


def _budgets(model: LatencyModel, *, tight: bool) -> Budgets:
    """Tight: about half of the offline rows fit, so that rows must be chosen. Loose: all."""
    whole_ms = model.mean_ms(0, 0, 0.0, 0.0, RUNNING_ROWS + PARKED_ROWS, 100_000, 1_500)
    budget_ms = whole_ms * (0.6 if tight else 20.0)
    return Budgets(latency_budget_ms=budget_ms, idle_budget_ms=budget_ms, uncalibrated_ratio=1.0)


def _state(
    rng: random.Random, *, mixes: bool, online: int, page_size: int, shares: bool
) -> EngineState:
    rows = [_row(rng, number, online=number < online) for number in range(RUNNING_ROWS)]
    rng.shuffle(rows)
    order = PromptOrder()
    for work in _prompts(rng, shares=shares):
        order.put(work)
    queue = order.snapshot()
    last = rng.choice(queue.by_prompt)
    return EngineState(
        now_s=_NOW_S,
        pass_number=_PASS,
        running=tuple(rows),
        parked=tuple(
            _row(rng, RUNNING_ROWS + number, online=False, is_parked=True)
            for number in range(PARKED_ROWS)
        ),
        started=None,
        waiting_online=(),
        waiting_offline=queue.by_prompt,
        offline_queue=queue,
        kv_free_tokens=150_000,
        kv_total_tokens=300_000,
        page_size=page_size,
        chunk_limit_tokens=1_024,
        mixes_prefill_and_decode=mixes,
        memory=Memory(
            prompt_cursor=(last.prompt_key, last.arrival_s, last.rid),
            age_owed_tokens=rng.choice((-50.0, 50.0)),
            online_kv_peak_tokens=40_000.0,
            peak_s=_NOW_S - 1.0,
        ),
    )


def _row(rng: random.Random, number: int, *, online: bool, is_parked: bool = False) -> DecodeRow:
    return DecodeRow(
        rid=f"r{number:04d}",
        work_class=WorkClass.ONLINE if online else WorkClass.OFFLINE,
        context_tokens=rng.randint(50, 1_500),
        generated_tokens=rng.randint(1, 400),
        is_parked=is_parked,
        arrival_s=_NOW_S - rng.uniform(0.0, 60.0),
        last_token_s=_NOW_S - rng.uniform(0.0, 0.01),
        first_token_s=_NOW_S - 20.0,
        itl_target_ms=1e6 if online and number % 2 else None,
        tpot_target_ms=1e6 if online and not number % 2 else None,
        passes_in_state=rng.randint(4, 300),
        recompute_tokens=rng.randint(50, 1_500),
    )


def _prompts(rng: random.Random, *, shares: bool) -> Iterator[PrefillWork]:
    prefix = b""
    for number in range(WAITING):
        if number % _GROUP == 0:
            prefix = rng.randbytes(_TOKEN_BYTES * 400)
        tail_tokens = rng.randint(10, 300)
        key = (prefix if shares else b"") + rng.randbytes(_TOKEN_BYTES * tail_tokens)
        arrival_s = _NOW_S - rng.uniform(0.0, 100.0)
        yield PrefillWork(
            rid=f"w{number:04d}",
            work_class=WorkClass.OFFLINE,
            remaining_tokens=tail_tokens,
            cached_tokens=400 if shares else 0,
            arrival_s=arrival_s,
            deadline_s=_NOW_S + rng.uniform(10.0, 10_000.0) if number % 4 == 0 else None,
            queued_pass=_PASS - int((_NOW_S - arrival_s) * 10),
            prompt_key=key,
        )
