"""One level of load on a simulated engine, and what it came to within an SLO.

Owns a run of an engine under the production decision code, with a window in which it is
watched, and the figures that a level is judged by. Refuses to choose loads, lengths or
budgets: callers do, and what work requests are is theirs to say. Deterministic by seed.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

from planner.batching.decide import plan_iteration
from planner.batching.state import Budgets
from planner.latency.work import TokenWork
from planner.model import Slo
from planner.simulation.kind import EngineKind
from planner.simulation.replay import replay
from planner.simulation.request import SimulatedRequest, offline_request, online_request
from planner.simulation.workload import ClosedLoop
from planner.slo import RequestTrace, attains, keeps_gaps
from planner.workload.generate import Lengths
from planner.workload.request import WorkloadRequest

_TAIL_RATIO = 0.5  # of the window, in which arrivals go on while its last requests end


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """When a run is watched.

    Attributes:
        settle_s: Simulated before it, >= 0.
        length_s: In which requests are sent that count, and offline work is counted, > 0.
    """

    settle_s: float
    length_s: float

    @property
    def end_s(self) -> float:
        """From the run's begin."""
        return self.settle_s + self.length_s

    @property
    def arrivals_until_s(self) -> float:
        """How long requests have to arrive, so that the last that count meet the same load."""
        return self.settle_s + (1.0 + _TAIL_RATIO) * self.length_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one run came to.

    Attributes:
        requests: Online ones, sent in the window.
        attainment_ratio: Share of them that met the SLO; 1 where there were none.
        gaps_ratio: Share whose gaps met it, whatever their TTFT; 0 where there were none.
        stay_s: How long one was in the engine, in the mean.
        least_ttft_s: Of them all; 0 where there were none.
        online_tokens_per_s: Prompt and output tokens of online requests.
        offline_work: Done in the window, engine-ms per second.
    """

    requests: int
    attainment_ratio: float
    gaps_ratio: float
    stay_s: float
    least_ttft_s: float
    online_tokens_per_s: float
    offline_work: float

    def keeps(self, slo: Slo, *, miss_share: float = 1.0) -> bool:
        """Whether no more requests missed the SLO than this share of those it allows."""
        return 1.0 - self.attainment_ratio <= miss_share * (1.0 - slo.attainment_ratio) + 1e-12


def probe(
    engine: EngineKind,
    *,
    window: Window,
    budgets: Budgets,
    slo: Slo | None,
    item_work: TokenWork,
    online: Iterable[SimulatedRequest] = (),
    clients: Sequence[ClosedLoop] = (),
    seed: int,
) -> Seen:
    """Runs one level.

    Args:
        engine: What is simulated.
        window: When it is watched.
        budgets: Of the plugin.
        slo: That online requests are judged by; None: none come.
        item_work: Of the tokens of offline requests.
        online: Requests in order of arrival, up to `window.arrivals_until_s`.
        clients: Closed loops beside them; see `batch` and `crowd`.
        seed: Of the noise of iterations.
    """
    replayed = replay(
        settings=engine.settings,
        policy=plan_iteration,
        model=engine.model,
        budgets=budgets,
        truth=engine.truth(seed),
        scheduled=online,
        clients=clients,
        from_s=window.settle_s,
        to_s=window.end_s,
    )
    offline_ms = item_work.of(
        prompt_tokens=replayed.offline_prompt_tokens,
        output_tokens=replayed.offline_output_tokens,
    )
    traces = replayed.online
    attained = [] if slo is None else [attains(trace, slo) for trace in traces]
    gaps_kept = [] if slo is None else [keeps_gaps(trace, slo) for trace in traces]
    return Seen(
        requests=len(traces),
        attainment_ratio=_share(attained, none=1.0),
        gaps_ratio=_share(gaps_kept, none=0.0),
        stay_s=_mean_stay_s(traces),
        least_ttft_s=min(
            (trace.chunks[0].at_s - trace.scheduled_s for trace in traces if trace.chunks),
            default=0.0,
        ),
        online_tokens_per_s=replayed.online_tokens / window.length_s,
        offline_work=offline_ms / window.length_s,
    )


def labelled(drawn: Iterable[WorkloadRequest], *, slo: Slo) -> Iterator[SimulatedRequest]:
    """Requests as they are drawn, with the targets that an agent labels them with."""
    for index, request in enumerate(drawn):
        yield online_request(
            f"online-{index:07d}",
            at_s=request.at_s,
            prompt_tokens=request.prompt_tokens,
            output_tokens=request.output_tokens,
            slo=slo,
        )


def batch(lengths: Lengths, *, source: random.Random, in_flight: int) -> ClosedLoop:
    """A batch without end, so many of its items in the engine at once."""
    items = (
        offline_request(f"item-{index:07d}", prompt_tokens=prompt, output_tokens=output)
        for index in count()
        for prompt, output in (lengths(source),)
    )
    return ClosedLoop(source=items, in_flight=in_flight)


def crowd(lengths: Lengths, *, slo: Slo, source: random.Random, in_flight: int) -> ClosedLoop:
    """Online clients without end, each sending when its last request has ended."""
    requests = (
        online_request(f"crowd-{index:07d}", prompt_tokens=prompt, output_tokens=output, slo=slo)
        for index in count()
        for prompt, output in (lengths(source),)
    )
    return ClosedLoop(source=requests, in_flight=in_flight)


def _share(kept: Sequence[bool], *, none: float) -> float:
    return sum(kept) / len(kept) if kept else none


def _mean_stay_s(traces: Sequence[RequestTrace]) -> float:
    stays = [trace.chunks[-1].at_s - trace.scheduled_s for trace in traces if trace.chunks]
    return sum(stays) / len(stays) if stays else 0.0
