"""One tensor-parallel rank without a model: the plugin's real pass on a small engine.

Real: `Colocation` (clock, observation, reading, plan, parking, eviction), the queue's
order, the adder, SGLang's requests and prefix cache. Ours: where tokens come from (the
length of an output), and KV counted rather than held.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from nodeagent.sglang_plugin import colocation as colocation_module
from nodeagent.sglang_plugin.adder import ColocationAdder
from nodeagent.sglang_plugin.clock import PassClock, PassStamp
from nodeagent.sglang_plugin.colocation import Colocation
from nodeagent.sglang_plugin.parking import ParkingLot
from nodeagent.sglang_plugin.policy import ColocationPolicy
from nodeagent.sglang_plugin.rows import record_of
from planner.batching.state import IterationPlan


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """A request as it is broadcast."""

    rid: str
    tokens: int
    start: int
    new_tokens: int
    offline: bool
    deadline_in_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Broadcast:
    """What rank 0 sends before a pass: requests, and the stamp unless it is idle."""

    arrivals: tuple[Arrival, ...] = ()
    stamp: PassStamp | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Everything a pass decided, and the dates it keeps of its requests."""

    plan: IterationPlan
    queue: tuple[str, ...]  # in the order of admission
    prefills: tuple[tuple[str, int], ...]  # rid, first token not computed
    decodes: tuple[str, ...]
    parked: tuple[str, ...]
    dates: tuple[tuple[str, float | None, float, float], ...]


class Rows:
    """A decode batch: requests, and KV that lasts for one more token of each."""

    batch_is_full = False

    def __init__(self, reqs: Sequence[Any] = ()) -> None:
        self.reqs = list(reqs)

    def is_empty(self) -> bool:
        return not self.reqs

    def filter_batch(self, *, keep_indices: list[int]) -> None:
        self.reqs = [self.reqs[i] for i in keep_indices]

    def merge_batch(self, other: "Rows") -> None:
        self.reqs += other.reqs


class Lot(ParkingLot):
    """Rows come back as `Rows`: the tensors of a batch hold no decision."""

    def _decode_batch(self, requests: list[Any]) -> Any:
        return Rows(requests)


@dataclass
class Rank:
    """A rank and the engine under it.

    Args:
        make: Makes SGLang's request of an arrival.
        scheduler: The parts of a scheduler that the plugin reads.
        clock: Reads this rank's own clock, in seconds.
        decides_by_own_clock: The mistake that the broadcast stamp prevents.
    """

    make: Callable[[Arrival], Any]
    scheduler: Any
    clock: Callable[[], float]
    decides_by_own_clock: bool = False
    running: Rows = field(default_factory=Rows)

    def __post_init__(self) -> None:
        s = self.scheduler
        s._add_request_to_queue = s.waiting_queue.append
        self.known: list[Any] = []
        self.finished: set[str] = set()
        self.colocation = Colocation(s, device_name="cpu")
        self.colocation.clock = PassClock(read=self.clock)
        self.colocation.lot = Lot(s)
        self.policy = ColocationPolicy(
            "fcfs", s.tree_cache, False, False, False, colocation=self.colocation
        )

    @property
    def is_idle(self) -> bool:
        s = self.scheduler
        held = (s.waiting_queue, self.running.reqs, self.colocation.lot.requests)
        return not any(held) and s.chunked_req is None

    def broadcast(self, arrivals: tuple[Arrival, ...]) -> Broadcast:
        """Rank 0: what goes to every rank before the pass."""
        self.colocation.clock.poll()
        stamp = None if self.is_idle else self.colocation.clock.stamp()
        return Broadcast(arrivals=arrivals, stamp=stamp)

    def run_pass(self, heard: Broadcast) -> Decision:
        """One pass: ingest, decide, admit, compute, settle."""
        s, colocation, clock = self.scheduler, self.colocation, self.colocation.clock
        stamp = heard.stamp
        if self.decides_by_own_clock and stamp is not None:
            stamp = PassStamp(now_s=self.clock(), last_pass_ms=stamp.last_pass_ms)
        clock.receive(stamp)
        for arrival in heard.arrivals:
            request = self.make(arrival)
            self.known.append(request)
            s.waiting_queue.append(request)
        s.running_batch = self.running
        self.running = colocation.begin_pass(self.running)
        self.policy.calc_priority(s.waiting_queue)
        queue = tuple(r.rid for r in s.waiting_queue)
        prefills = self._admit()
        colocation.end_admission(has_batch=bool(prefills))
        decodes = () if prefills else tuple(r.rid for r in self.running.reqs)
        self._compute(prefills)
        return Decision(
            plan=colocation.plan,
            queue=queue,
            prefills=tuple((r.rid, r.extend_end) for r in prefills),
            decodes=decodes,
            parked=tuple(r.rid for r in colocation.lot.requests),
            dates=tuple(
                (r.rid, d.arrival_s, d.first_token_s, d.last_token_s)
                for r in self.known
                for d in (record_of(r),)
            ),
        )

    def release(self, req: Any, tree_cache: Any, *, checkpoint: bool) -> None:
        """Stands in for `parking.release` where KV is counted, not held."""
        self.scheduler.token_to_kv_pool_allocator.free_tokens += req.kv.kv_committed_len
        req.kv.kv_committed_len = 0
        req.prefix_len = 0

    def _admit(self) -> list[Any]:
        s = self.scheduler
        if not s.waiting_queue and s.chunked_req is None:
            return []
        adder = ColocationAdder(
            s.page_size,
            s.tree_cache,
            s.token_to_kv_pool_allocator,
            self.running,
            0.5,
            16384,
            s.chunked_prefill_size,
            colocation=self.colocation,
        )
        if s.chunked_req is not None:
            s.chunked_req.refresh_fill_ids()
            s.chunked_req = adder.add_chunked_req(s.chunked_req)
        for req in s.waiting_queue:
            req.init_next_round_input(s.tree_cache)
            if adder.add_one_req(req, s.chunked_req is not None, None).name != "CONTINUE":
                break
        taken = list(adder.can_run_list)
        s.waiting_queue[:] = [r for r in s.waiting_queue if r not in taken]
        if adder.new_chunked_req is not None:
            s.chunked_req = adder.new_chunked_req
        return taken

    def _compute(self, prefills: list[Any]) -> None:
        allocator = self.scheduler.token_to_kv_pool_allocator
        for req in prefills:
            allocator.free_tokens -= req.extend_end - req.prefix_len
            req.prefix_len = req.kv.kv_committed_len = req.extend_end
        done = [r for r in prefills if r is not self.scheduler.chunked_req]
        for req in done or ([] if prefills else self.running.reqs):
            if not prefills:
                allocator.free_tokens -= 1
                req.kv.kv_committed_len += 1
            req.output_ids.append(len(req.output_ids))
        self.running.reqs += done
        for req in [r for r in self.running.reqs if is_done(r)]:
            self.release(req, None, checkpoint=False)
            self.running.reqs.remove(req)
            self.finished.add(req.rid)


def is_done(req: Any) -> bool:
    """Whether a request has all its tokens."""
    return len(req.output_ids) >= req.sampling_params.max_new_tokens


def release_by(rank: Rank, monkeypatch: Any) -> None:
    """Lets the plugin's evictions count KV on this rank."""
    monkeypatch.setattr(colocation_module, "release", rank.release)


def fresh_scheduler(template: Any, **parts: Any) -> Any:
    """A scheduler of a rank's own, like the template."""
    return SimpleNamespace(**{**vars(template), "waiting_queue": [], **parts})
