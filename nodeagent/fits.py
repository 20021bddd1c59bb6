"""Latency models fitted on this node.

Owns which model is in force for each engine identity, so that a restarted engine starts
from what was learnt. Refuses models that are not better on held-out samples: that is the
fit's verdict. `refit` blocks; call it off the event loop.
"""

import logging
from collections.abc import Sequence

from planner.latency.fit import fit
from planner.latency.predictor import LatencyModel
from planner.latency.sample import IterationSample

_log = logging.getLogger(__name__)


class FittedModels:
    """Accepted models by engine identity, see `planner.latency.predictor.identity_of`."""

    def __init__(self) -> None:
        self._models: dict[str, LatencyModel] = {}
        self._accepted: dict[str, int] = {}

    def fitted(self, identity: str) -> LatencyModel | None:
        """The model accepted for that identity; None while the default is used."""
        return self._models.get(identity)

    def refit(
        self, identity: str, samples: Sequence[IterationSample], *, default: LatencyModel
    ) -> None:
        """Fits from samples, oldest first; keeps the incumbent unless the fit is accepted.

        Args:
            identity: of the engine the samples come from.
            samples: measured iterations.
            default: the incumbent where nothing was accepted yet.
        """
        count = self._accepted.get(identity, 0) + 1
        incumbent = self._models.get(identity, default)
        outcome = fit(samples, identity=f"{identity}|fit{count}", incumbent=incumbent)
        if outcome.model is None:
            _log.debug("latency_fit_kept identity=%s cause=%r", identity, outcome.reason)
            return
        self._models[identity] = outcome.model
        self._accepted[identity] = count
        _log.info("latency_fit_accepted identity=%s samples=%d", identity, len(samples))
