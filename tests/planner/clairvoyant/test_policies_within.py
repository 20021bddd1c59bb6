"""The bound against policies, on runs of the simulator."""

import itertools
import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from linear_programmes import solve

from planner.batching.baselines.blind_hybrid import BlindHybrid
from planner.batching.baselines.hygen import Hygen
from planner.batching.baselines.offline_only import OfflineOnly
from planner.batching.baselines.online_only import OnlineOnly
from planner.batching.decide import plan_iteration
from planner.batching.state import Budgets, WorkClass
from planner.clairvoyant.bound import Binding, offline_bound
from planner.clairvoyant.envelope import least_passes
from planner.clairvoyant.no_worse import no_worse_bound
from planner.clairvoyant.standing import StandingWatch
from planner.clairvoyant.unended import Unended
from planner.interference.targets import LatencyTargets
from planner.latency.coefficients import Coefficients
from planner.latency.predictor import LatencyModel
from planner.simulation.replay import replay
from planner.simulation.request import SimulatedRequest
from planner.simulation.settings import EngineSettings, Loop
from planner.simulation.workload import ClosedLoop

MODEL = LatencyModel(
    identity="test",
    decode=Coefficients(constant=5.0, decode_rows=0.05, decode_context=5e-4),
    prefill=Coefficients(
        constant=6.0,
        prefill_tokens=0.06,
        prefill_attention=2e-5,
        decode_rows=0.06,
        decode_context=5e-4,
    ),
)
POLICIES = {
    "slacktide": plan_iteration,
    "blind": BlindHybrid(),
    "hygen": Hygen(),
    "offline only": OfflineOnly(),
    "online only": OnlineOnly(),
}


class EveryPass(Unended):
    """Keeps what passes were made of and how long they lasted, and where the batch stands."""

    def __init__(self, *, from_s, **fields):
        super().__init__(**fields)
        self.seen = []
        self.standing = StandingWatch(offline=fields["offline"], from_s=from_s, to_s=fields["to_s"])

    def passed(self, record):
        super().passed(record)
        self.standing.passed(record)
        self.seen.append((record.run.shape, record.lasted_ms))

    def settled(self, settled, *, at_s):
        super().settled(settled, at_s=at_s)
        self.standing.settled(settled, at_s=at_s)


def drawn_online(source, *, count, per_s, shares):
    at_s, requests = 0.0, []
    for i in range(count):
        at_s += source.expovariate(per_s)
        requests.append(drawn(source, f"a{i:04d}", WorkClass.ONLINE, at_s=at_s, shares=shares))
    return requests


def drawn_offline(source, *, count, shares):
    return [drawn(source, f"o{i:05d}", WorkClass.OFFLINE, shares=shares) for i in range(count)]


def drawn(source, rid, work_class, *, at_s=0.0, shares=False):
    prompt, output = source.randint(10, 400), source.randint(1, 40)
    group = source.randint(1, 3) if shares else 0
    blocks = range(group * 100, group * 100 + source.randint(1, 4)) if group else ()
    own = (int(rid[1:]) + (10_000 if work_class is WorkClass.ONLINE else 20_000),)
    return SimulatedRequest(
        rid=rid,
        work_class=work_class,
        prompt_tokens=prompt,
        output_tokens=output,
        at_s=at_s,
        blocks=(*blocks, *own) if group else (),
        block_tokens=16 if group else 0,
    )


def compared(policy, *, engine, online, offline, in_flight, from_s, to_s, budgets=None):
    """A run, and bounds: of schedules as orderly and as timely, as timely, and of all."""
    watch = EveryPass(offline=offline, in_flight=in_flight, from_s=from_s, to_s=to_s)
    run = replay(
        settings=engine,
        policy=policy,
        model=MODEL,
        budgets=budgets or Budgets(),
        truth=MODEL.predict_ms,
        scheduled=online,
        clients=[ClosedLoop(source=offline, in_flight=in_flight)],
        from_s=from_s,
        to_s=to_s,
        watch=watch,
    )
    envelope = least_passes(MODEL.predict_ms, settings=engine, requests=[*online, *offline])
    for shape, lasted_ms in watch.seen:
        assert envelope.least_ms(shape) <= lasted_ms + 1e-9
    standing = watch.standing.standing()
    begun = (standing.prompt_before + standing.output_before).sum()
    done = (standing.prompt_after + standing.output_after).sum() - begun + standing.free_tokens
    assert done == run.offline_prompt_tokens + run.offline_output_tokens
    targets = None
    if run.itl.count and run.ttft.mean:
        targets = LatencyTargets.from_baseline(run.ttft, run.itl, tolerance_ratio=0.0)
    orderly = {
        "given_up": watch.given_up,
        "spread": watch.spread,
        "keeps_up_with": run.online,
    }
    bounds = [
        offline_bound(
            online=online,
            offline=offline,
            in_flight=in_flight,
            settings=engine,
            envelope=envelope,
            from_s=from_s,
            to_s=to_s,
            targets=held,
            **order,
        )
        for held, order in (
            (targets, orderly),
            (targets, {}),
            (None, {}),
            (targets, {"keeps_up_with": run.online, "standing": standing}),
        )
    ]
    no_worse = no_worse_bound(
        online=online,
        served=run.online,
        offline=offline,
        standing=standing,
        settings=engine,
        envelope=envelope,
        from_s=from_s,
        to_s=to_s,
        solve=solve,
    )
    return run, *bounds, no_worse


@hypothesis_settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    policy=st.sampled_from(sorted(POLICIES)),
    shares=st.booleans(),
    mixes=st.booleans(),
    loop=st.sampled_from(list(Loop)),
    kv_tokens=st.sampled_from([900, 4096]),
    page_size=st.sampled_from([1, 16]),
    in_flight=st.sampled_from([1, 4, 16]),
    from_s=st.sampled_from([0.0, 0.4]),
    budget_ms=st.sampled_from([6.0, 12.0, 40.0]),
)
def test_no_policy_passes_the_bound(
    seed, policy, shares, mixes, loop, kv_tokens, page_size, in_flight, from_s, budget_ms
):
    """Whatever the engine and the workload, with the run's own latencies as targets."""
    source = random.Random(seed)
    engine = EngineSettings(
        kv_tokens=kv_tokens,
        page_size=page_size,
        chunked_prefill_size=128,
        max_running_requests=24,
        mixes=mixes,
        loop=loop,
        pass_overhead_ms=source.choice([0.0, 0.5]),
    )
    run, bound, timely, loose, kept, no_worse = compared(
        POLICIES[policy],
        engine=engine,
        online=[]
        if policy == "offline only"
        else drawn_online(source, count=source.randint(1, 12), per_s=8.0, shares=shares),
        offline=drawn_offline(source, count=400, shares=shares),
        in_flight=in_flight,
        from_s=from_s,
        to_s=from_s + 1.2,
        budgets=Budgets(latency_budget_ms=budget_ms, idle_budget_ms=4 * budget_ms),
    )
    done = run.offline_prompt_tokens + run.offline_output_tokens
    assert done <= min(bound.offline_tokens, timely.offline_tokens, loose.offline_tokens)
    assert done <= min(kept.offline_tokens, no_worse.offline_tokens)
    # Each is found to within the search's tolerance.
    assert timely.offline_tokens <= loose.offline_tokens * 1.01 + 1


def steady(**fields):
    """A load under which the engine is never idle."""
    source = random.Random(3)
    return {
        "engine": EngineSettings(kv_tokens=8192, chunked_prefill_size=256, max_running_requests=64),
        "online": drawn_online(source, count=90, per_s=9.0, shares=False),
        "offline": drawn_offline(source, count=1500, shares=False),
        "in_flight": 16,
        "from_s": 0.0,
        "to_s": 10.0,
        **fields,
    }


def test_offline_alone_is_near_the_bound():
    """Without online work there is little that a clairvoyant does better."""
    offline = drawn_offline(random.Random(3), count=4000, shares=False)
    run, bound, *_ = compared(OfflineOnly(), **steady(online=[], offline=offline, to_s=40.0))
    assert 0.85 * bound.offline_tokens_per_s <= run.offline_tokens_per_s
    assert bound.latency_ratio == 0.0 and bound.online_tokens == 0.0


def test_latencies_bind_when_online_is_served_as_if_alone():
    """The bound of a run that keeps online's latencies low is far below the ceiling."""
    _, bound, _, ceiling, *_ = compared(OnlineOnly(), **steady())
    assert bound.binding is Binding.LATENCY
    assert bound.offline_tokens < 0.8 * ceiling.offline_tokens


def test_memory_binds_when_few_rows_fit():
    """Long outputs in a small memory: decodes lack company, and KV is what more would help."""
    source = random.Random(5)
    offline = [
        replace(drawn(source, f"o{i:05d}", WorkClass.OFFLINE), prompt_tokens=300, output_tokens=80)
        for i in range(600)
    ]
    small, large = (
        compared(
            OfflineOnly(),
            **steady(
                online=[],
                offline=offline,
                engine=EngineSettings(
                    kv_tokens=kv, chunked_prefill_size=256, max_running_requests=64
                ),
            ),
        )[1]
        for kv in (1000, 20_000)
    )
    assert small.binding is Binding.KV and large.binding is Binding.TIME
    assert small.offline_tokens < 0.8 * large.offline_tokens


def test_bound_counts_shared_prefixes_once():
    """What the cache finds counts as done, at no cost but its first time."""
    block = tuple(range(12))
    source = random.Random(7)
    shared = [
        replace(
            drawn(source, f"o{i:05d}", WorkClass.OFFLINE),
            prompt_tokens=16 * 12 + 8,
            output_tokens=2,
            blocks=block,
            block_tokens=16,
        )
        for i in range(4000)
    ]
    run, bound, *_ = compared(OfflineOnly(), **steady(online=[], offline=shared, to_s=4.0))
    alone = [replace(request, blocks=(), block_tokens=0) for request in shared]
    _, without, *_ = compared(OfflineOnly(), **steady(online=[], offline=alone, to_s=4.0))
    assert bound.offline_tokens > 2 * without.offline_tokens
    assert run.offline_tokens_per_s > 1.5 * without.offline_tokens_per_s


@pytest.mark.parametrize("window", [(1.0, 1.0), (-1.0, 2.0), (0.0, float("inf"))])
def test_window_without_length_or_end_is_refused(window):
    """There is nothing to bound."""
    engine = EngineSettings(kv_tokens=512, chunked_prefill_size=16, max_running_requests=4)
    envelope = least_passes(MODEL.predict_ms, settings=engine, requests=[])
    with pytest.raises(ValueError, match="window"):
        offline_bound(
            online=[],
            offline=[],
            in_flight=None,
            settings=engine,
            envelope=envelope,
            from_s=window[0],
            to_s=window[1],
            targets=None,
        )


def test_equal_arguments_give_equal_bounds():
    """Nothing is drawn, and there is no clock."""
    first, second = (
        compared(plan_iteration, **steady(to_s=2.0))[1:] for _ in itertools.repeat(None, 2)
    )
    assert first == second
