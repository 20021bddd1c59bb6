"""No schedule that leaves nobody worse off does more offline work than this.

Owns the bound of schedules that begin a window as a run began it and serve no request worse:

- no online request sent in the window has its first token later than in the run, or its last;
- no offline request is less far when the window ends, no more is done of requests that are
  not ended, and the batch is begun no less in its order (`backlog`);
- no more output tokens come with prompts computed again: a decode spared for a prompt.

The run is one of them. What is relaxed: a pass is anything that a box of the envelope holds
(`turns`); passes of a stretch of time are as many as fill it, in parts too; decodes of a
request, and tokens of its prompt, are spread over the stretches they can be in (`stays`)
as suits the schedule; KV is held by the rows of a pass alone; what prefixes are shared is
found (`needs`). Of each stretch w, of length T_w, and its passes k:

    sum over w, k of T_k                        <= T_w
    sum over w, k of decodes of i               >= decodes_i     i can decode in w
    sum over w, k of prompt tokens of i         >= prompt_i      i's prompt can run in w
    sum over w, k of attention left over for i  >= rest_ms_i     i can decode in w
    sum over k of all prompt tokens, offline decodes by class, attention, KV
                                                >= what all requests take of it

Each line but the first has prices >= 0, and any prices prove a bound: the stretches at their
best rate, and the best choice of the batch, less what online takes (Lagrangian duality). The
prices of a request are its own, so its decodes are tied to it: a pass holds one of them, and
only while it can be there. Time has a price for each stretch.

Refuses noise, as `bound` does, and a solver of its own: linear programmes are the caller's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, inf

import numpy as np

from planner.clairvoyant.backlog import (
    ATTENTION,
    FIRST_CLASS,
    IN_PART,
    KV,
    PROMPT,
    Backlog,
    Classes,
)
from planner.clairvoyant.envelope import Envelope
from planner.clairvoyant.needs import NOTHING_SHARED, Sharing, needs_of
from planner.clairvoyant.planes import Solver, Terms, lowest
from planner.clairvoyant.prices import Floats
from planner.clairvoyant.standing import Standing
from planner.clairvoyant.stays import Stays, stays_of
from planner.clairvoyant.turns import Turns
from planner.simulation.request import SimulatedRequest
from planner.simulation.settings import EngineSettings
from planner.slo import RequestTrace

_TOLERANCE_RATIO = 0.005
_MAX_ROUNDS = 40
_DEAREST_DECODE = 400.0  # of a decode's price at the pace of prompts: runs pack some stretches


@dataclass(frozen=True, slots=True, kw_only=True)
class NoWorse:
    """Most offline work of schedules no worse than a run.

    Attributes:
        offline_tokens: As `Replayed` counts them.
        window_s: The window's length.
        gap_ratio: The best prices would lower the bound by about so much of it, at most.
        is_all: Whether it is all the batch there is.
    """

    offline_tokens: int
    window_s: float
    gap_ratio: float
    is_all: bool

    @property
    def offline_tokens_per_s(self) -> float:
        """Throughput over the window."""
        return self.offline_tokens / self.window_s


def no_worse_bound(
    *,
    online: Sequence[SimulatedRequest],
    served: Sequence[RequestTrace],
    offline: Sequence[SimulatedRequest],
    standing: Standing,
    settings: EngineSettings,
    envelope: Envelope,
    from_s: float,
    to_s: float,
    solve: Solver,
) -> NoWorse:
    """Bounds the offline work of any schedule no worse than a run.

    Args:
        online: In order of arrival.
        served: `Replayed.online` of the run: of those sent in the window, in the same order.
        offline: In the order they are sent; more than can be done.
        standing: Of the same, in the run.
        settings: The engine.
        envelope: Of the noiseless truth on that engine, with these requests.
        from_s: The window's begin.
        to_s: Its end.
        solve: Solves linear programmes; a wrong answer makes the bound looser, not wrong.

    Raises:
        ValueError: An empty window or one without end, or traces of other requests.
    """
    if not 0.0 <= from_s < to_s < inf:
        raise ValueError(f"window [{from_s}, {to_s}): must begin at or after 0, end, not be empty")
    measured = [request for request in online if from_s <= request.at_s < to_s]
    if [request.at_s for request in measured] != [trace.scheduled_s for trace in served]:
        raise ValueError(
            f"no_worse_bound: {len(served)} traces, {len(measured)} requests sent in the window; "
            "give the traces of these, in their order"
        )
    sharing = NOTHING_SHARED
    if settings.caches_prefixes:
        sharing = Sharing.of(online=online, offline=offline, from_s=from_s)
        sharing = sharing.with_begun(offline, begun=standing.prompt_before > 0.0)
    needs = needs_of(offline, envelope=envelope, sharing=sharing)
    classes = Classes.by_prompt(needs, envelope=envelope)
    stays = stays_of(
        needs_of(measured, envelope=envelope, sharing=sharing),
        served,
        envelope=envelope,
        begin_s=min(standing.busy_until_s, to_s),
        to_s=to_s,
    )
    relaxation = _Relaxation(
        stays=stays,
        backlog=Backlog(needs, standing=standing, envelope=envelope, classes=classes),
        turns=Turns(envelope, kv_tokens=settings.kv_tokens, stays=stays, classes=classes),
        classes=classes,
        online_repeats=standing.online_repeats,
    )
    most, start = relaxation.box(envelope, kv_tokens=settings.kv_tokens)
    best = lowest(
        relaxation.evaluate,
        most=most,
        start=start,
        solve=solve,
        tolerance_ratio=_TOLERANCE_RATIO,
        max_rounds=_MAX_ROUNDS,
        known=relaxation.known(),
    )
    supply = needs.tokens.sum() - standing.prompt_before.sum() - standing.output_before.sum()
    supply += standing.free_tokens
    tokens = min(floor(supply + 1e-6), max(0, floor(best.value * (1.0 + 1e-9) + 1e-6)))
    return NoWorse(
        offline_tokens=tokens,
        window_s=to_s - from_s,
        gap_ratio=max(0.0, best.value - best.below) / max(best.value, 1.0),
        is_all=tokens >= floor(supply + 1e-6),
    )


class _Relaxation:
    """The Lagrangian: a term for each stretch, one for the batch, one for what online takes.

    Prices are those of `Backlog`, and by groups of online requests those of a decode, of a
    prompt token, and of attention beside.
    """

    def __init__(
        self,
        *,
        stays: Stays,
        backlog: Backlog,
        turns: Turns,
        classes: Classes,
        online_repeats: int,
    ) -> None:
        self._stays, self._backlog, self._turns = stays, backlog, turns
        self._repeats = online_repeats
        groups, common = stays.groups, FIRST_CLASS + len(classes)
        self._common = common
        self._decode = slice(common, common + groups)
        self._prompt = slice(common + groups, common + 2 * groups)
        self._rest = slice(common + 2 * groups, common + 3 * groups)
        self._size = common + 3 * groups
        needed = np.zeros(self._size)
        needed[PROMPT], needed[KV] = stays.other_prompt, stays.kv
        needed[ATTENTION] = stays.prompt_ms
        for prices, amounts in (
            (self._decode, stays.decodes),
            (self._prompt, stays.prompt),
            (self._rest, stays.rest_ms),
        ):
            needed[prices] = np.bincount(stays.group, weights=amounts, minlength=groups)
        self._needed = needed

    def box(self, envelope: Envelope, *, kv_tokens: int) -> tuple[Floats, Floats]:
        """How high prices are looked for, and where the search begins."""
        fastest = float((envelope.prompt / envelope.floor_ms).max()) or 1.0  # tokens a ms
        decode = envelope.least_decode_ms * fastest
        most, start = np.zeros(self._size), np.zeros(self._size)
        most[PROMPT], start[PROMPT] = 2.0, 0.8
        most[KV] = 4.0 * decode / kv_tokens
        most[ATTENTION], start[ATTENTION] = 8.0 * fastest, 0.8 * fastest
        most[IN_PART], start[IN_PART] = 1.0, 0.3
        most[FIRST_CLASS : self._common], start[FIRST_CLASS : self._common] = 4.0 * decode, fastest
        most[self._decode], start[self._decode] = _DEAREST_DECODE * decode, decode / 4.0
        most[self._prompt], start[self._prompt] = 50.0, 0.8
        most[self._rest], start[self._rest] = 50.0 * fastest, 0.8 * fastest
        return most, start

    def known(self) -> list[tuple[int, Floats]]:
        """A stretch is worth at least what attention is worth in it."""
        lengths_ms, planes = self._stays.lengths_ms, []
        for stretch, row in enumerate(self._stays.decodes_in):
            groups = np.unique(self._stays.group[row])
            for price in (ATTENTION, *(self._rest.start + groups)):
                plane = np.zeros(self._size)
                plane[price] = lengths_ms[stretch]
                planes.append((stretch, plane))
        return planes

    def evaluate(self, prices: Floats) -> Terms:
        """The bound at these prices, term by term."""
        stays, common = self._stays, self._common
        decode = prices[self._decode][stays.group]
        prompt = prices[self._prompt][stays.group]
        turns = self._turns.best(prices[:common], decode=decode, prompt=prompt)
        count = len(turns)
        values, gradients = np.zeros(count + 2), np.zeros((count + 2, self._size))
        for stretch, turn in enumerate(turns):
            gradient = gradients[stretch]
            dearest, per_ms = self._dearest_rest(prices, stretch)
            if per_ms > turn.per_ms:
                gradient[dearest] = 1.0
            else:
                per_ms = turn.per_ms
                which = PROMPT
                if turn.prompt_request is not None:
                    which = self._prompt.start + int(stays.group[turn.prompt_request])
                gradient[which] += turn.prompt
                gradient[KV] += turn.passes * self._turns.kv_tokens
                np.add.at(gradient, self._decode.start + stays.group[turn.rows], turn.passes)
                gradient[FIRST_CLASS:common] += turn.offline_rows
            values[stretch] = per_ms * stays.lengths_ms[stretch]
            gradient *= stays.lengths_ms[stretch]
        values[count], gradients[count, :common] = self._backlog.best(prices[:common])
        values[count + 1] = -float(self._needed @ prices)
        gradients[count + 1] = -self._needed
        if self._repeats and stays.groups:
            # Each spares a decode of some request.
            cost = decode + prices[KV] * stays.last_kv
            cost = cost + prices[self._rest][stays.group] * stays.last_rest_ms
            dearest = int(np.argmax(cost))
            group, spared = int(stays.group[dearest]), np.zeros(self._size)
            spared[KV] = stays.last_kv[dearest]
            spared[self._decode.start + group] = 1.0
            spared[self._rest.start + group] = stays.last_rest_ms[dearest]
            values[count + 1] += self._repeats * float(cost[dearest])
            gradients[count + 1] += self._repeats * spared
        return Terms(values=values, gradients=gradients)

    def _dearest_rest(self, prices: Floats, stretch: int) -> tuple[int, float]:
        """The best that a millisecond of attention does in a stretch."""
        groups = self._stays.group[self._stays.decodes_in[stretch]]
        places = np.append(self._rest.start + groups, ATTENTION)
        best = int(np.argmax(prices[places]))
        return int(places[best]), float(prices[places[best]])
