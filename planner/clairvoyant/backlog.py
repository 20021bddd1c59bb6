"""What a batch can gain in a window, if no request of it ends up behind where a run left it.

Owns the choice among offline requests of schedules that begin where the run began and, when
the window ends,

- have done of each request at least what the run had;
- have no more tokens done of requests that are not ended;
- have before the last request whose prompt is whole no more prompts that are not than the
  run had: the batch is begun in its order.

Without these a schedule looks good in a short window that takes the cheap of a batch and
leaves the dear: prompts whose outputs it owes.

A request is done to its end, or in part, with its prompt whole or not. Prices of tokens rise
with their position, so the best part is a beginning. Refuses the engine: what tokens cost is
said by prices.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from heapq import heappush, heappushpop

import numpy as np
from numpy.typing import NDArray

from planner.clairvoyant.envelope import Envelope
from planner.clairvoyant.needs import Needs
from planner.clairvoyant.prices import Floats, upto
from planner.clairvoyant.standing import Standing

PROMPT, KV, ATTENTION, IN_PART = range(4)
FIRST_CLASS = 4  # where the prices of decodes begin, one for each class of requests
_MOST_CLASSES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Classes:
    """Requests of like prompts, whose decodes cost a pass alike.

    Attributes:
        of: The class of each request.
        row_ms: What attention adds to a pass for a decode, at least.
        row_kv: KV that it holds alone, at least.
    """

    of: NDArray[np.intp]
    row_ms: Floats
    row_kv: Floats

    @classmethod
    def by_prompt(cls, needs: Needs, *, envelope: Envelope) -> "Classes":
        """As many classes as pay, each with as many requests."""
        if not len(needs.prompt):
            return cls(of=np.zeros(0, dtype=np.intp), row_ms=np.zeros(1), row_kv=np.ones(1))
        shares = np.arange(1, _MOST_CLASSES) / _MOST_CLASSES
        limits = np.unique(np.quantile(needs.prompt, shares))
        of = np.searchsorted(limits, needs.prompt, side="left")
        _, of = np.unique(of, return_inverse=True)
        count = int(of.max()) + 1
        shortest = np.array([needs.prompt[of == each].min() for each in range(count)])
        alone = np.array([needs.private[of == each].min() for each in range(count)])
        return cls(of=of, row_ms=envelope.context_ms * (shortest + 1.0), row_kv=alone + 1.0)

    @classmethod
    def alike(cls, needs: Needs) -> "Classes":
        """One class, of which a pass knows nothing."""
        of = np.zeros(len(needs.prompt), dtype=np.intp)
        return cls(of=of, row_ms=np.zeros(1), row_kv=np.ones(1))

    def __len__(self) -> int:
        return len(self.row_ms)


class Backlog:
    """The batch of one window."""

    def __init__(
        self, needs: Needs, *, standing: Standing, envelope: Envelope, classes: Classes
    ) -> None:
        """Keeps what a run did of it.

        Args:
            needs: Of the requests, in the order they are sent.
            standing: Of the same.
            envelope: Says what attention costs.
            classes: Of the same.
        """
        self._needs, self._envelope, self._classes = needs, envelope, classes
        self._standing = standing
        # What was on its way when the window began counts as done, whatever became of it.
        self._prompt = np.maximum(standing.prompt_before, standing.prompt_after)
        self._output = np.maximum(standing.output_before, standing.output_after)
        self._cached = np.maximum(needs.prompt - needs.computed, standing.prompt_before)
        self._is_whole = standing.prompt_after >= needs.prompt
        self._is_ended = standing.output_after >= needs.output
        self._in_part = float((self._prompt + self._output)[~self._is_ended].sum())
        whole = np.flatnonzero(self._is_whole)
        self._last_whole = int(whole[-1]) if len(whole) else -1
        self._passed_over = int((~self._is_whole[: self._last_whole + 1]).sum())
        self.columns = FIRST_CLASS + len(classes)

    def best(self, prices: Floats) -> tuple[float, Floats]:
        """The choice that is worth most: tokens less what they cost, and its gradient."""
        needs, standing = self._needs, self._standing
        begun = standing.prompt_before + standing.output_before
        full = self._taken(needs.prompt, needs.output)
        worth = needs.tokens - begun - full @ prices
        whole, whole_taken = self._whole(prices)
        is_part = ~self._is_ended & (whole > worth)
        worth = np.where(is_part, whole, worth)
        taken = np.where(is_part[:, None], whole_taken, full)
        part, part_taken = self._part(prices)
        part = np.where(self._is_whole, -np.inf, part)
        last, over = self._last(worth, part)
        places = np.arange(len(worth))
        is_over = (places > last) & ~self._is_whole
        is_over[list(over)] = True
        value = float(np.where(is_over, part, worth).sum())
        gradient = -np.where(is_over[:, None], part_taken, taken).sum(axis=0)
        gradient[IN_PART] += self._in_part
        value += prices[IN_PART] * self._in_part + standing.free_tokens
        repeats = standing.offline_repeats
        if repeats and len(worth):
            # Each spares a decode.
            decode = self._dearest_decode(prices)
            value, gradient = value + repeats * decode[0], gradient + repeats * decode[1]
        return value, gradient

    def _last(self, worth: Floats, part: Floats) -> tuple[int, Sequence[int]]:
        """The last whole prompt, and who before it is passed over.

        Beyond it all are in part, so each counts as what it gains by being before it.
        """
        beyond = np.where(np.isfinite(part), part, worth)
        gained = np.cumsum(worth - beyond)
        if not self._passed_over:
            sums = np.concatenate([[0.0], gained])[self._last_whole + 1 :]
            return self._last_whole + int(np.argmax(sums)), ()
        spared: list[tuple[float, int]] = []  # the largest losses, the least of them first
        total = 0.0
        best_value, best_last, best_over = -np.inf, -1, []
        for place, loss in enumerate(beyond - worth):
            if loss > 0.0 and not self._is_whole[place]:
                if len(spared) < self._passed_over:
                    heappush(spared, (float(loss), place))
                    total += float(loss)
                else:
                    dropped = heappushpop(spared, (float(loss), place))
                    total += float(loss) - dropped[0]
            if place >= self._last_whole and gained[place] + total > best_value:
                best_value, best_last = float(gained[place]) + total, place
                best_over = [entry[1] for entry in spared]
        return best_last, best_over

    def _taken(self, prompt: Floats, output: Floats) -> Floats:
        """What it takes to bring each request so far, (requests, columns)."""
        needs, envelope = self._needs, self._envelope
        found = np.minimum(self._cached, prompt)
        before = np.maximum(self._standing.output_before - 1.0, 0.0)
        after = np.maximum(output - 1.0, before)
        decodes = after - before
        ordinals = (after * (after + 1.0) - before * (before + 1.0)) / 2.0
        taken = np.zeros((len(needs.prompt), self.columns))
        taken[:, PROMPT] = prompt - found
        taken[:, KV] = decodes * needs.private + ordinals
        taken[:, ATTENTION] = envelope.pair_ms * (prompt**2 - found**2) / 2.0
        taken[:, ATTENTION] += envelope.context_ms * (decodes * needs.prompt + ordinals)
        taken[:, ATTENTION] -= decodes * self._classes.row_ms[self._classes.of]
        taken[np.arange(len(decodes)), FIRST_CLASS + self._classes.of] = decodes
        return taken

    def _whole(self, prices: Floats) -> tuple[Floats, Floats]:
        """The best part with its prompt whole, at least as far as in the run."""
        needs, envelope, classes = self._needs, self._envelope, self._classes
        least = np.maximum(self._output, 1.0)
        decode = prices[FIRST_CLASS:][classes.of]
        decode = decode - prices[ATTENTION] * classes.row_ms[classes.of]
        # Of the next decode: it reads the prompt and all outputs so far.
        a_token = prices[ATTENTION] * envelope.context_ms
        gain = 1.0 - prices[IN_PART] - decode - a_token * needs.prompt - prices[KV] * needs.private
        fall = a_token + prices[KV]
        more = upto(gain=gain - fall * (least - 0.5), fall=fall, most=needs.output - least)
        return self._in_part_at(prices, needs.prompt, least + np.maximum(more, 0.0))

    def _part(self, prices: Floats) -> tuple[Floats, Floats]:
        """The best part with its prompt in part, at least as far as in the run."""
        fall = prices[ATTENTION] * self._envelope.pair_ms
        start = np.minimum(np.maximum(self._prompt, self._cached), self._needs.prompt)
        gain = 1.0 - prices[PROMPT] - prices[IN_PART] - fall * start
        more = upto(gain=gain, fall=fall, most=self._needs.prompt - start)
        # What others computed may be found, or not be looked for.
        is_worth = (more > 0.0) | (prices[IN_PART] < 1.0)
        return self._in_part_at(
            prices, np.where(is_worth, start + more, self._prompt), self._output
        )

    def _in_part_at(self, prices: Floats, prompt: Floats, output: Floats) -> tuple[Floats, Floats]:
        taken = self._taken(prompt, output)
        taken[:, IN_PART] = prompt + output
        begun = self._standing.prompt_before + self._standing.output_before
        return prompt + output - begun - taken @ prices, taken

    def _dearest_decode(self, prices: Floats) -> tuple[float, Floats]:
        needs, classes = self._needs, self._classes
        taken = np.zeros((len(needs.prompt), self.columns))
        taken[:, KV] = needs.private + needs.output
        taken[:, ATTENTION] = self._envelope.context_ms * (needs.prompt + needs.output)
        taken[:, ATTENTION] -= classes.row_ms[classes.of]
        taken[np.arange(len(taken)), FIRST_CLASS + classes.of] = 1.0
        cost = taken @ prices
        dearest = int(np.argmax(cost))
        return float(cost[dearest]), taken[dearest]
