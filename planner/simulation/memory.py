"""KV memory of a simulated engine, and its prefix cache.

Owns how many tokens are held, cached or free, and which cached prefix is given up first.
A prefix is a chain of blocks; each block is cached under its own id (equal leading ids
are equal prefixes, so the id of a block stands for the whole chain up to it), with a
count of the requests that read it. Blocks nobody reads are evicted least recently used
first, and a chain's tail before its head, as a radix tree gives up leaves.

Refuses token content, and partial blocks: a radix tree over tokens would share those too.
Invariant: held + cached + free = total, none negative.
"""

from collections import OrderedDict
from collections.abc import Hashable, Sequence


class KvMemory:
    """Tokens of KV, in pages."""

    def __init__(self, *, total_tokens: int, page_size: int, caches_prefixes: bool) -> None:
        if total_tokens < 1 or page_size < 1:
            raise ValueError(
                f"KV memory of {total_tokens} tokens in pages of {page_size}; both must be >= 1"
            )
        self.page_size = page_size
        self.total_tokens = total_tokens // page_size * page_size
        self.held_tokens = 0  # owned by requests alone
        self.cached_tokens = 0
        self.unread_tokens = 0  # of the cached: evictable
        self._caches = caches_prefixes
        self._entries: OrderedDict[Hashable, list[int]] = OrderedDict()  # tokens, readers

    @property
    def free_tokens(self) -> int:
        """Free now, or once unread prefixes are evicted."""
        return self.total_tokens - self.held_tokens - self.cached_tokens + self.unread_tokens

    def paged(self, tokens: int) -> int:
        """Tokens of the pages that hold `tokens`."""
        return -(-tokens // self.page_size) * self.page_size

    def matched(self, keys: Sequence[Hashable]) -> int:
        """How many leading keys are cached."""
        entries = self._entries
        for count, key in enumerate(keys):
            if key not in entries:
                return count
        return len(keys)

    def read(self, keys: Sequence[Hashable]) -> None:
        """Pins cached keys for a request, and makes them the most recently used."""
        for key in reversed(keys):  # the head of a chain is used last, so evicted last
            entry = self._entries[key]
            if entry[1] == 0:
                self.unread_tokens -= entry[0]
            entry[1] += 1
            self._entries.move_to_end(key)

    def unread(self, keys: Sequence[Hashable]) -> None:
        """Gives pins back; what nobody reads any more stays, evictable."""
        for key in reversed(keys):
            entry = self._entries[key]
            entry[1] -= 1
            if entry[1] == 0:
                self.unread_tokens += entry[0]
            self._entries.move_to_end(key)

    def hold(self, tokens: int) -> bool:
        """Gives a request pages, evicting unread prefixes; False where there are too few."""
        short = tokens - (self.total_tokens - self.held_tokens - self.cached_tokens)
        if short > 0:
            if short > self.unread_tokens:
                return False
            self._evict(short)
        self.held_tokens += tokens
        return True

    def release(self, tokens: int) -> None:
        """Takes back what a request alone held."""
        self.held_tokens -= tokens
        assert self.held_tokens >= 0

    def cache(self, key: Hashable, *, tokens: int, readers: int) -> bool:
        """Turns held tokens into a cached block with so many readers.

        Returns:
            False where the block was cached already, or nothing is cached: the tokens
            stay held.
        """
        if not self._caches or key in self._entries:
            return False
        self.held_tokens -= tokens
        self.cached_tokens += tokens
        self._entries[key] = [tokens, readers]
        if readers == 0:
            self.unread_tokens += tokens
        assert self.held_tokens >= 0
        return True

    def unread_among(self, keys: Sequence[Hashable]) -> int:
        """Evictable tokens of the cached leading keys."""
        tokens = 0
        for key in keys:
            entry = self._entries.get(key)
            if entry is None:
                break
            if entry[1] == 0:
                tokens += entry[0]
        return tokens

    def kept_tokens(self, key: Hashable) -> int:
        """Tokens of an entry, 0 where it is not cached."""
        entry = self._entries.get(key)
        return 0 if entry is None else entry[0]

    def drop(self, key: Hashable) -> int:
        """Takes an unread entry out of the cache; its tokens, 0 where it is gone already."""
        entry = self._entries.get(key)
        if entry is None or entry[1]:
            return 0
        del self._entries[key]
        self.cached_tokens -= entry[0]
        self.unread_tokens -= entry[0]
        return entry[0]

    def _evict(self, tokens: int) -> None:
        victims = []
        for key, (held, readers) in self._entries.items():
            if tokens <= 0:
                break
            if readers == 0:
                victims.append(key)
                tokens -= held
        for key in victims:
            self.drop(key)
