"""A pass of the plugin: what it skips, and what it does when it goes wrong."""

from types import SimpleNamespace
from typing import Any

import pytest

from nodeagent.sglang_plugin import colocation as colocation_module
from nodeagent.sglang_plugin.clock import PassStamp
from nodeagent.sglang_plugin.colocation import Colocation
from nodeagent.sglang_plugin.rows import record_of
from planner.batching.state import Budgets


class Rows:
    """As much of a running batch as parking takes."""

    def __init__(self, *reqs: Any) -> None:
        self.reqs = list(reqs)

    def filter_batch(self, *, keep_indices: list[int]) -> None:
        self.reqs = [self.reqs[i] for i in keep_indices]


def colocation_at(scheduler: Any, now_s: float) -> Colocation:
    colocation = Colocation(scheduler, device_name="cpu")
    colocation.clock.receive(PassStamp(now_s=now_s, last_pass_ms=3.0))
    return colocation


def decoding(request: Any) -> Any:
    request.output_ids.append(1)
    return request


def test_pass_is_not_planned_when_no_offline_work_exists(
    scheduler: Any, make_request: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Online alone costs no state and no plan; its arrivals and tokens are dated all the same."""
    monkeypatch.setattr(colocation_module, "read_state", None)  # calling it would fail the pass
    colocation = colocation_at(scheduler, 7.0)
    row, waiting = decoding(make_request("on", 20)), make_request("on2", 20)
    scheduler.waiting_queue = [waiting]
    colocation.begin_pass(Rows(row))
    assert colocation.fault == ""
    assert (record_of(row).arrival_s, record_of(row).first_token_s) == (7.0, 7.0)
    assert record_of(waiting).arrival_s == 7.0


def test_pass_is_planned_when_any_offline_request_waits(scheduler: Any, make_request: Any) -> None:
    """One waiting offline request is enough to decide anew."""
    colocation = colocation_at(scheduler, 7.0)
    colocation.settings.budgets = Budgets(latency_budget_ms=1000.0)
    scheduler.waiting_queue = [make_request("off", 40, offline=True)]
    colocation.begin_pass(Rows())
    assert colocation.plan.offline_order == ("off",)
    assert colocation.plan.offline_chunk_tokens > 0


def test_queue_is_dated_like_a_full_walk_when_it_changes_or_stays(
    scheduler: Any, make_request: Any
) -> None:
    """Passes that skip an unchanged queue date and class its requests as walking it would."""
    colocation = colocation_at(scheduler, 1.0)
    online, offline = make_request("on", 20), make_request("off", 40, offline=True)
    passes: tuple[tuple[float | None, list[Any], bool], ...] = (
        (1.0, [], False),
        (None, [online], False),  # unstamped: dated by the next stamp, though nothing changed
        (3.0, [online], False),
        (4.0, [online], False),
        (None, [online, offline], True),
        (None, [online, offline], True),
        (7.0, [online, offline], True),
        (8.0, [offline], True),
        (9.0, [], False),
    )
    for now_s, queue, holds in passes:
        stamp = None if now_s is None else PassStamp(now_s=now_s, last_pass_ms=1.0)
        colocation.clock.receive(stamp)
        scheduler.waiting_queue = queue
        assert colocation._holds_offline(Rows()) is holds
    assert record_of(online).arrival_s == 3.0
    assert record_of(offline).arrival_s == 7.0


def test_admission_is_tried_in_every_pass_only_while_offline_work_is_there(
    scheduler: Any, make_request: Any
) -> None:
    """Offline rows can be taken while there are any, and one pass longer: what they shut
    out is let in. Online alone keeps SGLang's own short way past a full batch.
    """
    colocation = colocation_at(scheduler, 7.0)
    offline = make_request("off", 40, offline=True)
    seen = []
    for queue in ([make_request("on", 20)], [offline], [], []):
        scheduler.waiting_queue = queue
        colocation.begin_pass(Rows())
        seen.append(scheduler.enable_priority_preemption)
    assert seen == [False, True, True, False]


def test_offline_yields_and_engine_lives_when_a_decision_raises(
    scheduler: Any, make_request: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An exception of ours costs offline work only, is said once, and stays said."""

    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("forced")

    colocation = colocation_at(scheduler, 7.0)
    online = decoding(make_request("on", 20))
    offline = decoding(make_request("off", 20, offline=True))
    stuck = decoding(make_request("hid", 20, offline=True))
    stuck.return_hidden_states = True
    scheduler.waiting_queue = [make_request("next", 40, offline=True)]
    running = Rows(online, offline, stuck)
    monkeypatch.setattr(colocation_module, "plan_iteration", broken)
    colocation.begin_pass(running)
    monkeypatch.undo()
    colocation.begin_pass(running)
    assert running.reqs == [online, stuck]
    assert colocation.lot.requests == [offline]
    assert colocation.plan.offline_chunk_tokens == 0
    state = colocation.state()
    assert state.fault == "ValueError: forced"
    assert state.counters.faults == 1


def test_engine_lives_when_accounting_raises(scheduler: Any) -> None:
    """A batch that cannot be read is launched all the same."""
    colocation = colocation_at(scheduler, 7.0)
    colocation.launched(SimpleNamespace())
    assert "AttributeError" in colocation.fault


def test_parked_request_stays_parked_when_its_kv_does_not_match(
    scheduler: Any, make_request: Any
) -> None:
    """A row whose KV and tokens disagree is not resumed, and no request is lost."""
    colocation = colocation_at(scheduler, 7.0)
    parked = decoding(make_request("off", 20, offline=True))
    parked.to_finish = object()
    parked.kv = SimpleNamespace(req_pool_idx=0, kv_committed_len=3)
    colocation.lot.requests = [parked]
    running = Rows()
    assert colocation.begin_pass(running) is running
    assert colocation.lot.requests == [parked]
    assert "3 tokens of KV" in colocation.fault


def test_time_is_measured_when_engine_runs_online_only(scheduler: Any, make_request: Any) -> None:
    """A pass without offline work counts as online only until an offline request comes."""
    colocation = colocation_at(scheduler, 7.0)
    running = Rows(decoding(make_request("on", 20)))
    for _ in range(2):
        colocation.begin_pass(running)
        colocation.cost.launched()
        colocation.end_pass()
    alone = colocation.state().counters
    assert 0 < alone.online_only_scheduling_us <= alone.scheduling_us
    assert alone.online_only_pass_us > 0
    scheduler.waiting_queue = [make_request("off", 40, offline=True)]
    colocation.begin_pass(running)
    colocation.cost.launched()
    colocation.end_pass()
    beside = colocation.state().counters
    assert beside.online_only_pass_us == alone.online_only_pass_us
    assert beside.scheduling_us > alone.scheduling_us


ODD_BUDGETS = {
    "no budget at all": Budgets(latency_budget_ms=0.0, idle_budget_ms=0.0),
    "no rows": Budgets(max_offline_rows=0),
    "no parking": Budgets(max_parked_rows=0),
    "a floor beyond the chunk": Budgets(min_chunk_tokens=10**9),
    "no end": Budgets(latency_budget_ms=1e9, idle_budget_ms=1e9, max_stall_ms=1e9),
    "nothing trusted": Budgets(uncalibrated_ratio=0.0),
    "all kept for online": Budgets(kv_reserve_ratio=0.99, kv_reserve_ceiling_ratio=0.99),
}


@pytest.mark.parametrize("deadline_in_s", [1e308, -1e308, 0.0, 5e-324])
@pytest.mark.parametrize("name", ODD_BUDGETS)
@pytest.mark.parametrize("beside_online", [False, True])
def test_pass_is_planned_when_budgets_and_deadlines_are_absurd(
    scheduler: Any, make_request: Any, name: str, deadline_in_s: float, beside_online: bool
) -> None:
    """No fault, nothing of online is taken, and alone offline goes on unless it is forbidden."""
    colocation = colocation_at(scheduler, 7.0)
    colocation.settings.budgets = budgets = ODD_BUDGETS[name]
    for i in range(3):
        late = make_request(f"off{i}", 40, offline=True)
        late.sampling_params.custom_params["slacktide_deadline_in_s"] = deadline_in_s
        scheduler.waiting_queue.append(late)
    online = decoding(make_request("on", 20))
    running = Rows(online) if beside_online else Rows()
    for now_s in (7.0, 7.01, 7.02):
        colocation.clock.receive(PassStamp(now_s=now_s, last_pass_ms=10.0))
        running = colocation.begin_pass(running)
    assert colocation.fault == ""
    assert running.reqs == ([online] if beside_online else [])
    plan = colocation.plan
    assert 0 <= plan.offline_chunk_tokens <= scheduler.chunked_prefill_size
    if not budgets.runs_offline or (beside_online and budgets.latency_budget_ms == 0.0):
        assert plan.offline_chunk_tokens == 0
    elif not beside_online:
        assert plan.offline_chunk_tokens > 0
