"""The bound against every schedule of tiny engines."""

import random
from dataclasses import replace

from hypothesis import HealthCheck, assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tiny_schedules import IMPOSSIBLE, TinyEngine, most_offline_tokens

from planner.batching.state import WorkClass
from planner.clairvoyant.bound import Binding, offline_bound
from planner.clairvoyant.envelope import least_passes
from planner.interference.targets import LatencyTargets
from planner.latency.coefficients import Coefficients
from planner.latency.predictor import LatencyModel
from planner.simulation.request import SimulatedRequest
from planner.simulation.settings import EngineSettings
from planner.slo import Chunk, Outcome, RequestTrace


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


def request(rid, work_class, prompt, output, *, at_ms=0.0, shares=False):
    return SimulatedRequest(
        rid=rid,
        work_class=work_class,
        prompt_tokens=prompt,
        output_tokens=output,
        at_s=at_ms / 1e3,
        blocks=(7,) if shares else (),
        block_tokens=2 if shares else 0,
    )


def offline(*sizes, shares=False):
    return [
        request(f"o{i}", WorkClass.OFFLINE, prompt, output, shares=shares and prompt > 1)
        for i, (prompt, output) in enumerate(sizes)
    ]


def online(*sizes):
    return [
        request(f"a{i}", WorkClass.ONLINE, prompt, output, at_ms=at_ms)
        for i, (prompt, output, at_ms) in enumerate(sizes)
    ]


def bound_of(engine, requests, **order):
    """The bound of a tiny engine."""
    settings = EngineSettings(
        kv_tokens=engine.kv,
        chunked_prefill_size=engine.chunk,
        max_running_requests=engine.rows,
        mixes=engine.mixes,
    )
    is_limited = engine.ttft_mean_ms is not None or engine.itl_mean_ms is not None
    return offline_bound(
        online=[r for r in requests if r.work_class is WorkClass.ONLINE],
        offline=[r for r in requests if r.work_class is WorkClass.OFFLINE],
        in_flight=engine.in_flight,
        settings=settings,
        envelope=least_passes(engine.pass_ms, settings=settings, requests=requests),
        from_s=engine.from_ms / 1e3,
        to_s=engine.to_ms / 1e3,
        targets=LatencyTargets(ttft_mean_ms=engine.ttft_mean_ms, itl_mean_ms=engine.itl_mean_ms)
        if is_limited
        else None,
        **order,
    )


def tiny(**fields):
    return TinyEngine(
        **{
            "pass_ms": truth(),
            "chunk": 3,
            "rows": 3,
            "kv": 40,
            "mixes": True,
            "in_flight": None,
            "from_ms": 0.0,
            "to_ms": 20.0,
            "ttft_mean_ms": None,
            "itl_mean_ms": None,
            **fields,
        }
    )


def drawn_case(draw):
    """One of everything that can matter, tiny. `draw(low, high)` draws a whole number."""
    batch = offline(*[(draw(1, 4), draw(1, 3)) for _ in range(draw(1, 3))], shares=bool(draw(0, 1)))
    chat = online(*[(draw(1, 2), draw(1, 3), 4.0 * draw(0, 3)) for _ in range(draw(0, 1))])
    is_limited = bool(chat) and draw(0, 3) > 0
    engine = tiny(
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
        in_flight=[None, 1, 2][draw(0, 2)],
        from_ms=[0.0, 0.0, 5.0][draw(0, 2)],
        to_ms=float(draw(8, 26)),
        ttft_mean_ms=float(draw(4, 16)) if is_limited else None,
        itl_mean_ms=float(draw(4, 10)) if is_limited and draw(0, 3) else None,
    )
    return engine, [*chat, *batch]


@hypothesis_settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much]
)
@given(source=st.data())
def test_no_schedule_of_a_tiny_engine_passes_the_bound(source):
    """Whatever the engine, the requests, the window and the targets."""
    engine, requests = drawn_case(lambda low, high: source.draw(st.integers(low, high)))
    optimum = most_offline_tokens(engine, requests)
    assume(optimum > IMPOSSIBLE)
    assert bound_of(engine, requests).offline_tokens >= optimum


def test_bound_is_near_the_optimum_of_tiny_engines(capsys):
    """Over drawn cases; a few passes are all edges, so no nearness is asked of it."""
    source = random.Random(4)
    optima, bounds = [], []
    while len(optima) < 40:
        engine, requests = drawn_case(source.randint)
        optimum = most_offline_tokens(engine, requests)
        if optimum <= 0:
            continue
        bound = bound_of(engine, requests).offline_tokens
        assert bound >= optimum
        optima.append(optimum)
        bounds.append(bound)
    ratios = [a / b for a, b in zip(optima, bounds, strict=True)]
    exact = sum(a == b for a, b in zip(optima, bounds, strict=True))
    with capsys.disabled():
        print(
            f"\ntiny engines: optimum over bound {sum(ratios) / len(ratios):.2f} on average, "
            f"{min(ratios):.2f} at least, equal in {exact} of {len(ratios)}"
        )


def test_bound_is_exact_when_full_prompts_fill_whole_passes():
    """Prompts of a chunk, one output token: so many passes, so many requests."""
    engine = tiny(pass_ms=truth(pair=0.0), to_ms=4 * 4.5 + 0.01, kv=40)
    requests = offline(*[(3, 1)] * 6)
    assert most_offline_tokens(engine, requests) == 4 * (3 + 1)
    assert bound_of(engine, requests).offline_tokens == 4 * (3 + 1)


def test_bound_is_exact_when_all_work_gets_done():
    """Then the batch itself is the bound."""
    engine = tiny(to_ms=60.0)
    requests = [*online((2, 2, 0.0)), *offline((3, 2), (2, 3))]
    bound = bound_of(engine, requests)
    assert bound.offline_tokens == most_offline_tokens(engine, requests) == 10
    assert bound.binding is Binding.SUPPLY


def test_bound_is_near_what_gaps_leave_beside_one_online_row():
    """Gaps of 6 ms leave 2 ms beside the pass's 4: two prompt tokens in each pass, no more."""
    engine = tiny(
        pass_ms=truth(constant=4.0, token=1.0, row=0.0, pair=0.0, context=0.0),
        chunk=8,
        kv=500,
        to_ms=4.0 + 1.0 + 59 * 6.0 + 0.01,
        ttft_mean_ms=5.0,
        itl_mean_ms=6.0,
    )
    requests = [*online((1, 60, 0.0)), *offline((400, 1))]
    served = RequestTrace(
        scheduled_s=0.0,
        chunks=tuple(Chunk(at_s=5e-3 + 6e-3 * gap, tokens=1) for gap in range(60)),
        outcome=Outcome.COMPLETED,
    )
    bound = bound_of(engine, requests, keeps_up_with=[served])
    assert 59 * 2 <= bound.offline_tokens <= 59 * 2 * 1.05
    # Otherwise it may wait for the window's end: the mean has room for it.
    assert bound_of(engine, requests).offline_tokens > 59 * 2 * 1.5


def test_bound_is_near_what_memory_lets_decode():
    """A pass costs the same for any number of rows; KV of 44 tokens holds four, not sixteen."""
    engine = tiny(
        pass_ms=truth(constant=4.0, token=0.0, row=0.0, pair=0.0, context=0.0),
        chunk=10,
        rows=16,
        kv=44,
        in_flight=4,
        to_ms=4.0 * 400,
    )
    requests = offline(*[(1, 20)] * 2000)
    # A request reads 2, 3, … 20 tokens: 11 on average, so four decode in a pass, and each
    # brings 21 tokens with 19 decodes.
    expected = 400 * 4 / 19 * 21
    bound = bound_of(engine, requests)
    assert 0.98 * expected <= bound.offline_tokens <= 1.05 * expected
    assert bound.binding is Binding.KV
    assert bound_of(replace(engine, kv=2000), requests).offline_tokens > 2 * expected
