"""The waiting queue of real engine requests, read pass by pass."""

import random
from typing import Any

import pytest
from sglang.srt.mem_cache.base_prefix_cache import InsertParams
from sglang.srt.mem_cache.radix_cache import RadixKey

from nodeagent.sglang_plugin import waiting as waiting_module
from nodeagent.sglang_plugin.clock import PassClock, PassStamp
from nodeagent.sglang_plugin.rows import observe, prefill_work, record_of
from nodeagent.sglang_plugin.waiting import WaitingReader
from planner.batching.prefixes import queue_of
from planner.batching.state import Memory, OfflineQueue, PrefillWork


class Driver:
    """Reads one queue pass by pass, as the plugin does."""

    def __init__(self, scheduler: Any) -> None:
        self.scheduler, self.reader, self.number = scheduler, WaitingReader(), 0
        self.clock = PassClock(read=lambda: 0.0)

    def read(self) -> tuple[tuple[PrefillWork, ...], OfflineQueue]:
        self.number += 1
        self.clock.receive(PassStamp(now_s=float(self.number), last_pass_ms=3.0))
        queue = self.scheduler.waiting_queue
        observe(queue, clock=self.clock)
        return self.reader.read(
            queue,
            self.scheduler.tree_cache,
            clock=self.clock,
            number=self.number,
            memory=Memory(),
        )


@pytest.mark.parametrize("seed", range(5))
def test_queue_is_as_if_read_anew_when_requests_come_and_go(
    scheduler: Any, make_request: Any, seed: int
) -> None:
    """After any arrivals, departures, requeues and re-sorting: the same as one reading."""
    rng = random.Random(seed)
    driver = Driver(scheduler)
    aside: list[Any] = []
    for step in range(60):
        queue = scheduler.waiting_queue
        for _ in range(rng.randint(0, 3)):
            queue.append(make_request(f"r{step}-{len(queue)}", 20, offline=rng.random() < 0.8))
        if queue and rng.random() < 0.7:
            aside.append(queue.pop(rng.randrange(len(queue))))
        if aside and rng.random() < 0.4:
            back = aside.pop()
            back.output_ids.append(5)
            record_of(back).matched_pass = None  # as the plugin requeues an evicted request
            queue.append(back)
        rng.shuffle(queue)
        online, offline = driver.read()
        anew = [
            prefill_work(req, clock=driver.clock, number=driver.number, is_started=False)
            for req in queue
        ]
        assert {work.rid for work in online} == {
            req.rid for req in queue if not record_of(req).is_offline
        }
        assert offline == queue_of([work for work in anew if record_is_offline(work, queue)])


def record_is_offline(work: PrefillWork, queue: list[Any]) -> bool:
    return next(record_of(req).is_offline for req in queue if req.rid == work.rid)


def test_queue_is_the_same_value_when_nothing_changed(scheduler: Any, make_request: Any) -> None:
    """A pass between changes reads no waiting request again."""
    scheduler.waiting_queue = [make_request(f"r{i}", 20, offline=True) for i in range(3)]
    driver = Driver(scheduler)
    _, first = driver.read()
    assert all(driver.read()[1] is first for _ in range(2))


def test_matches_are_few_in_every_pass_when_many_requests_wait(
    scheduler: Any, make_request: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch of 200 arrivals is matched over passes, each in its turn."""
    scheduler.waiting_queue = [make_request(f"r{i:03d}", 20, offline=True) for i in range(200)]
    matched: list[str] = []
    real = waiting_module.match_kv_cache

    def counting(req: Any, tree: Any) -> None:
        matched.append(req.rid)
        real(req, tree)

    monkeypatch.setattr(waiting_module, "match_kv_cache", counting)
    driver = Driver(scheduler)
    most = 0
    for _ in range(60):
        before = len(matched)
        driver.read()
        most = max(most, len(matched) - before)
    assert 0 < most <= 9
    assert len(set(matched)) == 200


def test_prefix_is_seen_when_the_next_in_line_is_matched_again(
    scheduler: Any, make_request: Any
) -> None:
    """What the first of a group computed is no work for the next, a few passes later."""
    import torch

    request = make_request("off", 40, offline=True, start=0)
    scheduler.waiting_queue = [request]
    driver = Driver(scheduler)
    assert driver.read()[1].by_prompt[0].cached_tokens == 0
    key = RadixKey(request.origin_input_ids[:30])
    scheduler.tree_cache.insert(InsertParams(key=key, value=torch.arange(30)))
    for _ in range(4):
        _, offline = driver.read()
    (work,) = offline.by_prompt
    assert (work.cached_tokens, work.remaining_tokens) == (30, 10)


def test_deadline_follows_the_arrival_when_a_stamp_dates_it(
    scheduler: Any, make_request: Any
) -> None:
    """Read without a stamp as of the last one, dated anew by the next."""
    request = make_request("off", 20, offline=True)
    scheduler.waiting_queue = [request]
    driver = Driver(scheduler)
    driver.clock.receive(PassStamp(now_s=4.0, last_pass_ms=3.0))
    driver.clock.receive(None)
    observe(scheduler.waiting_queue, clock=driver.clock)
    _, offline = driver.reader.read(
        scheduler.waiting_queue,
        scheduler.tree_cache,
        clock=driver.clock,
        number=1,
        memory=Memory(),
    )
    assert offline.by_prompt[0].arrival_s == 4.0
    driver.number = 7
    assert driver.read()[1].by_prompt[0].arrival_s == 8.0
