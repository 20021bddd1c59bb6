"""Frontiers of replicas nobody has profiled yet, from the engine simulator.

Owns the question asked of the simulator: how much online load a replica bears alone, and at
a few levels of it, how much offline work the plugin's own decision code gets done while the
SLO is kept. Refuses to call that a measurement: the source says "derived", and a profile
replaces it. Deterministic by seed.

Steps. Bisect the online rate at which enough requests meet the SLO with no offline work; of
what passed, `CAUTION_RATIO` is the replica's limit. A short window knows the tail badly, so a
run passes only with `MISS_SHARE` of the misses the SLO allows. At shares of that limit, run a
batch without end beside it, under the budgets production runs at; where the SLO is missed,
under shares of them. The largest that keeps it says how much offline work the replica bears
there; none where none keeps it.

Cost, measured on one of two shared cores at the usual `Probing`: 4 to 8 s a frontier, 20 to
32 s where the SLO leaves a fifth of the replica, since windows lengthen, 1 s where it leaves
none; under 1 s offline-only.
"""

from dataclasses import dataclass, replace

from planner.batching.state import Budgets
from planner.hardware.machine import Machine
from planner.interference.derive_hull import MOST_POINTS, frontier_through
from planner.interference.derive_mix import RequestMix
from planner.interference.derive_replica import (
    AGENTS_ENGINE,
    Engine,
    Level,
    Load,
    Replica,
    run,
)
from planner.model import Frontier, Slo, Stage
from planner.rollout.budgets import LONGEST_IDLE_BUDGET_MS, engine_budgets
from planner.simulation.probe import Window

SOURCE = "derived"
CAUTION_RATIO = 0.95  # of the online load that passed
MISS_SHARE = 0.5
"""Of the misses an SLO allows, as many a run may have: another draw has more."""

LEAST_ONLINE_RATIO = 0.75
"""Of the online limit that a frontier keeps where giving up the rest makes room for offline
work: stated, a level and no more. Online work goes first, so no more than that."""

_BUDGET_SHARES = (1.0, 0.6, 0.35, 0.2, 0.1, 0.05)  # of what production runs at
_LEAST_WINDOW_S = 30.0
_FINE_RATIO = 0.05  # of the online rate: where a bisection ends
# Of the rate at which queues grow: a replica that does not bear so much is of no use online,
# and to find out how little would take windows without end.
_LEAST_RATE_RATIO = 0.1
_NEAR_NONE = 0.25  # of the first even level
_SETTLE_RATIO = 1.0 / 3.0  # of the window


@dataclass(frozen=True, slots=True, kw_only=True)
class Probing:
    """How closely to look.

    Attributes:
        requests: Online requests a window has, about; at levels below the replica's limit,
            in windows as long, fewer.
        levels: Of online load, evenly up to the limit, 1 to MOST_POINTS - 2; besides them one
            near none and none.
        seed: Says all that is drawn.
    """

    requests: int = 400
    levels: int = 5
    seed: int = 0

    def __post_init__(self) -> None:
        if self.requests < 1:
            raise ValueError(f"probing: requests is {self.requests}, must be >= 1")
        if not 1 <= self.levels <= MOST_POINTS - 2:
            raise ValueError(f"probing: levels is {self.levels}, must be 1 to {MOST_POINTS - 2}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Derived:
    """A frontier and what it rests on.

    Attributes:
        frontier: For the planner.
        levels: Rising, from no online load on; without those of which nothing can be told.
            Budgets of each are the largest tried that keep the SLO, and not enabled where
            none do.
        runs: Simulations it took.
    """

    frontier: Frontier
    levels: tuple[Level, ...]
    runs: int


def derive_frontier(
    machine: Machine,
    *,
    slo: Slo,
    online: RequestMix,
    offline: RequestMix,
    reference: Machine | None = None,
    engine: Engine = AGENTS_ENGINE,
    latency_budget_ms: float = 0.0,
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
        engine: How its engine is started.
        latency_budget_ms: That the deployment gives it; 0: derived from the SLO.
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
        engine=engine,
    )
    budgets = engine_budgets(
        slo=slo, latency_budget_ms=latency_budget_ms, stage=Stage.ACTIVE, may_run_offline=True
    )
    return _Deriving(replica, slo=slo, budgets=budgets, probing=probing).run()


def derive_offline_only(
    machine: Machine,
    *,
    offline: RequestMix,
    reference: Machine | None = None,
    engine: Engine = AGENTS_ENGINE,
    probing: Probing = Probing(),
) -> Derived:
    """The frontier of a replica that serves no online requests: one figure.

    Args:
        machine: As `derive_frontier`.
        offline: Likewise.
        reference: Likewise.
        engine: Likewise.
        probing: Likewise; its requests are offline ones here.

    Raises:
        ValueError: Requests that do not fit the machine.
    """
    replica = Replica(
        machine=machine,
        reference=reference or machine,
        online=offline,
        offline=offline,
        engine=engine,
    )
    budgets = Budgets(
        latency_budget_ms=LONGEST_IDLE_BUDGET_MS, idle_budget_ms=LONGEST_IDLE_BUDGET_MS
    )
    load = _load(0.0, budgets, window_rate=replica.sustained_rate(offline), probing=probing)
    level = run(replica, load, slo=None)
    frontier = frontier_through([(0.0, level.seen.offline_work)], source=SOURCE)
    return Derived(frontier=frontier, levels=(level,), runs=1)


class _Deriving:
    """One derivation: its replica and the runs so far."""

    def __init__(self, replica: Replica, *, slo: Slo, budgets: Budgets, probing: Probing) -> None:
        self._replica, self._slo = replica, slo
        self._budgets, self._probing = budgets, probing
        self._runs = 0

    def run(self) -> Derived:
        limit = CAUTION_RATIO * self._bearable_rate()
        shares = _shares(self._probing.levels) if limit > 0.0 else (0.0,)
        found = (self._level(share * limit, limit=limit) for share in shares)
        levels = tuple(level for level in found if level is not None)
        return Derived(
            frontier=frontier_through(
                [(level.online_work, level.seen.offline_work) for level in levels],
                source=SOURCE,
                least_online_ratio=LEAST_ONLINE_RATIO,
            ),
            levels=levels,
            runs=self._runs,
        )

    def _bearable_rate(self) -> float:
        """The largest online rate, of those bisected, that keeps the SLO alone; else 0."""
        failed = self._replica.sustained_rate(self._replica.online)
        passed = _LEAST_RATE_RATIO * failed
        if not self._keeps_alone(passed):
            return 0.0
        while failed - passed > _FINE_RATIO * failed:
            rate = (passed + failed) / 2.0
            if self._keeps_alone(rate):
                passed = rate
            else:
                failed = rate
        return passed

    def _keeps_alone(self, rate: float) -> bool:
        alone = replace(self._budgets, enabled=False)
        level = self._at(_load(rate, alone, window_rate=rate, probing=self._probing))
        return level.seen.keeps(self._slo, miss_share=MISS_SHARE)

    def _level(self, rate: float, *, limit: float) -> Level | None:
        """The most offline work, of the budgets tried, that keeps the SLO at that rate.

        None where online requests miss it by themselves: such a draw says nothing of offline
        work, and a level too high is none.
        """

        def beside(share: float) -> Level:
            whole = self._budgets
            budgets = replace(
                whole,
                latency_budget_ms=share * whole.latency_budget_ms,
                idle_budget_ms=share * whole.idle_budget_ms,
            )
            return self._at(_load(rate, budgets, window_rate=limit, probing=self._probing))

        best = beside(_BUDGET_SHARES[0])
        if best.seen.keeps(self._slo, miss_share=MISS_SHARE):
            return best
        best = beside(_BUDGET_SHARES[-1])
        if not best.seen.keeps(self._slo, miss_share=MISS_SHARE):
            alone = replace(best.load, budgets=replace(self._budgets, enabled=False))
            level = self._at(alone)
            return level if level.seen.keeps(self._slo, miss_share=MISS_SHARE) else None
        failed, passed = 0, len(_BUDGET_SHARES) - 1
        while passed - failed > 1:
            middle = (failed + passed) // 2
            level = beside(_BUDGET_SHARES[middle])
            if level.seen.keeps(self._slo, miss_share=MISS_SHARE):
                best, passed = level, middle
            else:
                failed = middle
        return best

    def _at(self, load: Load) -> Level:
        self._runs += 1
        return run(self._replica, load, slo=self._slo)


def _shares(levels: int) -> tuple[float, ...]:
    """Of the limit, where to look: at none, near none, then evenly.

    The first online requests cost offline work more than the next: a chord from no online
    load to the first even level would promise what is not there.
    """
    return (0.0, _NEAR_NONE / levels, *(level / levels for level in range(1, levels + 1)))


def _load(rate: float, budgets: Budgets, *, window_rate: float, probing: Probing) -> Load:
    window_s = _LEAST_WINDOW_S
    if window_rate > 0.0:
        window_s = max(window_s, probing.requests / window_rate)
    return Load(
        requests_per_s=rate,
        budgets=budgets,
        window=Window(settle_s=_SETTLE_RATIO * window_s, length_s=window_s),
        seed=probing.seed,
    )
