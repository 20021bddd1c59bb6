"""Lengths of requests and the work they are."""

import random
from statistics import fmean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.hardware.device import device_named
from planner.hardware.machine import build_machine
from planner.hardware.model import model_named
from planner.hardware.oracle import oracle_model
from planner.interference.derive_mix import RequestMix, work_of
from planner.latency.work import request_work_ms, token_work

REFERENCE = oracle_model(build_machine(device_named("a100-40gb"), model_named("llama3-8b")))


@given(st.floats(20.0, 4000.0), st.floats(20.0, 1000.0), st.floats(0.0, 1.5))
def test_mix_has_the_means_it_is_made_around(prompt_tokens, output_tokens, spread_ratio):
    """Strata of both lengths, at their means but for rounding to tokens."""
    mix = RequestMix.around(
        prompt_tokens=prompt_tokens, output_tokens=output_tokens, spread_ratio=spread_ratio
    )
    assert mix.prompt_tokens == pytest.approx(prompt_tokens, abs=0.6)
    assert mix.output_tokens == pytest.approx(output_tokens, abs=0.6)
    assert len(set(mix.sizes)) == 1 or spread_ratio > 0.0


def test_mix_is_cut_to_the_context_when_one_is_given():
    """No request is longer, and each keeps an output."""
    mix = RequestMix.around(
        prompt_tokens=2000.0, output_tokens=600.0, spread_ratio=1.5, context_tokens=4096
    )
    assert mix.longest_tokens == 4096
    assert all(prompt >= 1 and output >= 1 for prompt, output in mix.sizes)


def test_work_of_whole_requests_is_the_same_by_tokens_and_by_request():
    """Rates a token are exact over the mix."""
    mix = RequestMix.around(prompt_tokens=700.0, output_tokens=150.0)
    rates = token_work(REFERENCE, mix.sizes)
    by_tokens = rates.of(
        prompt_tokens=sum(prompt for prompt, _ in mix.sizes),
        output_tokens=sum(output for _, output in mix.sizes),
    )
    assert by_tokens == pytest.approx(work_of(mix.sizes, reference=REFERENCE))
    prompt, output = mix.sizes[0]
    assert work_of([mix.sizes[0]] * 3, reference=REFERENCE) == pytest.approx(
        3 * request_work_ms(REFERENCE, prompt_tokens=prompt, cached_tokens=0, output_tokens=output)
    )


def test_draws_have_the_means_of_the_mix():
    """All sizes are equally frequent."""
    mix = RequestMix.around(prompt_tokens=700.0, output_tokens=150.0)
    source = random.Random(5)
    drawn = [mix.draw(source) for _ in range(20_000)]

    assert fmean(prompt for prompt, _ in drawn) == pytest.approx(mix.prompt_tokens, rel=0.03)
    assert fmean(output for _, output in drawn) == pytest.approx(mix.output_tokens, rel=0.03)


@pytest.mark.parametrize("sizes", [(), ((0, 5),), ((5, 0),)])
def test_mix_is_refused_when_it_has_no_tokens(sizes):
    """A mix without requests, a prompt or an output of nothing."""
    with pytest.raises(ValueError, match="request mix"):
        RequestMix(sizes=sizes)


def test_mix_is_refused_when_its_means_are_out_of_range():
    """Less than a token, or a negative spread."""
    with pytest.raises(ValueError, match="request mix"):
        RequestMix.around(prompt_tokens=0.5, output_tokens=10.0)
    with pytest.raises(ValueError, match="request mix"):
        RequestMix.around(prompt_tokens=5.0, output_tokens=10.0, spread_ratio=-1.0)
