"""Who is inside a simulated engine, and how a plan moves them.

Owns where each request is, and the three moves of a plan: evict, park, resume, done as the
plugin does them. A row whose result is in flight is parked or evicted like any other:
parked, it comes back when that result is in; evicted, it loses that result and starts
again from the tokens its client has. Only a row that is parked *and* in flight is spared
where the engine chooses whom to evict, as the planner's own rule spares it.

Invariants: a request is in exactly one of online, offline, started, running, parked and
released; `released` is queued again only when the pass has its batch, since its result in
flight is void only until it is admitted again.
"""

from collections.abc import Iterator

from planner.batching.eviction import cheapest_first
from planner.batching.state import IterationPlan
from planner.simulation.backlog import Backlog
from planner.simulation.counters import EngineCounters
from planner.simulation.live import LiveRequest, decode_rows
from planner.simulation.memory import KvMemory
from planner.simulation.settings import EngineSettings, Scheduler


class Residents:
    """The requests of one engine."""

    def __init__(
        self, settings: EngineSettings, *, memory: KvMemory, counters: EngineCounters
    ) -> None:
        self.online: list[LiveRequest] = []  # waiting, by priority and arrival
        self.offline = Backlog()  # waiting
        self.started: LiveRequest | None = None  # mid-prefill
        self.running: list[LiveRequest] = []  # past their prefill, until their last result is in
        self.parked: list[LiveRequest] = []
        self.released: list[LiveRequest] = []  # on their way back to the queue
        self.changed_rows = 0  # parked, resumed or evicted since the last launch
        self.pass_number = 0
        self._settings, self._memory, self._counters = settings, memory, counters

    @property
    def free_rows(self) -> int:
        """Requests the engine may hold beside those it holds."""
        held = len(self.running) + len(self.parked) + (self.started is not None)
        return self._settings.max_running_requests - held

    def everyone(self) -> list[LiveRequest]:
        """Every request, from wherever it is."""
        waiting = [*self.online, *self.offline, *self.released]
        started = [] if self.started is None else [self.started]
        return [*waiting, *started, *self.running, *self.parked]

    # ------------------------------------------------------------ the queue

    def queue(self, live: LiveRequest) -> None:
        """Lets a request wait for its prefill."""
        if live.is_offline:
            self.offline.put(live)
            return
        self.online.append(live)
        self.online.sort(key=_online_order)

    def in_order(self, plan: IterationPlan) -> Iterator[LiveRequest]:
        """Waiting requests: online ones, then offline ones as the plan orders them."""
        yield from self.online
        if plan.offline_chunk_tokens > 0:
            yield from self.offline.first(plan.offline_order)

    def dequeue(self, admitted: list[LiveRequest]) -> None:
        """Takes requests out of the queue."""
        rids = {live.rid for live in admitted if not live.is_offline}
        if rids:
            self.online = [r for r in self.online if r.rid not in rids]
        self.offline.discard([live.rid for live in admitted if live.is_offline])

    def requeue_released(self) -> None:
        """Those who gave up their KV wait again."""
        for live in self.released:
            live.match_due = 0  # what it shows is of before
            self.queue(live)
        self.released.clear()

    # ------------------------------------------------------------ the plan

    def apply(self, plan: IterationPlan) -> None:
        """Evicts, parks and resumes what a plan names; online rows stay where they are."""
        for rid in plan.evict:
            self._evict(rid)
        if plan.park:
            aside = set(plan.park)
            gone = [r for r in self.running if r.rid in aside and r.is_offline]
            self.running = [r for r in self.running if r.rid not in aside or not r.is_offline]
            self._move(gone, self.parked)
            self._counters.parked += len(gone)
        if plan.resume:
            wanted = set(plan.resume)
            back = [r for r in self.parked if r.rid in wanted and not r.in_flight]
            wanted = {r.rid for r in back}
            self.parked = [r for r in self.parked if r.rid not in wanted]
            self._move(back, self.running)
            self._counters.resumed += len(back)

    def _move(self, rows: list[LiveRequest], to: list[LiveRequest]) -> None:
        for live in rows:
            live.state_pass = self.pass_number
        to.extend(rows)
        self.changed_rows += len(rows)

    # ------------------------------------------------------------ giving up KV

    def evict_cheapest(self) -> LiveRequest | None:
        """Evicts the offline row that is cheapest to compute again, beyond the plan.

        Returns:
            The row; None where there is none, or where the scheduler never does so.
        """
        if self._settings.scheduler is not Scheduler.PLUGIN:
            return None
        running = [live for live in self.running if live.is_offline]
        rows = cheapest_first(
            decode_rows(self.parked, number=self.pass_number, is_parked=True)
            + decode_rows(running, number=self.pass_number, is_parked=False)
        )
        return self._evict(rows[0].rid) if rows else None

    def _evict(self, rid: str) -> LiveRequest | None:
        for requests in (self.parked, self.running):
            for live in requests:
                if live.rid == rid and live.is_offline:
                    requests.remove(live)
                    # The plugin leaves all its KV in the cache, SGLang that of its prefill.
                    is_ours = self._settings.scheduler is Scheduler.PLUGIN
                    self._release(live, kept_tokens=None if is_ours else live.prefilled_tokens)
                    self._counters.evicted += 1
                    self.changed_rows += 1
                    return live
        return None

    def retract(self, live: LiveRequest) -> None:
        """SGLang's own way: a running row of any class starts again."""
        self.running.remove(live)
        self._release(live, kept_tokens=live.prefilled_tokens)
        if live.is_offline:
            self._counters.retracted_offline += 1
        else:
            self._counters.retracted_online += 1

    def requeue_started(self, live: LiveRequest) -> None:
        """A mid-prefill request gives up its slot; its chunks stay in the cache."""
        self._release(live, kept_tokens=None)
        self._counters.requeued += 1

    def _release(self, live: LiveRequest, *, kept_tokens: int | None) -> None:
        live.restart(self._memory, kept_tokens=kept_tokens)
        self.released.append(live)

    # ------------------------------------------------------------ the end

    def drop(self, ended: list[LiveRequest]) -> None:
        """Forgets requests that ended."""
        rids = {live.rid for live in ended}
        self.running = [r for r in self.running if r.rid not in rids]
        if self.parked:
            self.parked = [r for r in self.parked if r.rid not in rids]


def _online_order(live: LiveRequest) -> tuple[int, float, str]:
    return -live.request.priority, live.arrival_s, live.rid
