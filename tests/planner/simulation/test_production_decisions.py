"""The simulator, the replayed policy and the SGLang plugin decide by one function."""

from collections import Counter
from copy import deepcopy
from dataclasses import replace
from types import SimpleNamespace

import pytest
from simulated_engines import MODEL, offline, online, run, settings

from planner.batching import decide
from planner.batching.decide import plan_iteration
from planner.batching.prefixes import queue_of
from planner.batching.state import Budgets
from planner.replay.policies import policy_named
from planner.simulation.workload import ClosedLoop

BUDGETS = Budgets(
    latency_budget_ms=20.0,
    idle_budget_ms=30.0,
    gap_credit_ms=3.0,
    max_stall_ms=25.0,
    kv_reserve_ratio=0.05,
    uncalibrated_ratio=1.0,
)


def workload():
    """Bursts of online requests beside a batch, in KV that is too small for both."""
    return {
        "scheduled": [
            online(f"on{i}", at_s=0.4 + 0.5 * (i // 4), prompt_tokens=150, output_tokens=30)
            for i in range(16)
        ],
        "clients": [
            ClosedLoop(
                source=(
                    offline(
                        f"off{i:03d}",
                        prompt_tokens=90 + 10 * (i % 5),
                        output_tokens=40,
                        blocks=(i % 3,),
                        block_tokens=32,
                    )
                    for i in range(40)
                ),
                in_flight=12,
            )
        ],
    }


@pytest.fixture(scope="module", params=[False, True], ids=["turns", "mixed"])
def recorded(request):
    """Every state that a simulated engine decided, with the plan it carried out.

    Copied whole: the simulator brings its rows up to date in place.
    """
    decisions = []

    def recording(state, *, model, budgets):
        decisions.append((deepcopy(state), plan_iteration(state, model=model, budgets=budgets)))
        return decisions[-1][1]

    done = run(
        engine=settings(kv_tokens=1500, mixes=request.param),
        policy=recording,
        budgets=BUDGETS,
        **workload(),
    )
    return SimpleNamespace(decisions=decisions, done=done, mixes=request.param)


def test_policy_and_plugin_name_the_very_same_function():
    """Not a copy, nor a wrapper that could drift."""
    from nodeagent.sglang_plugin import colocation

    chosen = policy_named("slacktide", budgets=BUDGETS)
    assert chosen.policy is plan_iteration
    assert colocation.plan_iteration is plan_iteration
    assert chosen.budgets == BUDGETS


def test_simulated_engine_runs_the_steps_of_that_function(recorded, monkeypatch):
    """Each of its decisions passes through the code of `decide`, once."""
    calls = Counter()

    def counted(name):
        step = getattr(decide, name)

        def counting(*args, **kwargs):
            calls[name] += 1
            return step(*args, **kwargs)

        return counting

    for name in ("survey", "book"):
        monkeypatch.setattr(decide, name, counted(name))
    done = run(
        engine=settings(kv_tokens=1500, mixes=recorded.mixes),
        policy=policy_named("slacktide", budgets=BUDGETS).policy,
        budgets=BUDGETS,
        **workload(),
    )
    assert calls == dict.fromkeys(("survey", "book"), done.counters.decisions)
    assert done == recorded.done


def test_plugin_makes_the_same_plan_of_a_state_the_simulator_decided(recorded, monkeypatch):
    """State by state, its memory handed on as the simulator hands it on."""
    from nodeagent.sglang_plugin import colocation as module

    scheduler = SimpleNamespace(
        enable_overlap=False,
        model_config=SimpleNamespace(model_path="absent"),
        waiting_queue=[],
        tree_cache=None,
    )
    plugin = module.Colocation(scheduler, device_name="cpu")
    plugin.settings.model, plugin.settings.budgets = MODEL, BUDGETS
    states = iter([state for state, _ in recorded.decisions])

    def read(*args, memory, **kwargs):
        # Queues in their standing orders, as the plugin keeps them.
        state = next(states)
        assert memory == state.memory
        return replace(state, offline_queue=queue_of(state.waiting_offline))

    monkeypatch.setattr(module, "read_state", read)
    monkeypatch.setattr(plugin, "_holds_offline", lambda _: True)
    monkeypatch.setattr(plugin, "_in_flight", lambda: ())
    monkeypatch.setattr(plugin, "_waiting", SimpleNamespace(read=lambda *_, **__: ((), None)))
    for number, (_, plan) in enumerate(recorded.decisions):
        assert plugin._decide(SimpleNamespace(reqs=[])) == plan, f"decision {number}"
    assert plugin.fault == "" and next(states, None) is None


def test_recorded_decisions_are_worth_comparing(recorded):
    """They park, resume, evict, cap chunks, order by prefix and spend a credit."""
    plans = [plan for _, plan in recorded.decisions]
    assert len(plans) > 200
    for field in ("park", "resume", "offline_chunk_tokens", "offline_order"):
        assert any(getattr(plan, field) for plan in plans), field
    assert any(plan.evict for plan in plans) or recorded.done.counters.evicted
    assert any(plan.memory.credit_ms > 0.0 for plan in plans)
    assert any(state.waiting_online for state, _ in recorded.decisions)
