"""Which waiting offline request is computed next.

Owns the choice, one request at a time, since a pass takes few of many:

    1. aged      waited more than `aged_passes`, eldest first
    2. eldest    while the eldest are owed tokens of their share
    3. urgent    laxity (deadline - now - its own prefill) under `urgent_laxity_s`
    4. prefix    the next prompt in depth-first order of the trie, after the last one taken

Refuses admission: that is `chunks`.

Share of age (HyGen, arXiv 2501.14808: the fair variant of prefix sharing maximisation
chooses by a utility ratio between the next prompt in prefix order and the oldest). Here
the ratio s = `age_share` is a debt in prompt tokens instead of a dice roll: a request of p
tokens adds s*p to what the eldest are owed; one taken for its age pays p. A request is
taken for its age whenever the debt is above 0, so with p_max the longest prompt

    -(1 - s)*p_max <= debt <= s*p_max.

Bound on waiting. Of T tokens admitted while a request waits that fits (elders that do not
are passed over, as many as `chunks` tries), at least s*T - p_max went to requests older than
it; these hold W tokens, so T <= (W + p_max)/s. A request with n older ones waits while at
most (n + 1)*p_max/s tokens are admitted, and every pass with offline prefill admits at least
one.
"""

from collections.abc import Iterator
from enum import Enum
from itertools import chain, islice

from planner.batching.prefixes import by_prompt, from_cursor
from planner.batching.state import Budgets, EngineState, OfflineQueue, PrefillWork


class Claim(Enum):
    """Why a request comes next."""

    AGED = "aged"
    ELDEST = "eldest"
    URGENT = "urgent"
    PREFIX = "prefix"


class OfflineWalk:
    """Waiting offline requests, the next one first; lives for one decision.

    `next` gives one, and `admit` books it; what is not admitted is passed over.
    """

    def __init__(
        self,
        queue: OfflineQueue,
        *,
        state: EngineState,
        budgets: Budgets,
        token_ms: float,
    ) -> None:
        """Starts at the head.

        Args:
            queue: The waiting requests.
            state: For the stamped time, the pass and the memory.
            budgets: Live settings.
            token_ms: Milliseconds a prompt token takes, for laxity.
        """
        self._owed_tokens = state.memory.age_owed_tokens
        self._cursor = state.memory.prompt_cursor
        self._share = min(1.0, max(0.0, budgets.age_share))
        self._is_prefix_only = False
        self._given: set[str] = set()
        self._claim = Claim.PREFIX
        self._oldest_pass = state.pass_number - budgets.aged_passes
        self._by_age = iter(queue.by_age)
        self._eldest = next(self._by_age, None)
        self._urgent = _urgent(queue, state=state, budgets=budgets, token_ms=token_ms)
        self._by_prompt = from_cursor(queue, self._cursor)

    @property
    def claim(self) -> Claim:
        """Why the last request given came next."""
        return self._claim

    def next(self) -> PrefillWork | None:
        """The next request not given before; None at the end."""
        given = self._given
        eldest = self._eldest
        while eldest is not None and eldest.rid in given:
            eldest = self._eldest = next(self._by_age, None)
        if eldest is None:
            return None
        if not self._is_prefix_only:
            if eldest.queued_pass < self._oldest_pass:
                return self._give(eldest, Claim.AGED)
            if self._owed_tokens > 0.0 or self._share >= 1.0:
                return self._give(eldest, Claim.ELDEST)
            for work in self._urgent:
                if work.rid not in given:
                    return self._give(work, Claim.URGENT)
        for work in self._by_prompt:
            if work.rid not in given:
                return self._give(work, Claim.PREFIX)
        return None

    def names_behind(self, count: int) -> list[str]:
        """Of the next requests, so many at most; the walk ends with them.

        As none of them is admitted, nothing changes what is owed: where one comes for its
        share of age, or in prefix order, so do all behind it.
        """
        given = self._given
        names: list[str] = []
        if not self._is_prefix_only and (self._owed_tokens > 0.0 or self._share >= 1.0):
            eldest = () if self._eldest is None else (self._eldest,)
            behind: Iterator[PrefillWork] = chain(eldest, self._by_age)
        else:
            while len(names) < count and (work := self.next()) is not None:
                names.append(work.rid)
                if self._claim is Claim.PREFIX:
                    break
            behind = self._by_prompt
        others = (work.rid for work in behind if work.rid not in given)
        return names + list(islice(others, count - len(names)))

    def admit(self, work: PrefillWork) -> None:
        """Books the last request given as taken, with all its tokens."""
        tokens = work.remaining_tokens
        if self._claim is Claim.PREFIX:
            self._cursor = by_prompt(work)
        if self._is_prefix_only:
            return
        owed_tokens = self._owed_tokens + self._share * tokens
        if self._claim is Claim.ELDEST:
            owed_tokens -= tokens
        elif self._claim is Claim.AGED:
            owed_tokens -= min(tokens, max(0.0, owed_tokens))  # pays debts, saves nothing up
        self._owed_tokens = owed_tokens

    def pass_over(self, work: PrefillWork) -> None:
        """The last request given does not fit now.

        Where it was given for its age, the next eldest has its share. Where it came in
        prefix order, the next search goes on behind it.
        """
        if self._claim is Claim.PREFIX:
            self._cursor = by_prompt(work)

    def turn_to_prefixes(self) -> None:
        """Goes on in prefix order alone: too many that come before it do not fit.

        Nothing more is owed in this pass: no share can be had of what does not fit.
        """
        self._is_prefix_only = True

    @property
    def cursor(self) -> tuple[bytes, float, str] | None:
        """Where prefix order goes on in the next pass."""
        return self._cursor

    @property
    def owed_tokens(self) -> float:
        """What the eldest are owed after the requests admitted."""
        return self._owed_tokens

    def _give(self, work: PrefillWork, claim: Claim) -> PrefillWork:
        self._given.add(work.rid)
        self._claim = claim
        return work


def _urgent(
    queue: OfflineQueue, *, state: EngineState, budgets: Budgets, token_ms: float
) -> Iterator[PrefillWork]:
    """Requests whose laxity is under the horizon, least first; a missed deadline is below all.

    Only deadlines that the longest prompt KV holds could make urgent are looked at.
    """
    token_s = token_ms / 1000.0
    horizon_s = state.now_s + budgets.urgent_laxity_s
    last_s = horizon_s + state.kv_total_tokens * token_s
    urgent: list[tuple[float, float, str, PrefillWork]] = []
    for work in queue.by_deadline:
        deadline_s = work.deadline_s
        if deadline_s is None or deadline_s >= last_s:
            break
        start_by_s = deadline_s - work.remaining_tokens * token_s
        if start_by_s < horizon_s:
            urgent.append((start_by_s, work.arrival_s, work.rid, work))
    urgent.sort()
    for entry in urgent:
        yield entry[3]
