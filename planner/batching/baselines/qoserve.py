"""QoServe (Niyama): deadlines decide the order, slack the size of a chunk.

Source: Niyama / QoServe (arXiv 2503.22562; the scheduler its authors published beside
Sarathi-Serve). Its rules:

- every decode is in every batch; nothing is paused;
- the slack of a batch is the least time its decodes have until a token is late. Token n is
  due at first token + (n - 1) * TBT target, so what a request is early it has saved;
- the batch takes the most tokens, decodes included, of a fixed set of sizes whose
  predicted mean time times 1.2 is within the slack; the smallest size if none is, and also
  if there is no slack at all;
- with little KV left (a 32nd of it under 1000 tokens) sizes end at 512;
- prompts of all classes share one queue by deadline + 8 ms * remaining tokens, a mix of
  earliest deadline and shortest remaining prompt first. A batch's deadline is that of its
  last token, less 15 tokens of 400 ms for its output;
- eager relegation: a prompt that would miss its deadline at the engine's prefill rate goes
  behind all others.

What differs here, each in its favour or forced by the interface: online prompts are never
held back or reordered, so its limit binds offline prompts alone, behind the online ones of
the pass; a request without a target has that of its tier (online 100 ms a token, offline
1,800 s, as published); the first token's deadline is not known of a decoding request, so a
prompt done early saves nothing; the time model is the one handed in, not its two lines; its
engine never preempts, this one does for online's KV, latest arrival first. Where prefill
and decode take turns, a batch is a pass of prompts and the decodes after it.
"""

from dataclasses import dataclass
from math import inf

from planner.batching.baselines.fill import (
    NOTHING,
    decode_shape,
    fill_tokens,
    has_turn,
    plan_of,
    starts_left,
    with_online_prompts,
)
from planner.batching.baselines.room import Room, latest_first, leave_room
from planner.batching.state import (
    Budgets,
    DecodeRow,
    EngineState,
    IterationPlan,
    PrefillWork,
    WorkClass,
)
from planner.latency.features import BatchShape
from planner.latency.predictor import LatencyModel

BATCH_SIZES = (128, *range(256, 2049, 256), 2552)
"""Tokens of a batch, prefill and decode, among which it chooses (published scheduler)."""

_LOW_KV_TOKENS = 32 * 1000
_LOW_KV_SIZE = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class QoServe:
    """Dynamic chunking by slack, hybrid priority, eager relegation.

    Args:
        batch_sizes: Tokens of a batch to choose from, ascending, each >= 1; the engine's
            limit holds besides.
        safety_ratio: A predicted time counts this many times, >= 1.
        token_weight_s: Seconds of deadline a remaining prompt token weighs, >= 0.
        online_tbt_ms: Target of an online token, where the request has none, > 0.
        offline_deadline_s: Of a last token after its arrival, where the request has none.
        offline_output_tokens: Expected output of a batch request.
        offline_tbt_s: Time its deadline reserves for each of them.
    """

    batch_sizes: tuple[int, ...] = BATCH_SIZES
    safety_ratio: float = 1.2
    token_weight_s: float = 0.008
    online_tbt_ms: float = 100.0
    offline_deadline_s: float = 1800.0
    offline_output_tokens: int = 15
    offline_tbt_s: float = 0.4

    def __post_init__(self) -> None:
        sizes = self.batch_sizes
        if not sizes or sizes[0] < 1 or list(sizes) != sorted(set(sizes)):
            raise ValueError(
                f"QoServe: batch_sizes are {sizes}, must be one or more ascending sizes >= 1"
            )
        for name, least in (("safety_ratio", 1.0), ("token_weight_s", 0.0)):
            if not getattr(self, name) >= least:
                raise ValueError(f"QoServe: {name} is {getattr(self, name)}, must be >= {least}")
        if not self.online_tbt_ms > 0.0:
            raise ValueError(f"QoServe: online_tbt_ms is {self.online_tbt_ms}, must be > 0")

    def __call__(
        self, state: EngineState, *, model: LatencyModel, budgets: Budgets
    ) -> IterationPlan:
        """Plans one iteration; see `planner.batching.policy.Policy`."""
        room = leave_room(state, victim_key=latest_first)
        order = self.order(state, model=model)
        slack_ms = self.slack_ms(state)
        fill = NOTHING
        if budgets.runs_offline and has_turn(state, decode_rows=room.decodes.rows + len(room.rows)):
            fill = fill_tokens(
                room,
                order,
                tokens=self.offline_tokens(
                    state, room, order=order, slack_ms=slack_ms, model=model
                ),
                starts=starts_left(room, budgets=budgets),
                page_size=state.page_size,
            )
        budget_ms = max(0.0, slack_ms / self.safety_ratio)
        return plan_of(state, room, fill, order=order, model=model, budget_ms=budget_ms)

    def slack_ms(self, state: EngineState) -> float:
        """Least time until a decoding online request's next token is late; inf without one."""
        return min(
            (
                self._slack_ms(row, now_s=state.now_s)
                for row in state.running
                if row.work_class is WorkClass.ONLINE
            ),
            default=inf,
        )

    def order(self, state: EngineState, *, model: LatencyModel) -> list[PrefillWork]:
        """Waiting offline requests: those that can be in time, by hybrid priority."""
        size = self._sizes(state)[-1]
        prompt = BatchShape().with_prefill(new_tokens=size, cached_tokens=0)
        token_s = model.predict_ms(prompt) / size / 1000.0
        output_s = self.offline_output_tokens * self.offline_tbt_s
        now_s, weight_s, deadline_s = state.now_s, self.token_weight_s, self.offline_deadline_s
        placed = []
        for work in state.waiting_offline:
            tokens, arrival_s, last_s = work.remaining_tokens, work.arrival_s, work.deadline_s
            if last_s is None:
                last_s = arrival_s + deadline_s
            due_s = last_s - output_s  # of its first token, so that its last one is in time
            is_relegated = now_s + tokens * token_s > due_s
            placed.append((is_relegated, due_s + weight_s * tokens, arrival_s, work.rid, work))
        placed.sort()  # rids are unique: requests are never compared
        return [entry[4] for entry in placed]

    def offline_tokens(
        self,
        state: EngineState,
        room: Room,
        *,
        order: list[PrefillWork],
        slack_ms: float,
        model: LatencyModel,
    ) -> int:
        """What the chosen batch size leaves to offline prompts."""
        first = room.started if room.started is not None else next(iter(order), None)
        cached_tokens = first.cached_tokens if first is not None else 0
        decodes = decode_shape(room, room.rows)
        beside, after_ms = with_online_prompts(decodes, room), 0.0
        if not state.mixes_prefill_and_decode:
            beside = with_online_prompts(BatchShape(), room)
            after_ms = model.predict_ms(decodes)
        taken = decodes.decode_rows + room.prefill.tokens
        best = 0
        for number, size in enumerate(self._sizes(state)):
            tokens = max(0, size - taken)
            shape = beside
            if tokens:
                shape = shape.with_prefill(new_tokens=tokens, cached_tokens=cached_tokens)
            time_ms = self.safety_ratio * (model.predict_ms(shape) + after_ms)
            if number and time_ms > slack_ms:
                break
            best = tokens
        return best

    def _sizes(self, state: EngineState) -> list[int]:
        """Sizes this engine can run now, at least one."""
        limit = state.chunk_limit_tokens if state.chunk_limit_tokens > 0 else 1 << 30
        if state.kv_free_tokens < _LOW_KV_TOKENS:
            limit = min(limit, _LOW_KV_SIZE)
        return [size for size in self.batch_sizes if size <= limit] or [limit]

    def _slack_ms(self, row: DecodeRow, *, now_s: float) -> float:
        targets = [t for t in (row.itl_target_ms, row.tpot_target_ms) if t is not None]
        target_ms = min(targets, default=self.online_tbt_ms)
        if row.first_token_s <= 0.0:
            return target_ms - (now_s - row.last_token_s) * 1000.0
        return target_ms * row.generated_tokens - (now_s - row.first_token_s) * 1000.0
