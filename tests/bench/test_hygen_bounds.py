"""A run beside its clairvoyant bound: within it, or the bench goes no further."""

from dataclasses import replace

import pytest

from bench.hygen import bounds
from bench.hygen.settings import Spec
from planner.batching.state import Budgets
from planner.clairvoyant.bound import Binding
from planner.replay.policies import policy_named
from planner.replay.predictors import Predictor
from planner.replay.scenario import Scenario

SPEC = Spec(
    setting="hygen", rate=1.0, number=1, duration_s=3.0, predictor=Predictor.ORACLE, noise_ratio=0.1
)
CHOICE = policy_named("slacktide", budgets=Budgets(latency_budget_ms=60.0, idle_budget_ms=200.0))


@pytest.fixture(autouse=True)
def quick(tmp_path, monkeypatch):
    """A batch of a short window; five seconds before it are enough."""
    monkeypatch.setenv("SLACKTIDE_TRACES", str(tmp_path))
    monkeypatch.setattr(bounds, "_MOST_PER_S", 30.0)
    scenario = Spec.scenario
    monkeypatch.setattr(Spec, "scenario", lambda self: replace(scenario(self), settle_s=2.0))
    bounds._envelope.cache_clear()
    yield
    bounds._envelope.cache_clear()


def test_run_is_within_its_bound_and_without_noise():
    """What it did is what a replay of the noiseless truth does."""
    found = bounds.bounded(SPEC, CHOICE, policy="slacktide", slo="itl_mean 50%", asks_no_worse=True)
    exact: Scenario = replace(SPEC, noise_ratio=0.0).scenario()
    assert found.offline_tokens_per_s == exact.run(CHOICE).offline_tokens_per_s > 0.0
    assert 0.05 < found.ratio <= 1.0
    assert found.no_worse_ratio is not None and 0.2 < found.no_worse_ratio <= 1.0
    assert (found.policy, found.slo) == ("slacktide", "itl_mean 50%")
    assert found.binding != Binding.SUPPLY.value


@pytest.mark.parametrize("name", ["offline_bound", "no_worse_bound"])
def test_run_that_passes_its_bound_ends_the_bench(monkeypatch, name):
    """A bound of half of what was done: one of the two is wrong, and it says which run."""
    offline_bound = getattr(bounds, name)
    did = bounds.bounded(
        SPEC, CHOICE, policy="slacktide", slo="x", asks_no_worse=True
    ).offline_tokens_per_s

    def halved(**asked):
        found = offline_bound(**asked)
        return replace(found, offline_tokens=0.5 * did * found.window_s)

    monkeypatch.setattr(bounds, name, halved)
    with pytest.raises(RuntimeError, match=r"hygen 1/s slice 1, slacktide, x: .* pass the clairv"):
        bounds.bounded(SPEC, CHOICE, policy="slacktide", slo="x", asks_no_worse=True)


def test_bound_that_runs_out_of_batch_ends_the_bench(monkeypatch):
    """Of a batch without end it is none; more of it must be handed over."""
    monkeypatch.setattr(bounds, "_MOST_PER_S", 1.0)
    slow = policy_named("rate-cap:0.5", budgets=Budgets())
    with pytest.raises(RuntimeError, match="5 offline requests, of a batch without end"):
        bounds.bounded(SPEC, slow, policy="rate-cap", slo="x", asks_no_worse=True)
