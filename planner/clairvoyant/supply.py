"""What offline work is worth doing, at given prices.

Owns the choice among offline requests. In a closed loop of `in_flight` requests, at most so
many have been sent and not ended at any time. Of the requests in the order they are sent,
those sent in the window are consecutive. The window

- finds at most `in_flight` of those sent before, unended; each is done from somewhere on;
- does all that are sent in it, and those, in full, but for
- at most `in_flight` unended at its end: not begun, or done in part. What is done of the
  latter is in KV at the end, of which there is so much, but for requests that gave it up.

Where it is known how far requests overtake each other (`spread`), those unended at a time are
among the last so many sent.

How many can have ended by a time, and so have been sent, follows from the least time they
take. Where nothing bounds how many are begun, all may be done in part: a scheduler may then
compute prompts and leave all outputs. Prices of a request's tokens rise with their position,
so the best part of a prompt, and of an output, is its beginning.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from planner.clairvoyant.envelope import Envelope
from planner.clairvoyant.needs import Needs
from planner.clairvoyant.prices import Floats, Prices, amounts, upto


@dataclass(frozen=True, slots=True, kw_only=True)
class Harvest:
    """The best choice.

    Attributes:
        value: Offline tokens done, less what they cost.
        amounts: What they take, (8,).
    """

    value: float
    amounts: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedLoop:
    """What is known of the client.

    Attributes:
        in_flight: Most requests sent and not ended; None: any number.
        from_ms: How long before the window it began.
        to_ms: When the window ends, after that.
        kv_tokens: What parts of requests can hold at the end, where `given_up` is known.
        given_up: Most requests begun and not ended, without KV, at the window's end; None:
            any number.
        spread: An unended request and the last one sent are less than so many apart; None:
            any number.
    """

    in_flight: int | None
    from_ms: float
    to_ms: float
    kv_tokens: int
    given_up: int | None
    spread: int | None


class Supply:
    """The offline requests of a workload."""

    def __init__(self, needs: Needs, *, envelope: Envelope, loop: ClosedLoop) -> None:
        """Keeps those that can have been sent.

        Args:
            needs: Of the requests, in the order they are sent.
            envelope: Says what attention costs.
            loop: Who sends them.
        """
        self._needs, self._envelope, self._loop = needs, envelope, loop
        self._amounts = needs.prompt_amounts() + needs.offline_decode_amounts()
        self._begins_late = loop.from_ms > 0.0
        self._sent_before = self._most_sent(loop.from_ms) if self._begins_late else 0
        self._sent = self._most_sent(loop.to_ms)

    def _most_sent(self, until_ms: float) -> int:
        """How many can have been sent: those ended by then, and as many as are in flight."""
        needs, envelope, in_flight = self._needs, self._envelope, self._loop.in_flight
        count = len(needs.prompt)
        if in_flight is None:
            return count
        a_token_ms = (envelope.floor_ms / (envelope.prompt + envelope.rows)).min()
        shared = needs.prompt - needs.alone
        least_ms = a_token_ms * (needs.alone + needs.decodes) + needs.decode_ms
        least_ms = least_ms + envelope.pair_ms * (needs.prompt**2 - shared**2) / 2.0
        low, high = 0, count  # ended
        while low < high:
            ended = (low + high + 1) // 2
            shortest = np.sort(least_ms[: in_flight + ended])[:ended]
            low, high = (ended, high) if shortest.sum() <= until_ms else (low, ended - 1)
        return min(count, in_flight + low)

    def best(self, prices: Prices) -> Harvest:
        """The choice that is worth most."""
        in_flight = self._loop.in_flight
        if in_flight is None or not len(self._needs.prompt):
            value, part = self._found(prices) if self._begins_late else self._left(prices)
            return Harvest(value=float(value.sum()), amounts=part.sum(axis=0))
        spread = self._loop.spread
        full = (self._needs.tokens - self._amounts @ prices.values())[: self._sent]
        sums = np.concatenate([[0.0], np.cumsum(full)])
        rest, rest_amounts = self._rest(prices)
        before = _largest_sums(rest[: self._sent_before], in_flight, among=spread)
        unended = self._unended(prices, full=full, rest=rest)
        gained = sums + _largest_sums(unended.gain, in_flight, among=spread)
        # From each first request sent in the window on: the best last one.
        ahead = np.maximum.accumulate(gained[::-1])[::-1]
        first = int(np.argmax(before + ahead[: len(before)] - sums[: len(before)]))
        last = first + int(np.argmax(gained[first:]))
        found = _largest(
            rest, in_flight, before=first if spread else self._sent_before, among=spread
        )
        left = _largest(
            unended.gain, in_flight, before=last if spread else self._sent, among=spread
        )
        return Harvest(
            value=float(before[first] + gained[last] - sums[first] + unended.value),
            amounts=self._amounts[first:last].sum(axis=0)
            + rest_amounts[found].sum(axis=0)
            + unended.gain_amounts[left].sum(axis=0)
            + unended.amounts,
        )

    def _unended(self, prices: Prices, *, full: Floats, rest: Floats) -> "_Unended":
        """What requests that are not ended gain, against being done in full."""
        in_flight, given_up = self._loop.in_flight or 0, self._loop.given_up
        own, early = self._amounts[: self._sent], slice(0, self._sent_before)
        part, taken = (array[: self._sent] for array in self._left(prices))
        begun, begun_taken = (array[early] for array in self._found(prices))
        if given_up is None:
            gain, taken = part - full, taken - own
            is_better = begun - rest[early] > gain[early]
            gain[early] = np.maximum(gain[early], begun - rest[early])
            taken[early][is_better] = begun_taken[is_better]
            return _Unended(gain=gain, gain_amounts=taken, value=0.0, amounts=amounts())
        # Not begun at all; or in part with its KV there: a token each, and what KV holds.
        cheapest = min(prices.prompt, prices.offline_decode)
        kv = float(self._loop.kv_tokens) if cheapest < 1.0 else 0.0
        is_prompt = prices.prompt <= prices.offline_decode
        held = amounts(prompt=kv) if is_prompt else amounts(offline_decode=kv)
        value = in_flight + kv * (1.0 - cheapest)
        # Or in part and given up.
        is_better = begun > part[early]
        part, taken = part.copy(), taken.copy()
        part[early] = np.maximum(part[early], begun)
        taken[early][is_better] = begun_taken[is_better]
        chosen = _largest(part, given_up, before=self._sent, among=None)
        return _Unended(
            gain=-full,
            gain_amounts=-own,
            value=value + float(part[chosen].sum()),
            amounts=held + taken[chosen].sum(axis=0),
        )

    def _rest(self, prices: Prices) -> tuple[Floats, Floats]:
        """Worth and amounts of what a found request may have left to its end: any of it.

        Worth falls with the position in the prompt, and in the output; so the best end is
        nothing, the output, or everything.
        """
        needs, values = self._needs, prices.values()
        shared = needs.prompt - needs.alone
        output = needs.offline_decode_amounts()
        whole = output + amounts(
            prompt=needs.alone,
            attention=self._envelope.pair_ms * (needs.prompt**2 - shared**2) / 2.0,
        )
        worth = np.stack(
            [np.zeros(len(shared)), needs.output - output @ values, needs.tokens - whole @ values]
        )
        which = np.argmax(worth, axis=0)
        taken = np.stack([np.zeros_like(output), output, whole])
        each = np.arange(len(shared))
        return worth[which, each], taken[which, each]

    def _left(self, prices: Prices) -> tuple[Floats, Floats]:
        """Worth and amounts of the best part of each: of its prompt, or all that and more."""
        needs = self._needs
        end, prompt = self._prompts(prices, computed=needs.computed)
        decodes, decode = self._decodes(prices)
        values = prices.values()
        some = end - prompt @ values
        whole_amounts = needs.prompt_amounts() + decode
        whole = needs.prompt + 1.0 + decodes - whole_amounts @ values
        is_whole = whole > some
        return np.where(is_whole, whole, some), np.where(is_whole[:, None], whole_amounts, prompt)

    def _found(self, prices: Prices) -> tuple[Floats, Floats]:
        """Likewise of one begun before: its outputs do not take its prompt."""
        # Others may have computed all that it shares.
        end, prompt = self._prompts(prices, computed=self._needs.alone)
        decodes, decode = self._decodes(prices)
        taken = prompt + decode
        return end + 1.0 + decodes - taken @ prices.values(), taken

    def _prompts(self, prices: Prices, *, computed: Floats) -> tuple[Floats, Floats]:
        """The best part of each prompt: where it ends, and what it takes."""
        pair = self._envelope.pair_ms
        cached = self._needs.prompt - computed
        fall = prices.attention * pair
        done = upto(gain=1.0 - prices.prompt - fall * cached, fall=fall, most=computed)
        end = cached + done
        return end, amounts(prompt=done, attention=pair * (end**2 - cached**2) / 2.0)

    def _decodes(self, prices: Prices) -> tuple[Floats, Floats]:
        """The best number of decodes, and what they take."""
        needs, context = self._needs, self._envelope.context_ms
        fall = prices.attention * context + prices.kv
        gain = (
            1.0
            - prices.offline_decode
            - prices.attention * context * needs.prompt
            - prices.kv * needs.private
        )
        # Whole numbers: the nearest to where the parabola is highest.
        decodes = np.floor(upto(gain=gain - fall / 2.0, fall=fall, most=needs.decodes) + 0.5)
        decodes = np.minimum(decodes, needs.decodes)
        ordinals = decodes * (decodes + 1.0) / 2.0
        taken = amounts(
            offline_decode=decodes,
            kv=decodes * needs.private + ordinals,
            attention=context * (decodes * needs.prompt + ordinals),
        )
        return decodes, taken


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unended:
    """What requests gain by not being ended; amounts are what they take more."""

    gain: Floats  # each, if it is one of them
    gain_amounts: Floats
    value: float  # all of them together, beside
    amounts: Floats


def _largest(values: Floats, count: int, *, before: int, among: int | None) -> NDArray[np.intp]:
    """Where the largest positive ones are, of the last `among` before a place."""
    start = 0 if among is None else max(0, before - among)
    order = start + np.argsort(-values[start:before], kind="stable")[:count]
    return order[values[order] > 0.0]


def _largest_sums(values: Floats, count: int, *, among: int | None) -> Floats:
    """By place: what the `count` largest positive of the `among` values before add up to.

    Where any may be among them, the largest of all, whatever the place.
    """
    positive = np.maximum(0.0, values)
    if among is None:
        return np.full(len(values) + 1, np.sort(positive)[::-1][:count].sum())
    if not len(values) or not count:
        return np.zeros(len(values) + 1)
    padded = np.concatenate([np.zeros(among), positive])
    windows = np.lib.stride_tricks.sliding_window_view(padded, among)
    if among > count:
        windows = np.partition(windows, among - count, axis=1)[:, among - count :]
    sums: Floats = windows.sum(axis=1)
    return sums
