"""KV of a simulated engine: nothing is lost, and chains lose their tails first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.simulation.memory import KvMemory


def _memory(**fields):
    return KvMemory(**{"total_tokens": 100, "page_size": 1, "caches_prefixes": True, **fields})


def _cache(memory, *keys, tokens=10):
    for key in keys:
        assert memory.hold(tokens)
        assert memory.cache(key, tokens=tokens, readers=1)


def test_chain_loses_its_tail_before_its_head():
    """As a radix tree evicts leaves."""
    memory = _memory()
    _cache(memory, "a", "ab", "abc")
    memory.unread(("a", "ab", "abc"))
    assert memory.hold(80)
    assert memory.matched(("a", "ab", "abc")) == 2
    assert memory.cached_tokens == 20


def test_least_recently_used_chain_goes_first_and_read_blocks_stay():
    """What a request reads is never evicted."""
    memory = _memory()
    _cache(memory, "old", "new", "pinned")
    memory.unread(("old",))
    memory.unread(("new",))
    assert memory.free_tokens == 90
    assert memory.hold(75)
    assert [memory.matched((key,)) for key in ("old", "new", "pinned")] == [0, 1, 1]
    assert not memory.hold(16)


@given(
    st.lists(st.tuples(st.sampled_from("hrcud"), st.integers(0, 6), st.integers(1, 40))),
    st.sampled_from([1, 16]),
)
def test_nothing_is_negative_or_over_capacity(steps, page_size):
    """Held + cached + free = total after any sequence of operations."""
    memory = _memory(page_size=page_size)
    read = []
    for kind, key, wanted in steps:
        tokens = memory.paged(wanted)
        if kind == "h":
            memory.hold(tokens)
        elif kind == "r" and memory.held_tokens >= tokens:
            memory.release(tokens)
        elif kind == "c" and memory.held_tokens >= tokens:
            memory.cache(key, tokens=tokens, readers=0)
        elif kind == "u" and memory.matched((key,)):
            memory.read((key,))
            read.append(key)
        elif kind == "d" and read:
            memory.unread((read.pop(),))
        assert 0 <= memory.unread_tokens <= memory.cached_tokens
        assert memory.held_tokens >= 0
        assert memory.held_tokens + memory.cached_tokens <= memory.total_tokens
        assert memory.free_tokens >= 0


def test_memory_without_pages_is_refused():
    """A page holds at least a token."""
    with pytest.raises(ValueError, match="must be >= 1"):
        _memory(page_size=0)
