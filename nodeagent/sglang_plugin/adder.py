"""Which prompts join a pass, and how much of each.

Owns the offline share of a prefill batch: its tokens are capped by the plan, its
mid-prefill request may sit out or yield its slot, and it keeps the KV reserve free.
Online prompts go SGLang's way; where KV or rows run out for them, offline rows are
evicted until they fit.

Refuses a second truncated prompt in a pass: SGLang tracks one.
"""

from time import perf_counter_ns
from typing import Any

from sglang.srt.managers.schedule_policy import AddReqResult, PrefillAdder, _PrefillAdmission

from nodeagent.sglang_plugin.colocation import Colocation
from nodeagent.sglang_plugin.rows import is_offline


class ColocationAdder(PrefillAdder):  # type: ignore[misc]
    """SGLang's adder, with an allowance for offline tokens."""

    page_size: int
    rem_chunk_tokens: int  # chunked prefill is on: see `options`
    chunked_req_limit: int | None

    def __init__(self, *args: Any, colocation: Colocation, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        started_ns = perf_counter_ns()
        self._colocation = colocation
        self._allowance_tokens = colocation.plan.offline_chunk_tokens
        self._by_engine_ns = 0  # SGLang's part of what this adder took
        self._is_slot_taken = False  # a mid-prefill request of an earlier pass holds it
        # Parked requests are in no batch, yet will need their tokens.
        self.memory_budget.total_offset += sum(
            self._get_running_request_total_token_offset(r) for r in colocation.lot.requests
        )
        colocation.cost.spent_ns += perf_counter_ns() - started_ns

    def add_one_req(
        self, req: Any, has_chunked_req: bool, truncation_align_size: int | None
    ) -> AddReqResult:
        """Admits a waiting request, or says why the pass takes no more."""
        started_ns, by_engine_ns = perf_counter_ns(), self._by_engine_ns
        result = self._add(req, has_chunked_req, truncation_align_size)
        self._charge(started_ns, by_engine_ns)
        return result

    def _add(
        self, req: Any, has_chunked_req: bool, truncation_align_size: int | None
    ) -> AddReqResult:
        self._is_slot_taken = has_chunked_req
        if is_offline(req):
            return self._add_offline(
                req, has_chunked_req=has_chunked_req, align=truncation_align_size
            )
        if has_chunked_req and self._yield_slot(req):
            has_chunked_req = self._is_slot_taken = False
        result = self._add_by_engine(req, has_chunked_req, truncation_align_size)
        while result is AddReqResult.NO_TOKEN and not self._has_admitted(req):
            if not self._evict_one():
                break
            req.init_next_round_input(self.tree_cache)  # the eviction may have moved its prefix
            result = self._add_by_engine(req, has_chunked_req, truncation_align_size)
        return result

    def _add_by_engine(self, req: Any, has_chunked_req: bool, align: int | None) -> AddReqResult:
        started_ns = perf_counter_ns()
        result = super().add_one_req(req, has_chunked_req, align)
        self._by_engine_ns += perf_counter_ns() - started_ns
        return result

    def add_chunked_req(self, req: Any) -> Any:
        """Continues the mid-prefill request. Returns it while it is unfinished."""
        if not is_offline(req):
            return super().add_chunked_req(req)
        started_ns, by_engine_ns = perf_counter_ns(), self._by_engine_ns
        rest = self._add_offline_chunk(req)
        self._charge(started_ns, by_engine_ns)
        return rest

    def _add_offline_chunk(self, req: Any) -> Any:
        if self._colocation.plan.requeue_started and self._colocation.can_release(req):
            self._colocation.requeue_chunk(req)
            return None
        tokens = self._share_of(req)
        if tokens <= 0:
            self._colocation.sat_out_chunk = req
            self._colocation.count("chunks_parked")
            return req
        limit = self.chunked_req_limit
        self.chunked_req_limit = tokens if limit is None else min(tokens, limit)
        before = self.rem_chunk_tokens
        started_ns = perf_counter_ns()
        rest = super().add_chunked_req(req)
        self._by_engine_ns += perf_counter_ns() - started_ns
        used = before - self.rem_chunk_tokens
        self._allowance_tokens -= used
        if rest is not None and used == 0:
            self._colocation.sat_out_chunk = req
        elif rest is not None and tokens < before:
            self._colocation.count("chunks_capped")
        return rest

    def preempt_to_schedule(self, req: Any) -> bool:
        """Makes an engine row for an online request out of an offline one's."""
        started_ns = perf_counter_ns()
        has_row = not is_offline(req) and self._evict_one()
        self._charge(started_ns, self._by_engine_ns)
        return has_row

    def _charge(self, started_ns: int, by_engine_ns: int) -> None:
        """Adds what has passed since, but for SGLang's part, to the pass's cost."""
        own_ns = perf_counter_ns() - started_ns - (self._by_engine_ns - by_engine_ns)
        self._colocation.cost.spent_ns += own_ns

    def add_one_req_ignore_eos(self, req: Any) -> AddReqResult:
        """SGLang's path for fixed lengths without a prefix cache."""
        needed = len(req.full_untruncated_fill_ids) - req.prefix_len
        if self._is_truncation_taken() and needed > self.rem_chunk_tokens:
            return AddReqResult.OTHER
        return super().add_one_req_ignore_eos(req)

    def _select_prefill_admission(self, req: Any, **kwargs: Any) -> Any:
        admission = super()._select_prefill_admission(req, **kwargs)
        if (
            isinstance(admission, _PrefillAdmission)
            and admission.is_chunked
            and self._is_truncation_taken()
        ):
            return AddReqResult.OTHER
        return admission

    def _is_truncation_taken(self) -> bool:
        return self._is_slot_taken or self.new_chunked_req is not None

    def _add_offline(self, req: Any, *, has_chunked_req: bool, align: int | None) -> AddReqResult:
        tokens = self._share_of(req)
        if tokens <= 0:
            self._colocation.count("prefills_deferred")
            return AddReqResult.OTHER
        available = self.rem_chunk_tokens
        reserve_tokens = self._reserve_tokens()
        self.rem_chunk_tokens = before = min(available, tokens)
        self.memory_budget.total_offset += reserve_tokens
        try:
            self._add_by_engine(req, has_chunked_req, align)
        finally:
            used = before - self.rem_chunk_tokens
            self.rem_chunk_tokens = available - used
            self.memory_budget.total_offset -= reserve_tokens
        self._allowance_tokens -= used
        if not self._has_admitted(req):
            # Not NO_TOKEN: that would shut admission to online requests behind it.
            return AddReqResult.OTHER
        if self.new_chunked_req is req and tokens < available:
            self._colocation.count("chunks_capped")
        return self.budget_state() if self._allowance_tokens > 0 else AddReqResult.OTHER

    def _reserve_tokens(self) -> int:
        """KV kept free for online bursts; nothing where this would stop all work."""
        colocation = self._colocation
        if not (self.can_run_list or self.running_batch.reqs or colocation.lot.requests):
            return 0
        return colocation.plan.kv_reserve_tokens

    def _yield_slot(self, req: Any) -> bool:
        """Frees the mid-prefill slot for an online prompt that needs it.

        The plan asks for this where it foresees it; here it did not, since the prefix
        match or the room left in the pass turned out smaller.
        """
        needed = len(req.full_untruncated_fill_ids) - req.prefix_len
        chunk = self._colocation.sat_out_chunk
        if chunk is None or needed <= self.rem_chunk_tokens:
            return False
        if not self._colocation.can_release(chunk):
            return False
        self._colocation.yield_sat_out_chunk()
        return True

    def _evict_one(self) -> bool:
        victim = self._colocation.evict_cheapest(self.running_batch)
        if victim is None:
            return False
        # Its output so far is kept, so the offset is the one it was counted with.
        self.memory_budget.total_offset -= self._get_running_request_total_token_offset(victim)
        return True

    def _has_admitted(self, req: Any) -> bool:
        return bool(self.can_run_list) and self.can_run_list[-1] is req

    def _share_of(self, req: Any) -> int:
        """What the allowance holds for a prompt: all that is left of it, or whole pages."""
        left = len(req.full_untruncated_fill_ids) - req.prefix_len
        if left <= self._allowance_tokens:
            return int(self.ceil_paged_tokens(left))  # as SGLang charges it
        return self._allowance_tokens // self.page_size * self.page_size
