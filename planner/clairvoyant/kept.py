"""A batch that ends up behind a run nowhere, as `offline_bound` asks of its supply.

Owns the translation of prices: `Backlog` speaks of decodes by class and of nothing that is
online's. Refuses choices.
"""

import numpy as np

from planner.clairvoyant.backlog import ATTENTION, FIRST_CLASS, IN_PART, KV, PROMPT, Backlog
from planner.clairvoyant.prices import Prices, amounts
from planner.clairvoyant.supply import Harvest


class Kept:
    """`Backlog` of one class, with `Supply`'s face."""

    def __init__(self, backlog: Backlog) -> None:
        """Wraps it."""
        self._backlog = backlog

    def best(self, prices: Prices) -> Harvest:
        """The choice that is worth most; tokens free of cost are among it."""
        values = np.zeros(self._backlog.columns)
        values[PROMPT], values[KV], values[ATTENTION] = prices.prompt, prices.kv, prices.attention
        values[IN_PART], values[FIRST_CLASS] = prices.in_part, prices.offline_decode
        value, gradient = self._backlog.best(values)
        taken = -gradient
        return Harvest(
            value=value,
            amounts=amounts(
                prompt=taken[PROMPT],
                offline_decode=taken[FIRST_CLASS],
                kv=taken[KV],
                attention=taken[ATTENTION],
                in_part=taken[IN_PART],
            ),
        )
