"""Offline requests that wait are shown as they are, whatever came and went before."""

from hypothesis import given
from hypothesis import strategies as st
from simulated_engines import offline

from planner.batching.prefixes import queue_of
from planner.simulation.backlog import Backlog
from planner.simulation.live import LiveRequest
from planner.simulation.memory import KvMemory

RIDS = ("a", "b", "c", "d", "e")
BLOCKS = {"a": (), "b": (1,), "c": (1, 2), "d": (), "e": (2,)}


def waiting(rid):
    request = offline(rid, prompt_tokens=64, blocks=BLOCKS[rid], block_tokens=16)
    return LiveRequest(request, page_size=1, prompt_key=bytes(BLOCKS[rid]) + rid.encode())


def caches(memory, key):
    memory.hold(16)
    memory.cache(key, tokens=16, readers=0)


moves = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(RIDS)),
        st.tuples(st.just("discard"), st.sets(st.sampled_from(RIDS), min_size=1)),
        st.tuples(st.just("cache"), st.sampled_from((1, 2))),
        st.tuples(st.just("read"), st.integers(min_value=1, max_value=20)),
    ),
    max_size=40,
)


@given(moves)
def test_reading_shows_each_who_waits_once_and_in_every_order(made):
    """As one that sorts anew at every pass would; a prefix is at most 16 passes old."""
    memory = KvMemory(total_tokens=10_000, page_size=1, caches_prefixes=True)
    backlog, everyone = Backlog(), {rid: waiting(rid) for rid in RIDS}
    expected: list[str] = []
    number = 0
    for move, what in [*made, ("read", 1), ("read", 16)]:
        match move:
            case "put" if what not in expected:
                everyone[what].match_due = 0  # as whoever queues it again does
                backlog.put(everyone[what])
                expected.append(what)
            case "discard":
                backlog.discard(what)
                expected = [rid for rid in expected if rid not in what]
            case "cache":
                caches(memory, what)
            case "read":
                number += what
                works = backlog.read(memory, number=number)
                assert [work.rid for work in works] == expected
                assert backlog.standing() == queue_of(works)
                assert len({work.rid for work in works}) == len(backlog) == len(expected)
    for work in backlog.read(memory, number=number):
        fresh = everyone[work.rid].match(memory, number=number)
        assert work.cached_tokens == fresh == 64 - work.remaining_tokens


@given(st.permutations(RIDS), st.lists(st.sampled_from((*RIDS, "gone"))))
def test_those_named_come_first_as_named_then_the_others_as_queued(queued, named):
    """Names of requests that do not wait are passed over."""
    backlog = Backlog()
    for rid in queued:
        backlog.put(waiting(rid))
    first = [rid for rid in dict.fromkeys(named) if rid != "gone"]
    expected = [*first, *(rid for rid in queued if rid not in first)]
    assert [live.rid for live in backlog.first(named)] == expected
    assert [live.rid for live in backlog] == list(queued)
