"""Frontiers of replicas nobody has profiled yet, from the engine simulator.

Owns the question asked of the simulator: how much online load a replica bears alone, and at
a few levels of it, how much offline work the plugin's own decision code gets done while the
SLO is kept. Refuses to call that a measurement: the source says "derived", and a profile
replaces it. Deterministic by seed.

Steps. Bisect the online rate at which enough requests meet the SLO with no offline work; of
what passed, `CAUTION_RATIO` is the replica's limit, since a short window knows the tail
badly. At shares of that limit, run a batch without end beside it, under the budgets that
production derives from the SLO; where the SLO is missed, under shares of them. The largest
that keeps it says how much offline work the replica bears there; none where none keeps it.

Cost, measured on one of two shared cores: 2 to 15 s a frontier at the usual `Probing`, most
where the SLO leaves little of the replica, since windows lengthen; 0.3 s offline-only.
"""

from dataclasses import dataclass, replace

from planner.batching.state import Budgets
from planner.hardware.machine import Machine
from planner.interference.derive_hull import frontier_through
from planner.interference.derive_mix import RequestMix
from planner.interference.derive_probe import Load, Replica, Seen, run
from planner.model import Frontier, Slo, Stage
from planner.replay.capacity import sustained_requests_per_s
from planner.rollout.budgets import LONGEST_IDLE_BUDGET_MS, engine_budgets

SOURCE = "derived"
CAUTION_RATIO = 0.95  # of the online load that passed

_BUDGET_SHARES = (1.0, 0.6, 0.35, 0.2, 0.1, 0.0)  # of the latency budget production derives
LEAST_ONLINE_RATIO = 0.75
"""Of the online limit that a frontier keeps where giving up the rest makes room for offline
work: stated, a level and no more. Online work goes first, so no more than that."""
CHUNKED_PREFILL_SIZE = 512
"""What agents start engines with where a deployment does not say."""

_LEAST_WINDOW_S = 30.0
_FINE_RATIO = 0.05  # of the online rate: where a bisection ends
# Of the rate at which queues grow: a replica that does not bear so much is of no use online,
# and to find out how little would take windows without end.
_LEAST_RATE_RATIO = 0.1
_SETTLE_RATIO = 1.0 / 3.0  # of the window


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """How closely to look.

    Attributes:
        requests: Online requests a window has, about; at levels below the replica's limit,
            in windows as long, fewer.
        levels: Of online load, beside none, >= 1.
        seed: Says all that is drawn.
    """

    requests: int = 400
    levels: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("requests", "levels"):
            if getattr(self, name) < 1:
                raise ValueError(f"probing: {name} is {getattr(self, name)}, must be >= 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """A frontier and what it rests on.

    Attributes:
        frontier: For the planner.
        seen: Of each level, rising, from no online load on; offline work 0 where none
            keeps the SLO.
        runs: Simulations it took.
    """

    frontier: Frontier
    seen: tuple[Seen, ...]
    runs: int


def derive_frontier(
    machine: Machine,
    *,
    slo: Slo,
    online: RequestMix,
    offline: RequestMix,
    reference: Machine | None = None,
    chunked_prefill_size: int = CHUNKED_PREFILL_SIZE,
    mixes: bool = True,
    probing: Probing = Probing(),
) -> Derived:
    """The frontier of a replica that serves online requests.

    Args:
        machine: The replica's devices and model.
        slo: Of the tightest class it serves.
        online: Lengths of its online requests.
        offline: Lengths of the batches' requests.
        reference: Work is counted on it: the deployment's own tensor parallel size on its
            first device type; None: on the machine itself.
        chunked_prefill_size: Of its engine.
        mixes: Whether its engine runs decodes beside prompts.
        probing: How closely to look.

    Returns:
        Work in the reference's predicted solo engine-milliseconds per second; a replica
        that never keeps the SLO bears no online work.

    Raises:
        ValueError: Requests that do not fit the machine.
    """
    replica = Replica(
        machine=machine,
        reference=reference or machine,
        online=online,
        offline=offline,
        chunked_prefill_size=chunked_prefill_size,
        mixes=mixes,
    )
    return _Deriving(replica, slo=slo, probing=probing).run()


def derive_offline_only(
    machine: Machine,
    *,
    offline: RequestMix,
    reference: Machine | None = None,
    chunked_prefill_size: int = CHUNKED_PREFILL_SIZE,
    mixes: bool = True,
    probing: Probing = Probing(),
) -> Derived:
    """The frontier of a replica that serves no online requests: one figure.

    Args:
        machine: As `derive_frontier`.
        offline: Likewise.
        reference: Likewise.
        chunked_prefill_size: Likewise.
        mixes: Likewise.
        probing: Likewise; its requests are offline ones here.

    Raises:
        ValueError: Requests that do not fit the machine.
    """
    replica = Replica(
        machine=machine,
        reference=reference or machine,
        online=offline,
        offline=offline,
        chunked_prefill_size=chunked_prefill_size,
        mixes=mixes,
    )
    budgets = Budgets(
        latency_budget_ms=LONGEST_IDLE_BUDGET_MS, idle_budget_ms=LONGEST_IDLE_BUDGET_MS
    )
    load = _load(0.0, budgets, window_rate=_sustained(replica, offline), probing=probing)
    seen = run(replica, load, slo=None)
    frontier = frontier_through([(0.0, seen.offline_work)], source=SOURCE)
    return Derived(frontier=frontier, seen=(seen,), runs=1)


class _Deriving:
    """One derivation: its replica and the runs so far."""

    def __init__(self, replica: Replica, *, slo: Slo, probing: Probing) -> None:
        self._replica, self._slo, self._probing = replica, slo, probing
        self._budgets = engine_budgets(
            slo=slo, latency_budget_ms=0.0, stage=Stage.ACTIVE, may_run_offline=True
        )
        self._runs = 0

    def run(self) -> Derived:
        limit = CAUTION_RATIO * self._bearable_rate()
        levels = self._probing.levels if limit > 0.0 else 0
        seen = tuple(
            self._beside(limit * level / max(1, levels), limit=limit) for level in range(levels + 1)
        )
        return Derived(
            frontier=frontier_through(
                [(one.online_work, one.offline_work) for one in seen],
                source=SOURCE,
                least_online_ratio=LEAST_ONLINE_RATIO,
            ),
            seen=seen,
            runs=self._runs,
        )

    def _bearable_rate(self) -> float:
        """The largest online rate, of those bisected, that keeps the SLO alone; else 0."""
        failed = _sustained(self._replica, self._replica.online)
        passed = _LEAST_RATE_RATIO * failed
        alone = replace(self._budgets, enabled=False)
        if not self._keeps(passed, alone):
            return 0.0
        while failed - passed > _FINE_RATIO * failed:
            rate = (passed + failed) / 2.0
            if self._keeps(rate, alone):
                passed = rate
            else:
                failed = rate
        return passed

    def _keeps(self, rate: float, budgets: Budgets) -> bool:
        return self._seen(rate, budgets, window_rate=rate).keeps(self._slo)

    def _beside(self, rate: float, *, limit: float) -> Seen:
        """The most offline work, of the budgets tried, that keeps the SLO at that rate."""

        def beside(share: float) -> Seen:
            whole = self._budgets
            budgets = replace(
                whole,
                latency_budget_ms=share * whole.latency_budget_ms,
                idle_budget_ms=share * whole.idle_budget_ms,
            )
            return self._seen(rate, budgets, window_rate=limit)

        best = beside(_BUDGET_SHARES[0])
        if best.keeps(self._slo):
            return best
        best = beside(_BUDGET_SHARES[-1])
        if not best.keeps(self._slo):
            return replace(best, offline_work=0.0)
        failed, passed = 0, len(_BUDGET_SHARES) - 1
        while passed - failed > 1:
            middle = (failed + passed) // 2
            seen = beside(_BUDGET_SHARES[middle])
            if seen.keeps(self._slo):
                best, passed = seen, middle
            else:
                failed = middle
        return best

    def _seen(self, rate: float, budgets: Budgets, *, window_rate: float) -> Seen:
        self._runs += 1
        load = _load(rate, budgets, window_rate=window_rate, probing=self._probing)
        return run(self._replica, load, slo=self._slo)


def _sustained(replica: Replica, mix: RequestMix) -> float:
    return sustained_requests_per_s(
        replica.machine,
        prompt_tokens=mix.prompt_tokens,
        output_tokens=mix.output_tokens,
        max_running_requests=replica.max_running_requests,
    )


def _load(rate: float, budgets: Budgets, *, window_rate: float, probing: Probing) -> Load:
    window_s = _LEAST_WINDOW_S
    if window_rate > 0.0:
        window_s = max(window_s, probing.requests / window_rate)
    return Load(
        requests_per_s=rate,
        budgets=budgets,
        settle_s=_SETTLE_RATIO * window_s,
        window_s=window_s,
        seed=probing.seed,
    )
