"""Several policies on one workload, each tuned for the same SLO."""

import itertools
import tracemalloc

import pytest

from planner.hardware.device import device_named
from planner.hardware.machine import build_machine
from planner.hardware.model import model_named
from planner.hardware.oracle import oracle_model
from planner.hardware.truth import ground_truth
from planner.replay.capacity import sustained_requests_per_s
from planner.replay.comparison import Comparison
from planner.replay.policies import UnknownPolicyError
from planner.replay.scenario import Scenario, engine_settings
from planner.replay.terms import SloError, slo_terms
from planner.workload.request import WorkloadRequest

MACHINE = build_machine(device_named("h100"), model_named("llama2-7b"))


class Log:
    """Which replays were run, and how far each came."""

    def __init__(self):
        self.begun, self.reached = [], []

    def begin(self, what, *, to_s):
        self.begun.append((what, to_s))
        self.reached.append(0.0)

    def reach(self, at_s):
        self.reached[-1] = max(self.reached[-1], at_s)


def online(count=80):
    """Four requests a second, of two lengths."""
    return (
        WorkloadRequest(at_s=n / 4, prompt_tokens=200 + n % 2 * 400, output_tokens=30)
        for n in range(count)
    )


def compared(
    policies, *, slo=(), budgets=None, slice_s=1e9, duration_s=20.0, probes=6, is_usual=False
):
    log = Log()
    scenario = Scenario(
        machine=MACHINE,
        settings=engine_settings(MACHINE),
        online=lambda: online(int(4 * duration_s)),
        offline=lambda: (
            WorkloadRequest(at_s=0.0, prompt_tokens=700, output_tokens=60)
            for _ in itertools.count()
        ),
        duration_s=duration_s,
        truth=lambda: ground_truth(MACHINE, seed=3),
        model=oracle_model(MACHINE),
        offline_in_flight=8,
        settle_s=2.0,
    )
    found = Comparison(
        scenario=scenario,
        policies=policies,
        slo=slo_terms(slo),
        slice_s=slice_s,
        budgets=budgets or {},
        max_probes=probes,
        progress=log,
        is_usual=is_usual,
    ).run()
    return found, log


def test_every_policy_meets_the_same_requests():
    """The offered load is equal to the request, the order is the one asked for."""
    found, log = compared(["blind-hybrid", "online-only", "cap:2"])
    assert [run.policy for run in found.runs] == ["blind-hybrid", "online-only", "cap:2"]
    assert len({run.recorded.offered_tokens for run in found.runs}) == 1
    assert [what for what, _ in log.begun] == ["blind-hybrid", "online-only", "cap:2"]
    assert all(at_s > 15.0 for at_s in log.reached)


def test_floor_and_ceiling_run_one_class_each():
    """Online alone does no offline work, offline alone serves nobody and is not judged."""
    found, _ = compared(["online-only", "offline-only"], slo=["itl_p99=10%"])
    floor, ceiling = found.runs
    assert not floor.recorded.iterations.shared.count and not any(floor.recorded.offline_tokens)
    assert not any(ceiling.recorded.online_tokens) and not ceiling.recorded.itl_ms.count
    assert ceiling.verdicts(found.targets) == ()
    assert [verdict.kept for verdict in floor.verdicts(found.targets)] == [True]


def test_tolerance_is_over_online_alone_even_where_it_was_not_asked_for():
    """The floor is replayed once, for its latencies, and shown only if asked for."""
    found, log = compared(["cap:1"], slo=["itl_mean=20%"])
    (target,) = found.targets
    assert target.limit_ms == pytest.approx(1.2 * target.baseline_ms)
    assert [run.policy for run in found.runs] == ["cap:1"]
    assert [what for what, _ in log.begun] == ["online-only", "cap:1"]


@pytest.mark.parametrize("policy", ["hygen", "slacktide", "rate-cap", "qoserve"])
def test_policy_tuned_on_the_window_keeps_what_it_was_tuned_for(policy):
    """One instrument tunes and judges: where tuning passed, so does the verdict."""
    found, _ = compared([policy], slo=["itl_mean=60%"], duration_s=12.0)
    (run,) = found.runs
    (verdict,) = run.verdicts(found.targets)
    assert verdict.kept == run.tuning.startswith("the most offline work within the SLO")
    assert verdict.kept and sum(run.recorded.offline_tokens) > 0


def test_policies_are_tuned_on_the_slice_and_judged_on_the_window():
    """Tuning replays are as long as the slice, the others as the window."""
    _, log = compared(["hygen"], slo=["itl_mean=60%"], slice_s=8.0)
    assert {to_s for what, to_s in log.begun if "tuning" in what} == {10.0}
    assert log.begun[-1] == ("hygen", 22.0)


def test_given_budgets_are_not_tuned():
    """They are what runs, in the policies that look at budgets; others are tuned still."""
    found, log = compared(
        ["hygen", "slacktide", "rate-cap"],
        slo=["itl_mean=60%"],
        budgets={"latency_budget_ms": 33.0, "min_chunk_tokens": 16.0},
    )
    for run in found.runs[:2]:
        assert run.settings["latency_budget_ms"] == 33.0 and run.tuning == ""
    assert found.runs[2].tuning
    assert {what.partition(":")[0] for what, _ in log.begun if "tuning" in what} == {"rate-cap"}


def test_no_replay_is_run_twice():
    """Equal policies and budgets over equal windows are read from what is known."""
    _, log = compared(["online-only", "cap:2", "cap:2"], slo=["itl_p99=10%"])
    assert [what for what, _ in log.begun] == ["online-only", "cap:2"]


def test_equal_comparisons_find_equal_things():
    """Deterministic by seed, whatever the tuning does."""
    first, second = (
        compared(["hygen"], slo=["itl_mean=30%"], duration_s=8.0, probes=4)[0] for _ in range(2)
    )
    assert first == second


def test_memory_is_bounded_by_requests_in_flight():
    """Six times the trace needs hardly more: no request or token of it is kept."""
    peaks = []
    compared(["cap:1"], duration_s=2.0)  # what is loaded and cached once is not the trace's
    for duration_s in (10.0, 60.0):
        tracemalloc.start()
        try:
            compared(["cap:1"], duration_s=duration_s)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0], peaks


def test_unknown_policy_is_refused_before_anything_runs():
    """A typo in the last of many policies costs no time."""
    with pytest.raises(UnknownPolicyError, match="clever"):
        compared(["slacktide", "clever"])


@pytest.mark.parametrize(
    ("duration_s", "limited", "words"),
    [
        (30.0, {"ttft_p99_ms", "itl_p99_ms"}, []),
        (10.0, {"ttft_mean_ms", "itl_mean_ms"}, ["40 samples, 100 needed", "means"]),
        (1.0, set(), ["4 samples, 100 needed", "4 samples, 20 needed", "nothing is limited"]),
    ],
)
def test_usual_slo_is_eased_where_a_trace_is_short(duration_s, limited, words):
    """Nobody asked for it, so a short trace replays all the same; a note says what was done."""
    found, _ = compared(
        ["hygen", "blind-hybrid"],
        slo=["ttft_p99=60%", "itl_p99=60%"],
        duration_s=duration_s,
        is_usual=True,
    )
    assert {target.statistic for target in found.targets} == limited
    assert bool(found.runs[0].tuning) == bool(limited) and not found.runs[1].tuning
    told = " ".join(found.notes)
    assert bool(told) == bool(words) and all(word in told for word in words)


def test_policy_with_nothing_to_tune_is_replayed_on_a_short_slice():
    """Only a search needs requests enough."""
    found, _ = compared(["sglang-priority", "cap:2"], slo=["ttft_p99=20%"], duration_s=5.0)
    assert len(found.runs) == 2 and found.targets


def test_slice_too_short_to_tell_a_tail_is_refused():
    """A p99 of fewer than 100 samples is their maximum."""
    with pytest.raises(SloError, match="too short to tune"):
        compared(["hygen"], slo=["ttft_p99=20%"])


@pytest.mark.parametrize(("prompt", "output"), [(1155, 211), (512, 128), (3000, 20)])
def test_sustained_rate_is_about_what_an_engine_bears(prompt, output):
    """At half of it no queue grows; at twice it one does."""

    def waits(ratio):
        rate = ratio * sustained_requests_per_s(MACHINE, prompt_tokens=prompt, output_tokens=output)
        scenario = Scenario(
            machine=MACHINE,
            settings=engine_settings(MACHINE),
            online=lambda: (
                WorkloadRequest(at_s=n / rate, prompt_tokens=prompt, output_tokens=output)
                for n in range(int(rate * 30))
            ),
            offline=tuple,
            duration_s=30.0,
            truth=lambda: ground_truth(MACHINE, noise_ratio=0.0),
            model=oracle_model(MACHINE),
            settle_s=0.0,
        )
        found = Comparison(
            scenario=scenario, policies=["online-only"], slo=(), slice_s=30.0, budgets={},
            max_probes=1, progress=Log(),
        ).run()  # fmt: skip
        return found.runs[0].recorded.ttft_ms.quantile(0.99)

    assert waits(0.5) < 1000.0 < waits(2.0)
