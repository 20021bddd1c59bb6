"""One engine's pass: read it, decide, carry the decision out.

Owns what the plugin keeps of an engine: parked requests, settings, clock, counters,
samples, the plan in force. Refuses decisions of its own, but for KV that runs out while
SGLang admits online work: then the planner's eviction order is followed at once.

Invariants: a request released in a pass is queued again only when the pass has built its
batch, since SGLang ignores its result in flight only until it is admitted again; an
aborted parked request is resumed, whatever the plan says, so that SGLang can finish it;
an exception of ours while it is decided ends offline work, not the engine.
"""

import logging
from dataclasses import fields
from time import perf_counter_ns
from typing import Any

from nodeagent.plugin_contract import ClassLoad, Counters, MeasuredIteration, PluginState
from nodeagent.sglang_plugin.clock import PassClock
from nodeagent.sglang_plugin.controls import Settings, starting_model
from nodeagent.sglang_plugin.cost import PassCost
from nodeagent.sglang_plugin.parking import ParkingLot, release, remove
from nodeagent.sglang_plugin.penalties import restore_penalties
from nodeagent.sglang_plugin.rows import decode_row, is_offline, observe, read_state, record_of
from nodeagent.sglang_plugin.samples import IterationLog, compose
from nodeagent.sglang_plugin.waiting import WaitingReader
from planner.batching.decide import plan_iteration
from planner.batching.eviction import cheapest_first
from planner.batching.state import IterationPlan

logger = logging.getLogger(__name__)

_NOTHING = IterationPlan()
"""The plan of a pass without offline work."""


class Colocation:
    """What one scheduler does for offline work, pass by pass."""

    def __init__(self, scheduler: Any, *, device_name: str) -> None:
        self._scheduler = scheduler
        self.lot = ParkingLot(scheduler)
        self.clock = PassClock()
        self.cost = PassCost()
        self.settings = Settings(
            model=starting_model(
                device_type=device_name, model_path=scheduler.model_config.model_path
            )
        )
        self.samples = IterationLog(
            waits_for_previous=scheduler.enable_overlap and device_name != "cpu"
        )
        self.plan = _NOTHING
        self.memory = _NOTHING.memory  # outlives passes without a plan
        self.fault = ""  # why offline work is over in this engine; empty while it is not
        self.sat_out_chunk: Any = None  # the mid-prefill request that sits this pass out
        self._counts = dict.fromkeys((f.name for f in fields(Counters)), 0)
        self._pass_number = 0
        self._has_offline = False  # anywhere in the engine, in this pass
        self._released: list[Any] = []
        self._waiting = WaitingReader()
        self._queue_seen: list[Any] = []  # the waiting queue as `observe` last walked it
        self._is_queue_dated = True  # a stamp dated every arrival of that walk
        self._queue_has_offline = False

    # ------------------------------------------------------------ the pass

    def begin_pass(self, running: Any) -> Any:
        """Decides, and applies evict, park and resume. Returns the running batch."""
        started_ns = perf_counter_ns()
        self.sat_out_chunk = None
        self.lot.drop_finished()
        self._pass_number += 1
        had_offline = self._has_offline
        self.plan = self._decide(running)
        # Lets online requests take offline rows (`ColocationAdder.preempt_to_schedule`). It
        # also makes SGLang try admission anew in every pass, however full: one pass more
        # than offline work lasts, so that none is left shut out, then as in a stock engine.
        self._scheduler.enable_priority_preemption = self._has_offline or had_offline
        if self.plan is not _NOTHING or self.lot.requests:
            running = self._carry_out(running)
        self.cost.spent_ns += perf_counter_ns() - started_ns
        return running

    def _decide(self, running: Any) -> IterationPlan:
        """The plan of this pass; on any doubt one in which offline work yields."""
        self._has_offline = True
        if self.fault:
            return self._yielding_plan(running)
        try:
            self._has_offline = self._holds_offline(running)
            if not self._has_offline and self.memory.is_settled:
                return _NOTHING
            waiting_online, offline_queue = self._waiting.read(
                self._scheduler.waiting_queue,
                self._scheduler.tree_cache,
                clock=self.clock,
                number=self._pass_number,
                memory=self.memory,
            )
            state = read_state(
                self._scheduler,
                running=running.reqs,
                parked=self.lot.requests,
                in_flight=self._in_flight(),
                clock=self.clock,
                pass_number=self._pass_number,
                memory=self.memory,
                waiting_online=waiting_online,
                offline_queue=offline_queue,
            )
            plan = plan_iteration(state, model=self.settings.model, budgets=self.settings.budgets)
            self.memory = plan.memory
            return plan
        except Exception as error:  # noqa: BLE001 - see `fail`
            self.fail(error)
            return self._yielding_plan(running)

    def fail(self, error: Exception) -> None:
        """Ends offline work in this engine until it restarts, and says why.

        The plugin runs inside the engine's scheduler, where an exception ends the engine
        and every online stream in it; a mistake of ours may cost offline work only.
        """
        self.count("faults")
        if not self.fault:
            self.fault = f"{type(error).__name__}: {error}"
            logger.error("slacktide_fault reason=%r", self.fault, exc_info=error)

    def end_pass(self) -> None:
        """Rank 0: the pass is over, the next begins."""
        started_ns = perf_counter_ns()
        elapsed_ms = self.clock.poll()
        self.samples.end_pass(elapsed_ms)
        self.cost.end_pass(elapsed_ms, online_only=not self._has_offline)
        self.cost.spent_ns += perf_counter_ns() - started_ns

    def end_admission(self, *, has_batch: bool) -> None:
        """SGLang has built its prefill batch, or none: settles what we changed under it."""
        started_ns = perf_counter_ns()
        chunk = self.sat_out_chunk
        if has_batch and chunk is not None and chunk is self._scheduler.chunked_req:
            # SGLang counts every pass with a batch as a chunk in flight; this one held
            # none of it, and its last chunk would be dropped as a middle one.
            chunk.inflight_middle_chunks -= 1
        self._requeue_released()
        self.cost.spent_ns += perf_counter_ns() - started_ns

    def make_room_to_decode(self, batch: Any) -> None:
        """Evicts offline rows until the batch's next token fits, before SGLang retracts.

        SGLang retracts among all rows; ours go first, parked ones too.
        """
        if not self._has_offline:
            return
        started_ns = perf_counter_ns()
        self._make_room_to_decode(batch)
        self.cost.spent_ns += perf_counter_ns() - started_ns

    def _make_room_to_decode(self, batch: Any) -> None:
        if self._scheduler._reqs_finishing_inflight(batch):
            return  # their KV comes free at the end of this pass, which SGLang waits for
        while not batch.is_empty() and not batch.check_decode_mem():
            if self.evict_cheapest(batch) is None:
                break
        self._requeue_released()

    # ------------------------------------------------------------ eviction

    def evict_cheapest(self, running: Any) -> Any:
        """Gives up the KV of the offline row that is cheapest to compute again.

        Returns:
            The request, released but not yet waiting; None where there is none.
        """
        guarded = self._guarded()
        in_flight = self._in_flight()
        candidates = {
            req.rid: (req, is_parked)
            for requests, is_parked in ((self.lot.requests, True), (running.reqs, False))
            for req in requests
            if is_offline(req) and not req.finished() and id(req) not in guarded
        }
        rows = cheapest_first(
            decode_row(
                req,
                is_parked=is_parked,
                in_flight=in_flight,
                clock=self.clock,
                pass_number=self._pass_number,
            )
            for req, is_parked in candidates.values()
        )
        if not rows:
            return None
        req, _ = candidates[rows[0].rid]
        self._evict(running, {req.rid})
        return req

    def can_release(self, req: Any) -> bool:
        """Whether a request may give up its KV in this pass."""
        return id(req) not in self._guarded()

    def requeue_chunk(self, req: Any) -> None:
        """An offline mid-prefill request yields its slot; its KV is in the prefix cache."""
        release(req, self._scheduler.tree_cache, checkpoint=False)
        self._released.append(req)
        self.count("chunks_requeued")

    def yield_sat_out_chunk(self) -> None:
        """Frees the mid-prefill slot of an offline request that sits this pass out."""
        chunk, self.sat_out_chunk = self.sat_out_chunk, None
        self._scheduler.chunked_req = None
        self.requeue_chunk(chunk)

    def release_all_parked(self) -> None:
        """Every parked request gives up its KV, unshared, as a paused engine wants it."""
        self.lot.drop_finished()
        for req in self.lot.requests:
            release(req, self._scheduler.tree_cache, checkpoint=False)
            self._released.append(req)
        self.lot.requests = []
        self._requeue_released()

    # ------------------------------------------------------------ measurement

    def launched(self, batch: Any) -> None:
        """Puts a batch's penalties right, and notes it, before it runs."""
        started_ns = perf_counter_ns()
        try:
            if batch.sampling_info.penalizer_orchestrator.is_required:
                overlaps = self._scheduler.enable_overlap
                restore_penalties(batch, in_flight=self._in_flight(), overlaps=overlaps)
            self._note(batch)
        except Exception as error:  # noqa: BLE001 - see `fail`
            self.fail(error)
        self.cost.launched()
        self.cost.spent_ns += perf_counter_ns() - started_ns

    def _note(self, batch: Any) -> None:
        held = compose(batch, unfinished=self._scheduler.chunked_req)
        model = self.settings.model
        mean_ms = model.predict_ms(held.shape)
        self.samples.launch(
            MeasuredIteration(
                sequence=0,
                shape=held.shape,
                measured_ms=0.0,
                predicted_ms=mean_ms,
                bound_ms=model.bound_of(mean_ms, has_prefill=held.shape.prefill_rows > 0),
                budget_ms=self.plan.budget_ms if held.offline_rows else 0.0,
                offline_rows=held.offline_rows,
                ran_online=held.online_rows > 0,
            )
        )
        self.count("passes")
        self.count("online_prompt_tokens", held.online_prompt_tokens)
        self.count("offline_prompt_tokens", held.offline_prompt_tokens)
        self.count("online_output_tokens", held.online_output_tokens)
        self.count("offline_output_tokens", held.offline_output_tokens)

    def count(self, name: str, amount: int = 1) -> None:
        """Adds to a counter of `Counters`."""
        self._counts[name] += amount

    def state(self) -> PluginState:
        """What `/server_info` says of the plugin."""
        s = self._scheduler
        running: list[Any] = list(s.running_batch.reqs)
        known = {id(r) for r in running}
        if s.last_batch is not None:
            running += [r for r in s.last_batch.reqs if id(r) not in known]
        if s.chunked_req is not None and not any(r is s.chunked_req for r in running):
            running.append(s.chunked_req)
        parked = {id(r) for r in self.lot.requests}
        live = [r for r in running if not r.finished() and id(r) not in parked]
        offline = sum(is_offline(r) for r in live)
        waiting_offline = sum(is_offline(r) for r in s.waiting_queue)
        return PluginState(
            fingerprint=self.settings.fingerprint,
            budgets=self.settings.budgets,
            counters=Counters(**self._counts | self.cost.counters()),
            online=ClassLoad(
                running=len(live) - offline, waiting=len(s.waiting_queue) - waiting_offline
            ),
            offline=ClassLoad(
                running=offline, parked=len(self.lot.requests), waiting=waiting_offline
            ),
            kv_free_tokens=s.token_to_kv_pool_allocator.available_size()
            + s.tree_cache.evictable_size(),
            kv_total_tokens=s.max_total_num_tokens,
            samples=tuple(self.samples.newest),
            fault=self.fault,
        )

    # ------------------------------------------------------------ details

    def _holds_offline(self, running: Any) -> bool:
        """Whether offline work is anywhere in the engine; dates all requests on the way."""
        s, clock = self._scheduler, self.clock
        # Waiting changes no token: a queue of thousands is walked only where it changed.
        if not self._is_queue_dated or s.waiting_queue != self._queue_seen:
            self._queue_seen = list(s.waiting_queue)
            self._queue_has_offline = observe(self._queue_seen, clock=clock)
            self._is_queue_dated = clock.is_stamped
        holds = observe(running.reqs, clock=clock) or self._queue_has_offline
        holds = observe(self.lot.requests, clock=clock) or holds
        if s.chunked_req is not None:
            holds = observe((s.chunked_req,), clock=clock) or holds
        return holds

    def _yielding_plan(self, running: Any) -> IterationPlan:
        """Parks every offline row that can be; admits and resumes nothing."""
        return IterationPlan(
            park=tuple(
                req.rid
                for req in running.reqs
                if (record := record_of(req)).is_offline
                and record.can_park
                and req.to_finish is None
                and not req.finished()
            )
        )

    def _carry_out(self, running: Any) -> Any:
        plan = self.plan
        if plan.evict:
            self._evict(running, set(plan.evict))
        if plan.park:
            for req in self.lot.park(running, set(plan.park)):
                record_of(req).state_pass = self._pass_number
                self.count("parked")
        in_flight = self._in_flight()
        resume = set(plan.resume)
        back = [
            r
            for r in self.lot.requests
            if id(r) not in in_flight and (r.rid in resume or r.to_finish is not None)
        ]
        try:
            running = self.lot.resume(running, back)
        except RuntimeError as error:  # before anything changed hands
            self.fail(error)
            return running
        for req in back:
            record = record_of(req)
            record.state_pass = self._pass_number
            record.lost_penalties = True
            self.count("resumed")
        return running

    def _evict(self, running: Any, rids: set[str]) -> None:
        guarded = self._guarded()
        parked = [r for r in self.lot.requests if r.rid in rids and id(r) not in guarded]
        rows = [
            r
            for r in running.reqs
            if r.rid in rids and id(r) not in guarded and not r.finished() and is_offline(r)
        ]
        remove(running, rows)
        gone = {id(r) for r in parked}
        self.lot.requests = [r for r in self.lot.requests if id(r) not in gone]
        for req in (*parked, *rows):
            release(req, self._scheduler.tree_cache, checkpoint=True)
            self._released.append(req)
            self.count("evicted")
            logger.info("slacktide_evicted rid=%s tokens=%d", req.rid, len(req.output_ids))
        running.batch_is_full = False

    def _requeue_released(self) -> None:
        released, self._released = self._released, []
        for req in released:
            record = record_of(req)
            record.matched_pass, record.state_pass = None, 0
            self._scheduler._add_request_to_queue(req)

    def _in_flight(self) -> frozenset[int]:
        return frozenset(id(r) for batch, _ in self._scheduler.result_queue for r in batch.reqs)

    def _guarded(self) -> frozenset[int]:
        """Requests that share a result in flight with logprobs, whose offsets a released
        neighbour would shift.
        """
        return frozenset(
            id(r)
            for batch, _ in self._scheduler.result_queue
            if batch.return_logprob
            for r in batch.reqs
        )
