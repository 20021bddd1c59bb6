"""Bursts and idle phases in turn."""

import math
import random
from itertools import islice, takewhile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from planner.workload.bursts import BurstShape, bursts, fixed_lengths, gateway_shape
from planner.workload.generate import azure_lengths
from planner.workload.shape import shape_stream

_SHAPE = BurstShape(burst_requests_per_s=20, idle_requests_per_s=2, burst_s=60, idle_s=90)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 1000),
    burst=st.floats(0.1, 20),
    idle=st.floats(0, 5),
    burst_s=st.floats(0.5, 20),
    idle_s=st.floats(0.5, 20),
    cycles=st.integers(0, 3),
)
def test_bursts_come_in_order_within_their_cycles(
    seed: int, burst: float, idle: float, burst_s: float, idle_s: float, cycles: int
) -> None:
    """Never falling, never after the last phase; more cycles only append."""
    shape = BurstShape(
        burst_requests_per_s=burst, idle_requests_per_s=idle, burst_s=burst_s, idle_s=idle_s
    )
    requests = list(bursts(seed=seed, shape=shape, cycles=cycles))
    times = [request.at_s for request in requests]
    assert times == sorted(times)
    assert all(0 <= at_s <= cycles * shape.cycle_s for at_s in times)
    longer = bursts(seed=seed, shape=shape, cycles=cycles + 1)
    assert list(islice(longer, len(requests))) == requests
    if idle == 0:
        edge = 1e-9 * shape.cycle_s
        assert all(shape.is_burst(at_s) or shape.is_burst(at_s - edge) for at_s in times)


def test_each_phase_has_its_rate_and_poisson_gaps() -> None:
    """Counts per second within a phase: mean the rate, variance over mean 1."""
    requests = list(bursts(seed=1, shape=_SHAPE, cycles=60))
    for in_burst, rate, phase_s in ((True, 20, 60), (False, 2, 90)):
        times = [r.at_s for r in requests if _SHAPE.is_burst(r.at_s) is in_burst]
        seconds = 60 * phase_s
        assert len(times) == pytest.approx(rate * seconds, rel=4 / math.sqrt(rate * seconds))
        counts: dict[int, int] = {}
        for at_s in times:
            counts[int(at_s)] = counts.get(int(at_s), 0) + 1
        values = [*counts.values(), *([0] * (seconds - len(counts)))]
        mean = sum(values) / seconds
        dispersion = sum((v - mean) ** 2 for v in values) / seconds / mean
        assert dispersion == pytest.approx(1, abs=0.1)


def test_the_gateways_shape_is_the_one_its_users_measured() -> None:
    """Two replicas sustain 32 requests/s: bursts of about 28, 90 s on and 90 s off."""
    shape = gateway_shape(32)
    assert shape.burst_requests_per_s == pytest.approx(28, abs=0.2)
    assert shape.idle_requests_per_s == pytest.approx(28 / 15, abs=0.02)
    assert (shape.burst_s, shape.idle_s) == (90, 90)
    requests = list(bursts(seed=1, shape=shape))
    assert {(r.prompt_tokens, r.output_tokens) for r in requests} == {(512, 128)}
    assert 4 * shape.cycle_s < requests[-1].at_s < 5 * shape.cycle_s


def test_arrivals_stay_when_the_lengths_change() -> None:
    """So that policies are compared on the same bursts; Azure's lengths vary."""
    fixed = list(bursts(seed=3, shape=_SHAPE, cycles=1, lengths=fixed_lengths(8, 1)))
    drawn = list(bursts(seed=3, shape=_SHAPE, cycles=1, lengths=azure_lengths))
    assert [r.at_s for r in fixed] == [r.at_s for r in drawn]
    assert {r.prompt_tokens for r in fixed} == {8}
    source = random.Random("3/bursts/lengths")
    assert [azure_lengths(source) for _ in drawn] == [
        (r.prompt_tokens, r.output_tokens) for r in drawn
    ]


def test_bursts_are_endless_and_scale_like_any_workload() -> None:
    """Lazily: a stream without end is cut by its duration, at twice the rate."""
    stream = shape_stream(bursts(seed=1, shape=_SHAPE, cycles=None), rate_scale=2, duration_s=75)
    scaled = list(stream)
    once = takewhile(lambda r: r.at_s < 150, bursts(seed=1, shape=_SHAPE, cycles=None))
    assert [r.at_s for r in scaled] == [r.at_s / 2 for r in once]


@pytest.mark.parametrize(
    "wrong",
    [
        {"burst_requests_per_s": -1},
        {"burst_requests_per_s": float("nan")},
        {"burst_requests_per_s": 0, "idle_requests_per_s": 0},
        {"idle_requests_per_s": float("inf")},
        {"burst_s": 0},
        {"idle_s": float("nan")},
    ],
)
def test_a_shape_is_refused_when_it_sends_nothing_or_never_ends(wrong: dict[str, float]) -> None:
    """Says what was given and what is allowed."""
    good = {"burst_requests_per_s": 1.0, "idle_requests_per_s": 1.0}
    with pytest.raises(ValueError, match="> 0"):
        BurstShape(**{**good, **wrong})


def test_bursts_are_refused_when_cycles_or_lengths_make_no_sense() -> None:
    """At the call."""
    with pytest.raises(ValueError, match="cycles -1"):
        bursts(seed=1, shape=_SHAPE, cycles=-1)
    with pytest.raises(ValueError, match=">= 1"):
        fixed_lengths(0, 1)
