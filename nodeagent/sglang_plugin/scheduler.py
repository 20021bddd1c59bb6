"""SGLang's scheduler with co-location: where its pass meets ours.

Thin: each override says what SGLang would get wrong without it. The class replaces
`sglang.srt.managers.scheduler.Scheduler` by name, so it calls `super()` only; the name
`Scheduler` in this module may come to mean this very class.

An engine started with options the plugin does not support turns itself back into a stock
scheduler before anything is set up, and says so under `/server_info`.
"""

import logging
from collections.abc import Iterable
from functools import partial
from time import perf_counter_ns
from types import SimpleNamespace
from typing import Any

import torch
from sglang.srt.managers.io_struct import SetInternalStateReqOutput
from sglang.srt.managers.schedule_batch import ScheduleBatch
from sglang.srt.managers.scheduler import Scheduler

from nodeagent.sglang_plugin.adder import ColocationAdder
from nodeagent.sglang_plugin.clock import PassStamp
from nodeagent.sglang_plugin.colocation import Colocation
from nodeagent.sglang_plugin.options import unsupported_options
from nodeagent.sglang_plugin.policy import ColocationPolicy

logger = logging.getLogger(__name__)


class ColocationScheduler(Scheduler):  # type: ignore[misc]
    """Runs online work first and offline work in what is left of each iteration."""

    slacktide: Colocation

    def init_running_status(self) -> None:
        """Sets co-location up, or steps down to the stock scheduler."""
        reasons = unsupported_options(self)
        if reasons:
            # Nothing holds a method of this class yet, so the instance can still be stock.
            self.__class__ = type(self).__mro__[1]
            self.slacktide_refusal = "; ".join(reasons)
            logger.error("slacktide_refused reasons=%r", reasons)
            self.init_running_status()
            return
        super().init_running_status()
        device = "cpu" if self.device == "cpu" else torch.cuda.get_device_name()
        self.slacktide = Colocation(self, device_name=device)
        logger.info("slacktide_installed model=%s", self.slacktide.settings.model.identity)

    def init_schedule_policy(self) -> None:
        """Puts our order on top of SGLang's."""
        super().init_schedule_policy()
        self.policy = ColocationPolicy(
            self.schedule_policy,
            self.tree_cache,
            self.enable_hierarchical_cache,
            self.enable_priority_scheduling,
            self.schedule_low_priority_values_first,
            colocation=self.slacktide,
        )

    def get_prefill_adder_class(self) -> Any:
        """Our adder; SGLang calls what it gets with the adder's arguments."""
        return partial(ColocationAdder, colocation=self.slacktide)

    # ------------------------------------------------------------ the pass

    def _poll_timeout_aborts(self) -> list[Any]:
        """Rank 0, once a pass: what is returned rides the broadcast, the stamp too."""
        self.slacktide.end_pass()
        local: list[Any] = super()._poll_timeout_aborts()
        started_ns = perf_counter_ns()
        if not self._is_quiet():
            local.append(self.slacktide.clock.stamp())
        self.slacktide.cost.spent_ns += perf_counter_ns() - started_ns
        return local

    def process_input_requests(self, recv_reqs: list[Any]) -> None:
        """Takes the stamp out of what was broadcast."""
        started_ns = perf_counter_ns()
        stamp = None
        requests = []
        for request in recv_reqs:
            if isinstance(request, PassStamp):
                stamp = request
            else:
                requests.append(request)
        self.slacktide.clock.receive(stamp)
        self.slacktide.cost.spent_ns += perf_counter_ns() - started_ns
        super().process_input_requests(requests)

    def get_new_batch_prefill(self, running_batch: Any) -> Any:
        """Plans the pass before SGLang mixes, prefills or decodes."""
        running_batch = self.slacktide.begin_pass(running_batch)
        plan = super().get_new_batch_prefill(running_batch)
        self.slacktide.end_admission(has_batch=plan.batch_to_run is not None)
        return plan

    def update_running_batch(self, batch: Any) -> Any:
        """Evicts offline rows before SGLang retracts among all."""
        self.slacktide.make_room_to_decode(batch)
        return super().update_running_batch(batch)

    def run_batch(self, batch: Any, *args: Any, **kwargs: Any) -> Any:
        """Notes what is launched."""
        self.slacktide.launched(batch)
        return super().run_batch(batch, *args, **kwargs)

    # ------------------------------------------------------------ who is there

    def is_fully_idle(self, *args: Any, **kwargs: Any) -> bool:
        """Parked requests hold rows and KV: no leak check, no flush."""
        return not self.slacktide.lot.requests and bool(super().is_fully_idle(*args, **kwargs))

    def _collect_inflight_batches(self) -> list[Any]:
        """Parked requests can be aborted and can time out."""
        batches = list(super()._collect_inflight_batches())
        if self.slacktide.lot.requests:
            batches.append(ScheduleBatch(reqs=list(self.slacktide.lot.requests)))
        return batches

    def pause_generation(self, recv_req: Any) -> None:
        """A pause that retracts releases parked KV as well."""
        super().pause_generation(recv_req)
        if recv_req.mode == "retract":
            self.slacktide.release_all_parked()

    def init_load_inquirer(self) -> None:
        """Load answers count parked requests as running."""
        super().init_load_inquirer()
        self._show_parked_to(self.load_inquirer)

    def init_invariant_checker(self) -> None:
        """The busy leak check counts parked requests' KV as owned."""
        super().init_invariant_checker()
        self._show_parked_to(self.invariant_checker)

    def _show_parked_to(self, reader: Any) -> None:
        # A frozen dataclass whose callables SGLang itself replaces this way.
        object.__setattr__(reader, "get_running_batch", self._running_and_parked)

    def _running_and_parked(self) -> Any:
        """The running batch where nothing is parked; else all who hold rows."""
        parked: Iterable[Any] = self.slacktide.lot.requests
        if not parked:
            return self.running_batch
        return SimpleNamespace(reqs=[*self.running_batch.reqs, *parked])

    def _is_quiet(self) -> bool:
        return (
            not self.waiting_queue
            and self.chunked_req is None
            and self.running_batch.is_empty()
            and (self.last_batch is None or self.last_batch.is_empty())
            and not self.slacktide.lot.requests
        )

    # ------------------------------------------------------------ control

    def set_internal_state(self, recv_req: Any) -> Any:
        """Our keys are applied here, whole; SGLang's go on to it."""
        try:
            if self.slacktide.settings.update(recv_req.server_args):
                return SetInternalStateReqOutput(updated=True)
        except ValueError as error:
            logger.warning("slacktide_settings_refused reason=%s", error)
            return SetInternalStateReqOutput(updated=False)
        return super().set_internal_state(recv_req)
