"""The bound of schedules no worse than a run, against every one of them on tiny engines."""

import random

from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from linear_programmes import solve
from tiny_runs import TinyEngine

from planner.batching.state import WorkClass
from planner.clairvoyant.bound import offline_bound
from planner.clairvoyant.envelope import least_passes
from planner.clairvoyant.no_worse import no_worse_bound
from planner.latency.coefficients import Coefficients
from planner.latency.predictor import LatencyModel
from planner.simulation.request import SimulatedRequest
from planner.simulation.settings import EngineSettings


def truth(*, constant=3.0, token=0.5, row=0.3, pair=0.05, context=0.04):
    """A linear truth, in milliseconds."""
    both = Coefficients(
        constant=constant,
        prefill_tokens=token,
        prefill_attention=pair,
        decode_rows=row,
        decode_context=context,
    )
    return LatencyModel(identity="tiny", decode=both, prefill=both).predict_ms


def request(rid, work_class, prompt, output, *, at_ms=0.0):
    return SimulatedRequest(
        rid=rid, work_class=work_class, prompt_tokens=prompt, output_tokens=output, at_s=at_ms / 1e3
    )


def asked_of(engine, run):
    """What bounds ask of a tiny engine and a run on it."""
    settings = EngineSettings(
        kv_tokens=engine.kv,
        chunked_prefill_size=engine.chunk,
        max_running_requests=engine.rows,
        mixes=engine.mixes,
    )
    return {
        "online": [r for r in engine.requests if r.work_class is WorkClass.ONLINE],
        "offline": [r for r in engine.requests if r.work_class is WorkClass.OFFLINE],
        "standing": engine.standing(run),
        "settings": settings,
        "envelope": least_passes(engine.pass_ms, settings=settings, requests=engine.requests),
        "from_s": engine.from_ms / 1e3,
        "to_s": engine.to_ms / 1e3,
    }


def bound_of(engine, run):
    """The bound of schedules no worse than a tiny engine's run."""
    return no_worse_bound(**asked_of(engine, run), served=engine.served(run), solve=solve)


def kept_bound_of(engine, run):
    """The bound of schedules that leave its batch no worse."""
    return offline_bound(**asked_of(engine, run), in_flight=engine.in_flight, targets=None)


def drawn_engine(draw):
    """One of everything that can matter, tiny. `draw(low, high)` draws a whole number."""
    from_ms = [0.0, 0.0, 4.0][draw(0, 2)]
    chat = [
        request(f"a{i}", WorkClass.ONLINE, draw(1, 2), draw(1, 3), at_ms=from_ms + 4.0 * draw(0, 2))
        for i in range(draw(0, 2))
    ]
    batch = [
        request(f"o{i}", WorkClass.OFFLINE, draw(1, 4), draw(1, 3))
        for i in range(draw(1, 3 if len(chat) < 2 else 2))
    ]
    return TinyEngine(
        [*sorted(chat, key=lambda r: r.at_s), *batch],
        pass_ms=truth(
            constant=float(draw(1, 5)),
            token=draw(0, 3) / 2,
            row=draw(0, 2) / 2,
            pair=draw(0, 2) / 9,
        ),
        chunk=draw(1, 4),
        rows=draw(2, 4),
        kv=draw(7, 14),
        mixes=draw(0, 3) > 0,
        in_flight=draw(1, 3),
        from_ms=from_ms,
        to_ms=from_ms + float(draw(8, 20)),
    )


@hypothesis_settings(max_examples=120, deadline=None)
@given(source=st.data(), seed=st.integers(0, 1 << 30))
def test_no_schedule_no_worse_than_a_tiny_run_passes_its_bound(source, seed):
    """Whatever the engine, the requests, the window and the run."""
    engine = drawn_engine(lambda low, high: source.draw(st.integers(low, high)))
    run = engine.drawn_run(random.Random(seed))
    assume(run is not None)
    optimum = engine.most_no_worse(run)
    assert optimum >= engine.counted(run)  # it is one of them
    assert bound_of(engine, run).offline_tokens >= optimum
    assert kept_bound_of(engine, run).offline_tokens >= optimum  # whenever online is served
