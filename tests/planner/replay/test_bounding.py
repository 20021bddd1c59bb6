"""Bounds that go with replayed policies."""

from dataclasses import replace
from functools import partial

import pytest
from small_scenarios import MACHINE, batch, scenario

from planner.hardware.truth import ground_truth
from planner.replay.bounding import clairvoyant_bound, is_bounded
from planner.replay.comparison import Comparison
from planner.replay.terms import slo_terms


class Silent:
    """Is told, and keeps nothing."""

    def begin(self, what, *, to_s):
        pass

    def reach(self, at_s):
        pass


def compared(small, *policies, slo=(), budgets=None):
    """Runs of a comparison on a small scenario."""
    comparison = Comparison(
        scenario=small, policies=policies, slo=slo_terms(slo), slice_s=6.0,
        budgets=budgets or {}, max_probes=6, progress=Silent(),
    )  # fmt: skip
    return comparison.run().runs


@pytest.fixture(scope="module")
def noiseless():
    return scenario(noise_ratio=0.0)


@pytest.mark.parametrize("policy", ["slacktide", "hygen", "blind-hybrid:256", "cap:4"])
def test_no_policy_passes_its_bound(noiseless, policy):
    """It did some of it, and the run it goes with is the one that was replayed."""
    (run,) = compared(noiseless, policy)
    found = clairvoyant_bound(noiseless, run, given={})
    assert (found.policy, found.title) == (run.policy, run.title)
    assert found.noiseless_tokens_per_s == pytest.approx(run.recorded.offline_tokens_per_s)
    assert 0.0 < found.done_ratio <= 1.0 + 1e-6
    assert found.offline_tokens_per_s < 50_000  # of a device that computes some 20,000


def test_policy_is_bounded_at_the_settings_it_was_replayed_with(noiseless):
    """Those found by tuning, 0 where none was found to be better, and those given."""
    (tuned,) = compared(noiseless, "slacktide", slo=("itl_mean=40%",))
    assert tuned.settings != {}
    found = clairvoyant_bound(noiseless, tuned, given={})
    assert found.noiseless_tokens_per_s == pytest.approx(tuned.recorded.offline_tokens_per_s)
    given = {"latency_budget_ms": 22.0, "idle_budget_ms": 0.0, "max_offline_rows": 3.0}
    (told,) = compared(noiseless, "slacktide", budgets=given)
    found = clairvoyant_bound(noiseless, told, given=given)
    assert found.noiseless_tokens_per_s == pytest.approx(told.recorded.offline_tokens_per_s)
    assert found.noiseless_tokens_per_s != pytest.approx(tuned.recorded.offline_tokens_per_s)


def test_batch_that_ends_is_bounded_by_itself():
    """All of it gets done; there is nothing else to do."""
    small = scenario(noise_ratio=0.0, offline=partial(batch, 20), settle_s=0.0)
    (run,) = compared(small, "slacktide")
    found = clairvoyant_bound(small, run, given={})
    done = sum(request.prompt_tokens + request.output_tokens for request in batch(20))
    assert found.binding == "supply"
    assert found.offline_tokens_per_s == pytest.approx(done / 6.0)
    assert found.noiseless_tokens_per_s == pytest.approx(done / 6.0)


def test_batch_of_nothing_is_bounded_by_nothing():
    """No division by what is not there."""
    small = scenario(noise_ratio=0.0, offline=partial(batch, 0))
    (run,) = compared(small, "slacktide")
    found = clairvoyant_bound(small, run, given={})
    assert found.offline_tokens_per_s == found.noiseless_tokens_per_s == found.done_ratio == 0.0


def test_bound_does_not_hang_on_how_much_of_the_batch_is_looked_at(noiseless, monkeypatch):
    """Begun with too little, it looks at more until no schedule gets to the end of it."""
    (run,) = compared(noiseless, "slacktide")
    whole = clairvoyant_bound(noiseless, run, given={})
    monkeypatch.setattr("planner.replay.bounding._AHEAD", 1)
    begun_small = clairvoyant_bound(noiseless, run, given={})
    assert begun_small.binding != "supply"
    assert begun_small.offline_tokens_per_s == pytest.approx(whole.offline_tokens_per_s, rel=0.01)


def test_run_that_passes_its_bound_is_refused(noiseless):
    """As where iterations are bounded by another truth than they were run by."""
    (run,) = compared(noiseless, "slacktide")
    exact = ground_truth(MACHINE, noise_ratio=0.0)
    truths = iter([exact, lambda shape: 10.0 * exact(shape)])
    with pytest.raises(RuntimeError, match="pass the clairvoyant bound of"):
        clairvoyant_bound(replace(noiseless, truth=lambda: next(truths)), run, given={})


def test_floor_and_ceiling_have_no_bound(noiseless):
    """One does no offline work, the other serves nobody that could be kept waiting."""
    floor, ceiling, hybrid = compared(noiseless, "online-only", "offline-only", "slacktide")
    assert [is_bounded(run) for run in (floor, ceiling, hybrid)] == [False, False, True]
