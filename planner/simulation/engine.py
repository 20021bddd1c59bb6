"""A simulated engine: SGLang's loop with the plugin's steps in it.

Owns the order of a pass: decide, apply the plan, admit prompts, find KV for decodes,
launch; and later its results. Prompts go before decodes where passes take turns. Refuses
time: the caller says when a pass begins and when its results are in.

Invariants: the policy is asked only when offline work is in the engine or its memory is
not empty, as the plugin asks it; the books (`ledger`) balance in every run.
"""

from collections.abc import Iterable

from planner.batching.policy import Policy
from planner.batching.state import Budgets, IterationPlan, Memory, WorkClass
from planner.latency.predictor import LatencyModel
from planner.simulation.admission import Admission
from planner.simulation.counters import EngineCounters
from planner.simulation.decoding import Decoding
from planner.simulation.ledger import Ledger
from planner.simulation.live import LiveRequest
from planner.simulation.memory import KvMemory
from planner.simulation.passes import Pass, Settled, launch, settle
from planner.simulation.reading import read_state
from planner.simulation.request import SimulatedRequest
from planner.simulation.residents import Residents
from planner.simulation.settings import EngineSettings

_AUDIT_PERIOD = 4096  # passes


class Engine:
    """One engine and the policy that plans its passes."""

    def __init__(
        self, settings: EngineSettings, *, policy: Policy, model: LatencyModel, budgets: Budgets
    ) -> None:
        self.settings = settings
        self.counters = EngineCounters()
        self.budgets = budgets
        self._memory = KvMemory(
            total_tokens=settings.kv_tokens,
            page_size=settings.page_size,
            caches_prefixes=settings.caches_prefixes,
        )
        self._residents = Residents(settings, memory=self._memory, counters=self.counters)
        self._decoding = Decoding(self._residents, memory=self._memory)
        self._ledger = Ledger(self._memory)
        self._policy, self._model = policy, model
        self._plan_memory = Memory()
        self._nothing = IterationPlan()  # the plan of a pass without offline work
        self._last_pass_ms = 0.0

    @property
    def live(self) -> int:
        """Requests that have not ended."""
        return self._ledger.live

    def requests(self) -> Iterable[LiveRequest]:
        """Every request in it, in no order that matters."""
        return self._residents.everyone()

    # ------------------------------------------------------------ arrivals

    def add(self, request: SimulatedRequest) -> None:
        """Queues an arrival.

        Raises:
            ValueError: It can never fit the engine, or its rid is in the engine already.
        """
        # SGLang admits what is less than the KV there is, with a page to spare.
        needed = request.prompt_tokens + request.longest_output_tokens + self.settings.page_size
        if needed >= self._memory.total_tokens:
            raise ValueError(
                f"request {request.rid}: needs {needed + 1} tokens of KV, the engine has "
                f"{self._memory.total_tokens}; shorten it or give more kv_tokens"
            )
        if not self.live:
            self._decoding.new_token_ratio.reset()
        live = LiveRequest(
            request, page_size=self.settings.page_size, prompt_key=_prompt_key(request)
        )
        self._ledger.arrive(live)
        self._residents.queue(live)

    # ------------------------------------------------------------ one pass

    def begin_pass(self, *, now_s: float) -> Pass | None:
        """Plans and launches the next pass; None where nothing runs."""
        residents = self._residents
        residents.pass_number += 1
        plan = self._decide(now_s=now_s)
        self._plan_memory = plan.memory
        residents.apply(plan)
        prompts = self._admit(plan)
        residents.requeue_released()
        if not prompts:
            decodes = self._decoding.alone()
            residents.requeue_released()
        else:
            decodes = self._decoding.beside_prompts() if self.settings.mixes else ()
        if not prompts and not decodes:
            return None
        return self._launch(prompts, decodes, plan=plan)

    def settle(self, run: Pass, *, at_s: float, lasted_ms: float) -> Settled:
        """The pass's results are in, and its tokens are emitted at `at_s`.

        Raises:
            ConservationError: Requests, tokens or KV do not add up.
        """
        self._last_pass_ms = lasted_ms
        if run.plan.bound_ms and lasted_ms > run.plan.bound_ms:
            self.counters.over_bound += 1
        settled = settle(run, at_s=at_s)
        if settled.ended:
            self._residents.drop(settled.ended)
            for live in settled.ended:
                live.leave(self._memory)
                self._ledger.end(live)
        self._ledger.settle(emitted_tokens=settled.emitted_tokens)
        if self.counters.passes % _AUDIT_PERIOD == 0:
            self.audit()
        return settled

    def audit(self) -> None:
        """Checks the books over all requests in the engine.

        Raises:
            ConservationError: They do not balance.
        """
        self._ledger.audit(self._residents.everyone())

    # ------------------------------------------------------------ its steps

    def _decide(self, *, now_s: float) -> IterationPlan:
        if not self._ledger.offline_live and self._plan_memory.is_settled:
            # What it remembers of online bursts and prefix order outlives the pause.
            if self._nothing.memory is not self._plan_memory:
                self._nothing = IterationPlan(memory=self._plan_memory)
            return self._nothing
        self.counters.decisions += 1
        state = read_state(
            self._residents,
            settings=self.settings,
            memory=self._memory,
            now_s=now_s,
            last_pass_ms=self._last_pass_ms,
            plan_memory=self._plan_memory,
        )
        return self._policy(state, model=self._model, budgets=self.budgets)

    def _admit(self, plan: IterationPlan) -> list[tuple[LiveRequest, int]]:
        residents = self._residents
        started = residents.started
        if started is None and not residents.online and not plan.offline_chunk_tokens:
            return []
        admission = Admission(
            settings=self.settings,
            memory=self._memory,
            residents=residents,
            counters=self.counters,
            plan=plan,
            new_token_ratio=self._decoding.new_token_ratio.current,
        )
        if started is not None:
            admission.continue_started(started)
        admission.admit(residents.in_order(plan))
        residents.started = admission.unfinished
        residents.dequeue([live for live, _ in admission.prompts])
        return admission.prompts

    def _launch(
        self,
        prompts: list[tuple[LiveRequest, int]],
        decodes: tuple[LiveRequest, ...],
        *,
        plan: IterationPlan,
    ) -> Pass:
        residents = self._residents
        for live, _ in prompts:
            live.share(self._memory)
        run = launch(prompts, decodes, plan=plan, changed_rows=residents.changed_rows)
        residents.changed_rows = 0
        for live in run.finished_prompts:
            live.state_pass = residents.pass_number + 1  # a row from the next pass on
            residents.running.append(live)
        self.counters.passes += 1
        self.counters.prefill_passes += bool(prompts)
        return run


def _prompt_key(request: SimulatedRequest) -> bytes:
    """Lexicographic order of keys is depth-first order of prefixes."""
    if request.work_class is not WorkClass.OFFLINE:
        return b""
    return b"".join(block.to_bytes(8, "big") for block in request.blocks) + request.rid.encode()
