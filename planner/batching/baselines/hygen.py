"""HyGen as published: two phases under one latency budget.

Source: HyGen (arXiv 2501.14808): a linear regression over S_p, S_d, S_p^2, N_p, N_d predicts
a batch's time; a profiler finds one latency budget per batch; online is scheduled first and
charged against it, offline in what is left, in the order of prefix sharing maximisation
(PSM). It spends the mean prediction: no bound, no slack of single requests, no hysteresis,
no reserve of KV, no deadlines.

Inferred, since the paper's text and code were not to be had; each choice is the one that
serves HyGen better:

- the budget is the same whether or not online exists; where not even one decode or page of
  a prompt fits and nothing online exists, one runs all the same;
- offline decodes are considered before offline prompts, eldest first, and one whose
  marginal time does not fit sits the iteration out with its KV held;
- preemption for online's KV takes the latest arrival (the scheduler HyGen is built on);
- the utility ratio is the share of requests that PSM chooses, the rest being the oldest. It
  is 1 by default (PSM as evaluated): fairness costs throughput;
- the paper's engine mixes prefill and decode. Where they take turns, an iteration is the
  pass of prompts and the pass of decodes after it, and the budget holds their sum.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from planner.batching.baselines.fill import (
    NOTHING,
    Fill,
    by_arrival,
    decode_shape,
    has_turn,
    pass_shape,
    stall_after,
    starts_left,
    with_online_prompts,
)
from planner.batching.baselines.room import Room, latest_first, leave_room
from planner.batching.online import OnlinePrefill
from planner.batching.state import (
    Budgets,
    DecodeRow,
    EngineState,
    IterationPlan,
    Memory,
    PrefillWork,
)
from planner.latency.coefficients import Coefficients
from planner.latency.features import BatchShape
from planner.latency.predictor import LatencyModel


@dataclass(frozen=True, slots=True, kw_only=True)
class PsmMemory(Memory):
    """What every policy remembers, and how many requests the oldest are owed."""

    oldest_owed: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Hygen:
    """Two-phase scheduling within `Budgets.latency_budget_ms`.

    Args:
        predictor: A model fitted on HyGen's features, so that it errs as HyGen does; None:
            the mean of the model handed in, which flatters it with context terms.
        utility_ratio: Share of requests in PSM order, 0 to 1; the rest are the oldest.
    """

    predictor: LatencyModel | None = None
    utility_ratio: float = 1.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.utility_ratio <= 1.0:
            raise ValueError(
                f"HyGen: utility_ratio is {self.utility_ratio}, must be within 0 and 1"
            )

    def __call__(
        self, state: EngineState, *, model: LatencyModel, budgets: Budgets
    ) -> IterationPlan:
        """Plans one iteration; see `planner.batching.policy.Policy`."""
        mean = mean_of(self.predictor or model)
        room = leave_room(state, victim_key=latest_first)
        iteration = _Iteration(state=state, room=room, mean=mean, budgets=budgets)
        owed = state.memory.oldest_owed if isinstance(state.memory, PsmMemory) else 0.0
        order = self._order(state, owed=owed)
        rows = iteration.admit_decodes()
        fill = iteration.admit_prompts(order, rows=rows)
        if not state.mixes_prefill_and_decode and (room.prefill.tokens or fill.chunks):
            rows = iteration.kept_rows()
        shape = pass_shape(state, room, rows, fill)
        predicted_ms = mean.predict_ms(shape)
        for _ in range(fill.starts):
            owed, _ = _owe(owed, ratio=self.utility_ratio)
        kept = {row.rid for row in rows}
        return IterationPlan(
            park=tuple(sorted(row.rid for row in room.running if row.rid not in kept)),
            resume=tuple(row.rid for row in room.resumed if row.rid in kept),
            evict=room.evict,
            offline_chunk_tokens=fill.tokens,
            offline_order=tuple([work.rid for work in order]) if fill.chunks else (),
            requeue_started=room.yields_slot,
            predicted_ms=predicted_ms,
            bound_ms=predicted_ms,
            budget_ms=iteration.limit_ms,
            memory=PsmMemory(
                stall_ms=stall_after(state, shape, fill, bound_ms=predicted_ms),
                oldest_owed=owed,
            ),
        )

    def _order(self, state: EngineState, *, owed: float) -> Sequence[PrefillWork]:
        """As `psm_order`; where depth-first order has every choice, as the queue stands."""
        queue = state.offline_queue
        if queue is not None and self.utility_ratio == 1.0 and owed == 0.0:
            return queue.by_prompt
        return tuple(psm_order(state.waiting_offline, ratio=self.utility_ratio, owed=owed))


class _Iteration:
    """Phase 2 of one iteration: what the budget leaves, spent on decodes and then prompts."""

    def __init__(
        self, *, state: EngineState, room: Room, mean: LatencyModel, budgets: Budgets
    ) -> None:
        self._state, self._room, self._mean, self._budgets = state, room, mean, budgets
        self._mixes = state.mixes_prefill_and_decode
        self.limit_ms = max(0.0, budgets.latency_budget_ms) if budgets.runs_offline else 0.0

    def kept_rows(self) -> list[DecodeRow]:
        """Rows of a pass that decodes nothing: as they are, but for those that must run."""
        return [*self._room.running, *(row for row in self._room.resumed if row.must_run)]

    def admit_decodes(self) -> list[DecodeRow]:
        """Offline decodes whose marginal time fits, eldest first."""
        room = self._room
        if not self._mixes and room.prefill.tokens:
            return self.kept_rows()
        rows = [row for row in room.running if row.must_run or not row.can_park]
        rows += [row for row in room.resumed if row.must_run]
        forced = {row.rid for row in rows}
        candidates = by_arrival([row for row in room.rows if row.rid not in forced])
        shape, limit_ms = decode_shape(room, rows), self.limit_ms
        beside = OnlinePrefill()
        if self._mixes:
            beside = room.prefill
        else:
            limit_ms -= self._state.memory.stall_ms
        count, context = shape.decode_rows, shape.decode_context_tokens
        longest = shape.decode_max_context_tokens
        most = count + self._budgets.max_offline_rows - len(rows)
        for row in candidates:
            if count >= most:
                break
            tokens = row.context_tokens
            grown_ms = self._mean.mean_ms(
                beside.rows,
                beside.tokens,
                beside.attention,
                beside.padded_sq,
                count + 1,
                context + tokens,
                max(longest, tokens),
                beside.context_tokens,
            )
            if grown_ms <= limit_ms:
                rows.append(row)
                count, context, longest = count + 1, context + tokens, max(longest, tokens)
        if not rows and candidates and not room.has_online and self._budgets.runs_offline:
            rows.append(candidates[0])
        return rows

    def admit_prompts(self, order: Sequence[PrefillWork], *, rows: Sequence[DecodeRow]) -> Fill:
        """Offline prompts in order, each the largest chunk that fits."""
        state, room = self._state, self._room
        decode_rows = room.decodes.rows + len(rows)
        if not self._budgets.runs_offline or not has_turn(state, decode_rows=decode_rows):
            return NOTHING
        shape = decode_shape(room, rows)
        limit_ms = self.limit_ms
        tokens_left = room.chunk_tokens
        if self._mixes:
            tokens_left += len(room.rows) - len(rows)
        else:
            limit_ms -= self._mean.predict_ms(shape)
            shape = BatchShape()
        shape = with_online_prompts(shape, room)
        kv_left = room.kv_free_tokens
        starts = starts_left(room, budgets=self._budgets)
        needs_progress = not room.has_online and not rows
        chunks: list[tuple[PrefillWork, int]] = []
        for work in self._queue(order):
            if not work.is_started:
                if starts <= 0 or work.remaining_tokens > kv_left:
                    break
                starts -= 1
            most = min(work.remaining_tokens, tokens_left, kv_left)
            chunk = self._largest_chunk(work, shape=shape, limit_ms=limit_ms, most=most)
            if needs_progress and not chunks and chunk <= 0:
                chunk = self._smallest_chunk(work, most=most)
            is_cut = chunk < work.remaining_tokens
            if chunk <= 0 or (is_cut and room.prefill.needs_slot):
                break
            chunks.append((work, chunk))
            if is_cut:
                break
            shape = shape.with_prefill(new_tokens=chunk, cached_tokens=work.cached_tokens)
            tokens_left, kv_left = tokens_left - chunk, kv_left - chunk
        return Fill(chunks=tuple(chunks))

    def _queue(self, order: Sequence[PrefillWork]) -> Iterator[PrefillWork]:
        if self._room.started is not None and not self._room.yields_slot:
            yield self._room.started
        yield from order

    def _largest_chunk(
        self, work: PrefillWork, *, shape: BatchShape, limit_ms: float, most: int
    ) -> int:
        """HyGen's get_max_tokens on the mean: the rest of the prompt, or whole pages."""
        if most <= 0:
            return 0
        if most == work.remaining_tokens:
            whole = shape.with_prefill(new_tokens=most, cached_tokens=work.cached_tokens)
            if self._mean.predict_ms(whole) <= limit_ms:
                return most
            most -= 1
        return self._mean.max_prefill_tokens(
            shape,
            cached_tokens=work.cached_tokens,
            budget_ms=limit_ms,
            limit_tokens=most,
            page_size=self._state.page_size,
        )

    def _smallest_chunk(self, work: PrefillWork, *, most: int) -> int:
        """What runs where nothing else would, whatever it takes."""
        page = self._state.page_size
        pages = -(-max(1, self._budgets.min_chunk_tokens) // page)
        chunk = min(most, pages * page)
        return chunk if chunk == work.remaining_tokens else chunk // page * page


def psm_order(
    waiting: Sequence[PrefillWork], *, ratio: float, owed: float = 0.0
) -> Iterator[PrefillWork]:
    """Depth-first order of the prompt trie, mixed with age.

    Args:
        waiting: Requests, in any order.
        ratio: Share of them in depth-first order.
        owed: Requests the oldest are owed from earlier passes.
    """
    by_prompt = sorted(waiting, key=lambda work: (work.prompt_key, work.arrival_s, work.rid))
    by_age = iter(by_arrival(waiting))
    given: set[str] = set()
    next_prompt = iter(by_prompt)
    for _ in by_prompt:
        owed, is_oldest = _owe(owed, ratio=ratio)
        source = by_age if is_oldest else next_prompt
        work = next(entry for entry in source if entry.rid not in given)
        given.add(work.rid)
        yield work


def _owe(owed: float, *, ratio: float) -> tuple[float, bool]:
    """One more choice: what the oldest are owed after it, and whether it is theirs."""
    owed += 1.0 - ratio
    is_oldest = owed >= 1.0 - 1e-9  # shares are sums of floats
    return (owed - 1.0 if is_oldest else owed), is_oldest


@lru_cache(maxsize=16)
def mean_of(model: LatencyModel) -> LatencyModel:
    """The model without its margins, whose bound is its mean."""
    return replace(
        model, decode=_without_margin(model.decode), prefill=_without_margin(model.prefill)
    )


def _without_margin(coefficients: Coefficients) -> Coefficients:
    return replace(coefficients, margin_ratio=0.0, margin_ms=0.0)
