"""The soak's judge without an engine: what it finds, what it excuses, what it demands."""

from dataclasses import replace
from itertools import combinations

import pytest
from soak.answers import EXCUSED_GAP, Comparison, Mismatch, compare, first_difference
from soak.client import Answer
from soak.setting import SettingResult
from soak.settings import LONGEST_REQUEST_TOKENS, all_settings
from soak.verdict import as_row, complaints
from soak.workload import Abort, SoakRequest, make_phases, shuffled

REQUEST = SoakRequest(rid="rq00000", ids=(1, 2, 3), new_tokens=4, is_offline=True)


def judge(
    found: Answer,
    *,
    request: SoakRequest = REQUEST,
    gap: float = 1.0,
    best: tuple[int, int] = (0, 0),
) -> Comparison:
    return compare(
        {request.rid: request},
        reference={request.rid: Answer(ids=(5, 6, 7, 8))},
        found={request.rid: found},
        ask_gap=lambda _request, _common: (gap, best),
    )


@pytest.mark.parametrize(
    ("found", "is_cut", "position"),
    [
        ((5, 6, 7, 8), False, None),
        ((5, 6), True, None),
        ((), True, None),
        ((5, 6), False, 2),
        ((5, 9), True, 1),
        ((5, 6, 7, 8, 9), False, 4),
    ],
)
def test_first_difference_is_found_when_answers_differ(
    found: tuple[int, ...], is_cut: bool, position: int | None
) -> None:
    """A token that differs, one too many, or one too few where nothing was aborted."""
    assert first_difference((5, 6, 7, 8), found, is_cut=is_cut) == position


def test_answer_is_a_mismatch_when_it_ends_early_without_abort() -> None:
    """A lost tail is never excused, however close the logits."""
    (found,) = judge(Answer(ids=(5, 6)), gap=0.0).mismatches
    assert (found.position, found.expected, found.found) == (2, 7, None)
    assert not found.is_excused


def test_mismatch_is_excused_only_when_gap_is_below_limit_and_tokens_are_the_best_two() -> None:
    """Acceptance: excused only where stock's top-2 logit gap is below 1e-4."""
    answer = Answer(ids=(5, 9, 9, 9))
    assert judge(answer, gap=EXCUSED_GAP / 2, best=(6, 9)).mismatches[0].is_excused
    assert not judge(answer, gap=EXCUSED_GAP, best=(6, 9)).mismatches[0].is_excused
    assert not judge(answer, gap=EXCUSED_GAP / 2, best=(6, 4)).mismatches[0].is_excused


def test_request_fails_when_it_ends_without_answer_and_nobody_aborted_it() -> None:
    """An error, or an abort nobody asked for, is a failure and not a cut answer."""
    assert judge(Answer(ids=(), error="500")).failures
    assert judge(Answer(ids=(5,), was_aborted=True)).failures
    asked = replace(REQUEST, abort=Abort.ASKED)
    assert judge(Answer(ids=(5,), was_aborted=True), request=asked) == Comparison(
        equal=0, equal_prefixes=1, empty=0, mismatches=(), failures=()
    )


def test_soak_fails_when_a_path_was_not_taken_or_a_token_differs() -> None:
    """Silence proves nothing: counters must show that rows were parked, evicted and so on."""
    plenty = dict.fromkeys(
        ("parked", "resumed", "evicted", "chunks_capped", "chunks_parked"), 1000
    ) | {"chunks_requeued": 1000, "prefills_deferred": 1000}
    clean = Comparison(equal=90, equal_prefixes=10, empty=0, mismatches=(), failures=())
    good = SettingResult(
        setting=next(s for s in all_settings() if s.has_small_kv),
        requests=100,
        plugin=clean,
        control=clean,
        counters=plenty,
        regimes={},
        evicted_requests=50,
        equal_after_eviction=50,
        retractions=50,
        stock_retractions=50,
        trouble=(),
        duration_s=1.0,
    )
    assert complaints([as_row(good)]) == ()
    for name in plenty:
        (text,) = complaints([as_row(replace(good, counters=plenty | {name: 0}))])
        assert name in text
    differing = Mismatch(rid="rq00000", position=0, expected=1, found=2, gap=0.5, is_excused=False)
    for worse in (
        replace(good, plugin=replace(clean, mismatches=(differing,))),
        replace(good, plugin=replace(clean, failures=("rq00000: 500",))),
        replace(good, trouble=("KV: 1 of 2 free",)),
        replace(good, retractions=0),
    ):
        assert complaints([as_row(worse)])


def test_every_triple_of_choices_meets_small_and_large_kv() -> None:
    """Sixteen settings, half with small KV, however three choices are fixed."""
    settings = all_settings()
    choices = [(s.is_overlapped, s.page_size, s.has_radix_cache, s.mixes_chunks) for s in settings]
    assert len(set(choices)) == 16
    for places in combinations(range(4), 3):
        seen = {
            (tuple(c[p] for p in places), s.has_small_kv)
            for c, s in zip(choices, settings, strict=True)
        }
        assert len(seen) == 16
    assert {s.has_small_kv for s in settings} == {True, False}


@pytest.mark.parametrize("seed", [1, 2])
def test_workload_is_reproducible_and_varied_when_seeded(seed: int) -> None:
    """Same seed, same requests; both classes, lengths beyond a chunk, both kinds of abort."""
    phases = make_phases(seed=seed, count=250)
    assert phases == make_phases(seed=seed, count=250)
    requests = [r for phase in phases for r in phase.requests]
    assert len({r.rid for r in requests}) == len(requests) == 250
    assert len({len(r.rid) for r in requests}) == 1
    assert {r.abort for r in requests} == set(Abort)
    assert any(r.is_offline for r in requests) and any(not r.is_offline for r in requests)
    assert min(len(r.ids) for r in requests) < 16 and max(len(r.ids) for r in requests) > 256
    assert all(len(r.ids) + r.new_tokens <= LONGEST_REQUEST_TOKENS for r in requests)
    assert all(r.new_tokens > 0 for r in requests)
    (other,) = shuffled(phases, seed=seed)
    assert sorted(r.rid for r in other.requests) == sorted(r.rid for r in requests)
    assert list(other.requests) != requests
