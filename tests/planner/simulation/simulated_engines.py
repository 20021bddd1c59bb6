"""Small engines and workloads for the tests of the simulator."""

from planner.batching.decide import plan_iteration
from planner.batching.state import Budgets, IterationPlan, WorkClass
from planner.latency.coefficients import Coefficients
from planner.latency.predictor import LatencyModel
from planner.simulation.replay import replay
from planner.simulation.request import SimulatedRequest
from planner.simulation.settings import EngineSettings

MODEL = LatencyModel(
    identity="test",
    decode=Coefficients(constant=4.0, decode_rows=0.5, coverage_ratio=0.9),
    prefill=Coefficients(constant=4.0, prefill_tokens=0.1, decode_rows=0.5, coverage_ratio=0.9),
)
"""Decode 4 + 0.5 a row, prompts 4 + 0.1 a token; decodes beside prompts 0.5 a row."""


def settings(**fields):
    """A small engine."""
    return EngineSettings(
        **{"kv_tokens": 4096, "chunked_prefill_size": 128, "max_running_requests": 32, **fields}
    )


def online(rid, **fields):
    """An online request of 100 prompt and 5 output tokens."""
    return _request(rid, WorkClass.ONLINE, **fields)


def offline(rid, **fields):
    """An offline request of 100 prompt and 5 output tokens."""
    return _request(rid, WorkClass.OFFLINE, **fields)


def _request(rid, work_class, **fields):
    return SimulatedRequest(
        rid=rid, work_class=work_class, **{"prompt_tokens": 100, "output_tokens": 5, **fields}
    )


def unbounded(state, *, model, budgets):
    """Stock SGLang's offline side: all of it, in order of arrival, whatever it costs."""
    waiting = sorted(state.waiting_offline, key=lambda work: (work.arrival_s, work.rid))
    return IterationPlan(
        offline_chunk_tokens=1 << 30, offline_order=tuple(work.rid for work in waiting)
    )


class Watching:
    """Calls `on_pass` with each pass."""

    def __init__(self, on_pass):
        self.passed = on_pass

    def settled(self, settled, *, at_s):
        pass

    def ended(self, ended):
        pass


def run(*, engine=None, policy=plan_iteration, budgets=None, truth=None, on_pass=None, **workload):
    """Replays a workload on a small engine."""
    if on_pass is not None:
        workload["watch"] = Watching(on_pass)
    return replay(
        settings=engine or settings(),
        policy=policy,
        model=MODEL,
        budgets=budgets or Budgets(),
        truth=truth or MODEL.predict_ms,
        **workload,
    )
