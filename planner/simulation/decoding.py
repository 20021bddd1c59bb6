"""Which rows decode in a pass, and who gives up KV for them.

Owns KV of the next token of every row, and SGLang's estimate of what rows still generate.
Refuses online rows as victims while an offline one is left, under the plugin; what then
is still short, and all of it under stock SGLang, retracts rows by SGLang's order.

Source: SGLang 0.5.23, `Scheduler.update_running_batch`, `ScheduleBatch.retract_decode` with
`retraction_policy priority`, `NewTokenRatioTracker`, and the mixing at the end of
`_get_new_batch_prefill_raw`; `make_room_to_decode` of `nodeagent.sglang_plugin.colocation`.
One thing differs: the last row, where even it does not fit, starts again; SGLang aborts it.
"""

from collections.abc import Sequence

from planner.simulation.live import LiveRequest
from planner.simulation.memory import KvMemory
from planner.simulation.residents import Residents

_FIRST_RATIO = 0.7  # SGLANG_INIT_NEW_TOKEN_RATIO
_LEAST_RATIO = 0.7 * 0.14  # SGLANG_MIN_NEW_TOKEN_RATIO_FACTOR
_RATIO_DECAY = (_FIRST_RATIO - _LEAST_RATIO) / 600  # SGLANG_NEW_TOKEN_RATIO_DECAY_STEPS
_RETRACT_DECODE_STEPS = 20  # SGLANG_RETRACT_DECODE_STEPS


class NewTokenRatio:
    """What share of the output they may generate running rows are expected to generate."""

    def __init__(self) -> None:
        self.current = _FIRST_RATIO

    def reset(self) -> None:
        """The engine is idle."""
        self.current = _FIRST_RATIO

    def decay(self) -> None:
        """Rows decoded, and all found KV."""
        self.current = max(_LEAST_RATIO, self.current - _RATIO_DECAY)

    def after_retraction(self, rows: Sequence[LiveRequest]) -> None:
        """As the rows that stay say."""
        generated = sum(row.generated for row in rows) + _RETRACT_DECODE_STEPS * len(rows)
        longest = sum(row.longest_output_tokens for row in rows)
        self.current = min(1.0, generated / (longest + 1))


class Decoding:
    """The decodes of one engine, pass by pass."""

    def __init__(self, residents: Residents, *, memory: KvMemory) -> None:
        self.new_token_ratio = NewTokenRatio()
        self._residents, self._memory = residents, memory

    def beside_prompts(self) -> tuple[LiveRequest, ...]:
        """The decodes of a mixed pass; where KV is short they sit it out."""
        rows = self._rows()
        return self._grown(rows) if self._fits(rows) else ()

    def alone(self) -> tuple[LiveRequest, ...]:
        """The decodes of a pass without prompts; rows give up KV until the rest fit."""
        rows = self._rows()
        if not rows:
            return ()
        if not self._fits(rows):
            if len(rows) < len(self._residents.running):
                return ()  # the results in flight end rows: their KV comes free
            rows = self._after_evictions(rows)
        if not self._fits(rows):
            rows = self._after_retractions(rows)
        else:
            self.new_token_ratio.decay()
        return self._grown(rows)

    def _rows(self) -> list[LiveRequest]:
        """Running rows whose last token is not on its way."""
        return [r for r in self._residents.running if r.launched < r.output_tokens]

    def _fits(self, rows: Sequence[LiveRequest]) -> bool:
        memory = self._memory
        if memory.page_size == 1:
            return len(rows) <= memory.free_tokens
        return sum([r.growth_tokens(memory) for r in rows]) <= memory.free_tokens

    def _after_evictions(self, rows: list[LiveRequest]) -> list[LiveRequest]:
        while rows and not self._fits(rows):
            victim = self._residents.evict_cheapest()
            if victim is None:
                break
            rows = [r for r in rows if r is not victim]
        return rows

    def _after_retractions(self, rows: list[LiveRequest]) -> list[LiveRequest]:
        kept = sorted(rows, key=_worth_keeping, reverse=True)
        while kept and not self._fits(kept):
            self._residents.retract(kept.pop())
        self.new_token_ratio.after_retraction(kept)
        staying = {r.rid for r in kept}
        return [r for r in rows if r.rid in staying]

    def _grown(self, rows: list[LiveRequest]) -> tuple[LiveRequest, ...]:
        memory = self._memory
        if memory.page_size == 1:  # as `grow` does, for all at once
            if not memory.hold(len(rows)):
                raise AssertionError(f"{len(rows)} rows decode without KV for their tokens")
            for live in rows:
                live.kv_tokens += 1
                live.held_tokens += 1
            return tuple(rows)
        for live in rows:
            if not live.grow(memory, 1):
                raise AssertionError(f"request {live.rid}: decodes without KV for its token")
        return tuple(rows)


def _worth_keeping(row: LiveRequest) -> tuple[bool, int, int, int]:
    """The smallest is retracted first; offline work has the lowest priority."""
    request = row.request
    return not row.is_offline, request.priority, row.generated, -request.prompt_tokens
