"""Slices of settings, from traces where they lie and from generated ones where not."""

from dataclasses import replace
from itertools import islice

import pytest

from bench.hygen import settings as module
from bench.hygen.settings import SETTINGS, Spec, sources
from planner.hardware.machine import Source
from planner.latency.features import BatchShape
from planner.replay.predictors import BlurredModel, Predictor
from planner.replay.scenario import SETTLE_S


@pytest.fixture
def traces(tmp_path, monkeypatch):
    """An empty folder of traces, and nothing remembered of another."""
    caches = [
        module.machine_of,
        module._model_of,
        module._iterations,
        module._trace,
        module._arxiv_lengths,
    ]
    monkeypatch.setenv(module.TRACES_VARIABLE, str(tmp_path))
    for cached in caches:
        cached.cache_clear()
    yield tmp_path
    for cached in caches:
        cached.cache_clear()


def unplanned(setting, rate, number, duration_s=40.0):
    return module._unplanned(Spec(setting=setting, rate=rate, number=number, duration_s=duration_s))


@pytest.mark.parametrize("name", sorted(SETTINGS))
def test_setting_without_traces_is_generated_on_a_derived_machine_and_says_so(traces, name):
    """Online, offline and machine; nothing named that is not there."""
    said = sources(name)
    assert said["online"].startswith("generated") and said["offline"].startswith("generated")
    assert "derived" in said["machine"] and ".csv" not in str(said)
    made = unplanned(name, SETTINGS[name].rates[0], 1)
    assert made.machine.source is Source.DERIVED
    assert list(made.online()) and len(list(islice(made.offline(), 3))) == 3


def test_trace_that_lies_there_is_used_and_named(traces):
    """And each other part still says what stands in for it."""
    requests = [
        "TIMESTAMP,ContextTokens,GeneratedTokens",
        *(f"2023-11-16 18:{s // 60:02d}:{s % 60:02d}.0000000,{100 + s},7" for s in range(600)),
    ]
    (traces / module._AZURE_FILE).write_text("\n".join(requests))
    said = sources("hygen")
    assert said["online"] == f"trace {module._AZURE_FILE}"
    assert said["offline"] == "generated, like arxiv"
    drawn = list(unplanned("hygen", 2.0, 1).online())
    count = round(2.0 * (40.0 + SETTLE_S))
    assert [r.prompt_tokens for r in drawn] == [100 + s for s in range(count, 2 * count)]


def test_lengths_that_lie_there_are_drawn_from_by_seed(traces):
    """Arrival order is drawn; lengths are the file's."""
    lines = ["num_prefill_tokens,num_decode_tokens", "1000,100", "2000,50", "3000,25"]
    (traces / module._ARXIV_FILE).write_text("\n".join(lines))
    assert sources("hygen")["offline"] == f"lengths of {module._ARXIV_FILE}"
    one, again, other = (
        [
            (r.prompt_tokens, r.output_tokens)
            for r in islice(unplanned("hygen", 1.0, n).offline(), 60)
        ]
        for n in (1, 1, 2)
    )
    assert one == again != other
    assert set(one) == {(1000, 100), (2000, 50), (3000, 25)}


@pytest.mark.parametrize("rate", [0.5, 2.0])
def test_slice_has_its_rate_and_its_length_and_slices_do_not_overlap(traces, rate):
    """As many requests as the rate says, settling included; each slice its own part."""
    trace = module._trace("azure")
    duration_s = 40.0 + SETTLE_S
    count = round(rate * duration_s)
    context = module.machine_of("hygen").model.context_tokens
    for number in (0, 1, 5):
        drawn = list(unplanned("hygen", rate, number).online())
        part = trace[number * count : (number + 1) * count]
        assert len(drawn) == len(part) == count
        for request, source in zip(drawn, part, strict=True):
            if source.prompt_tokens + source.output_tokens < context:
                assert request.prompt_tokens == source.prompt_tokens
                assert request.output_tokens == source.output_tokens
            assert request.prompt_tokens + request.output_tokens <= context
        times = [request.at_s for request in drawn]
        assert times == sorted(times) and times[0] == 0.0
        assert 0.8 * duration_s < times[-1] < duration_s


def test_error_and_noise_are_those_of_the_spec(traces):
    """The oracle blurred by the slice's seed; the truth without noise where asked."""
    spec = Spec(
        setting="hygen",
        rate=2.0,
        number=3,
        duration_s=8.0,
        predictor=Predictor.ORACLE,
        error_ratio=0.1,
    )
    made = spec.scenario()
    assert isinstance(made.model, BlurredModel)
    assert (made.model.error_ratio, made.model.seed) == (0.1, 3)
    exact = replace(spec, error_ratio=0.0, noise_ratio=0.0).scenario()
    noisy, quiet = made.truth(), exact.truth()
    shape = BatchShape(decode_rows=4, decode_context_tokens=2000, decode_max_context_tokens=600)
    assert quiet(shape) == quiet(shape) == exact.model.predict_ms(shape)
    assert noisy(shape) != noisy(shape)
