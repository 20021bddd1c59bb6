"""A level of load, simulated and judged: who counts, what it meets, and by what it is judged."""

import random
from dataclasses import replace

import pytest

from nodeagent.inference.bodies import chat_body
from nodeagent.inference.generation import Generation
from nodeagent.plugin_contract.labels import read_labels
from planner.batching.state import Budgets
from planner.latency.work import TokenWork
from planner.model import Slo
from planner.simulation.fleet import measure
from planner.simulation.fleet.measure import Probing
from planner.simulation.kind import EngineKind
from planner.simulation.probe import Seen, Window, batch, crowd, labelled, probe
from planner.workload.request import WorkloadRequest
from tests.planner.simulation.simulated_engines import MODEL, settings

SLO = Slo(ttft_ms=200.0, tpot_ms=30.0)
ENGINE = EngineKind(settings=settings(), model=MODEL, truth=lambda _: MODEL.predict_ms)
BUDGETS = Budgets(latency_budget_ms=20.0, idle_budget_ms=20.0)
WORK = TokenWork(prompt_ms=0.1, output_ms=4.0)
WINDOW = Window(settle_s=2.0, length_s=4.0)


def sizes(_):
    """All alike."""
    return 100, 10


def every(gap_s, *, until_s):
    """Requests that come one by one."""
    count = int(until_s / gap_s)
    return [
        WorkloadRequest(at_s=i * gap_s, prompt_tokens=100, output_tokens=10) for i in range(count)
    ]


def seen_of(requests=(), *, clients=(), slo=SLO):
    return probe(
        ENGINE,
        window=WINDOW,
        budgets=BUDGETS,
        slo=slo,
        item_work=WORK,
        online=labelled(requests, slo=SLO),
        clients=clients,
        seed=1,
    )


def test_requests_count_when_they_are_sent_in_the_window():
    """Those that settle the engine, and those after, load it and are not judged."""
    seen = seen_of(every(0.25, until_s=WINDOW.arrivals_until_s))
    assert WINDOW.arrivals_until_s == 8.0
    assert seen.requests == 16
    assert seen.attainment_ratio == seen.gaps_ratio == 1.0
    assert seen.online_tokens_per_s == pytest.approx(110 * 4, rel=0.1)
    assert 0.0 < seen.least_ttft_s < seen.stay_s
    assert seen.offline_work == 0.0


def test_gaps_are_judged_alone_when_prompts_wait_too_long():
    """An engine full of prompts: first tokens come late, and what follows is in time."""
    sent = [replace(one, at_s=2.0) for one in every(0.5, until_s=15.0)]
    loose = Slo(ttft_ms=100.0, tpot_ms=1000.0)
    seen = seen_of(sent, slo=loose)
    assert seen.attainment_ratio < 0.5 < seen.gaps_ratio


def test_offline_work_is_counted_in_the_window_when_a_batch_never_ends():
    """By tokens done in it; without online requests nothing is judged, and none has missed."""
    items = batch(sizes, source=random.Random(1), in_flight=4)
    seen = seen_of(clients=[items], slo=None)
    assert seen.requests == 0 and seen.attainment_ratio == 1.0 and seen.stay_s == 0.0
    busy = seen_of(
        every(0.05, until_s=WINDOW.arrivals_until_s),
        clients=[batch(sizes, source=random.Random(1), in_flight=4)],
    )
    assert 0.0 < busy.offline_work < seen.offline_work


def test_clients_send_in_the_order_of_their_names_when_there_are_many():
    """Ties among requests sent at once break as they were sent, the eleventh too."""
    loops = (
        batch(sizes, source=random.Random(1), in_flight=2),
        crowd(sizes, slo=SLO, source=random.Random(1), in_flight=2),
    )
    for loop in loops:
        rids = [request.rid for request, _ in zip(loop.source, range(12), strict=False)]
        assert rids == sorted(rids)


@pytest.mark.parametrize(
    "slo", [SLO, Slo(ttft_ms=200.0, tpot_ms=30.0, max_gap_ms=90.0), Slo(ttft_ms=9.0, itl_ms=50.0)]
)
def test_requests_carry_what_an_agent_labels_them_with(slo):
    """The plugin decides by these: a simulation with others would be of another scheduler."""
    generation = Generation(deployment="chat", replica="", max_tokens=5, temperature=0.0, turns=())
    told = read_labels(chat_body(generation, rid="r", slo=slo)["custom_params"])
    (request,) = labelled(every(1.0, until_s=1.0), slo=slo)
    for target in ("ttft_target_ms", "itl_target_ms", "tpot_target_ms", "max_gap_ms"):
        assert getattr(request, target) == getattr(told, target)


def test_level_keeps_the_slo_up_to_the_misses_it_allows():
    """A share of them, exactly."""
    slo = Slo(ttft_ms=200.0, tpot_ms=30.0, attainment_ratio=0.98)
    seen = Seen(
        requests=100,
        attainment_ratio=0.98,
        gaps_ratio=1.0,
        stay_s=1.0,
        least_ttft_s=0.1,
        online_tokens_per_s=1.0,
        offline_work=0.0,
    )
    assert seen.keeps(slo)
    assert not seen.keeps(slo, miss_share=0.5)
    assert replace(seen, attainment_ratio=0.99).keeps(slo, miss_share=0.5)


def test_profile_has_arrivals_go_on_when_its_windows_have_ended(monkeypatch):
    """Else the last requests that count would end on an engine that empties."""
    lasts = []

    def watched(kind, *, window, online=(), **more):
        online = list(online)
        if online:
            lasts.append((online[-1].at_s, window))
        return probe(kind, window=window, online=online, **more)

    monkeypatch.setattr(measure, "probe", watched)
    Probing(
        kind=ENGINE,
        slo=SLO,
        budgets=BUDGETS,
        lengths=sizes,
        items=sizes,
        request_work_ms=60.0,
        item_work=WORK,
        window_s=5.0,
        levels=(0.5,),
    ).profile()
    assert len(lasts) == 2
    assert all(last_s > window.end_s + 0.4 * window.length_s for last_s, window in lasts)
