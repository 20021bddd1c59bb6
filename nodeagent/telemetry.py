"""What one engine tells of itself, second by second.

Owns reading the plugin's state, remembering its iterations for the latency fit, and
holding the engine to its settings: budgets and coefficients are compared with what the
engine reports and sent again where they differ, so a restarted engine heals by itself.
Holds its predictions against what was measured (`drift`), where the model in force is
one fitted here. Refuses to admit an engine whose plugin is absent or of another version:
it says so once in the log, and in `refusal` as long as it lasts.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from nodeagent.engine.client import EngineClient
from nodeagent.fits import FittedModels
from nodeagent.plugin_contract import (
    ContractError,
    MeasuredIteration,
    PluginState,
    encode_budgets,
    encode_model,
    model_fingerprint,
    parse_plugin_state,
    parse_refusal,
)
from nodeagent.status import IterationSummary, summarize_iterations
from planner.batching.state import Budgets
from planner.latency.predictor import LatencyModel
from planner.latency.sample import IterationSample
from planner.latency.window import SampleWindow
from planner.rollout.drift_hold import DriftHold, DriftSettings

_log = logging.getLogger(__name__)

_REFIT_INTERVAL_S = 20.0
_FIRST_FIT_INTERVAL_S = 5.0  # while a default is in force, which offline work hardly trusts
_MOST_UNREPORTED = 4_000


class Telemetry:
    """One replica's view of its engine.

    Args:
        replica: id, for logs.
        identity: what the engine's latency model is keyed by, see `identity_of`.
        default: the latency model until one is fitted.
        models: fitted models of this node.
        drift: when its predictions are too far off.
    """

    def __init__(
        self,
        *,
        replica: str,
        identity: str,
        default: LatencyModel,
        models: FittedModels,
        drift: DriftSettings | None = None,
    ) -> None:
        self._replica = replica
        self._identity = identity
        self._default = default
        self._models = models
        self._samples = SampleWindow()
        self._unreported: deque[MeasuredIteration] = deque(maxlen=_MOST_UNREPORTED)
        self._sequence = -1
        self._fitted_s: float | None = None
        self._client: EngineClient | None = None
        self.state: PluginState | None = None
        self.heard_s: float | None = None
        self.refusal = "engine is not ready"
        self.drift = DriftHold(replica=replica, settings=drift)

    @property
    def model(self) -> LatencyModel:
        """The latency model in force."""
        return self._models.fitted(self._identity) or self._default

    def age_s(self, *, now_s: float) -> float | None:
        """Seconds since the plugin was last heard; None: never, for this engine."""
        return None if self.heard_s is None else now_s - self.heard_s

    async def poll(
        self, client: EngineClient, *, budgets: Callable[[], Budgets], now_s: float
    ) -> None:
        """Reads the engine and corrects its settings.

        Args:
            client: of the engine.
            budgets: what to hold it to, asked once the answer is known.
            now_s: when the poll began.

        Raises:
            EngineError: the engine did not answer; what was known grows stale.
        """
        if client is not self._client:
            self.forget()
            self._client = client
        info = await client.server_info()
        try:
            state = parse_plugin_state(info)
            refusal = _fault(state.fault) if state else _absence(parse_refusal(info))
        except ContractError as error:
            state, refusal = None, str(error)
        if refusal != self.refusal and refusal:
            _log.warning("offline_refused replica=%s cause=%r", self._replica, refusal)
        self.refusal = refusal
        if state is None:
            return
        self._take_in(state, now_s=now_s)
        self.state, self.heard_s = state, now_s
        await self._correct(client, state, budgets=budgets())

    async def set_budgets(self, client: EngineClient, budgets: Budgets) -> None:
        """Holds the engine to these budgets from its next iteration on.

        Raises:
            EngineError: it is unknown whether they hold; the next poll tells.
        """
        if self.state is None:
            return
        await client.set_internal_state(encode_budgets(budgets))
        _log.info(
            "budgets_set replica=%s enabled=%s latency_budget_ms=%.1f idle_budget_ms=%.1f",
            *(self._replica, budgets.enabled),
            *(budgets.latency_budget_ms, budgets.idle_budget_ms),
        )

    async def refit(self, *, now_s: float) -> None:
        """Fits the latency model anew if it is time; the next poll sends what is accepted."""
        if self._fitted_s is None:
            self._fitted_s = now_s
        is_first = self._models.fitted(self._identity) is None
        interval_s = _FIRST_FIT_INTERVAL_S if is_first else _REFIT_INTERVAL_S
        if now_s - self._fitted_s < interval_s or not len(self._samples):
            return
        self._fitted_s = now_s
        samples = self._samples.samples()
        await asyncio.to_thread(self._models.refit, self._identity, samples, default=self._default)

    def forget(self) -> None:
        """Forgets the engine; its successor counts from the start."""
        self._client = None
        self._sequence = -1
        self.state = None
        self.heard_s = None

    def take_iterations(self) -> IterationSummary:
        """Summary of the iterations since the last call."""
        iterations = tuple(self._unreported)
        self._unreported.clear()
        fitted = self._models.fitted(self._identity)
        return summarize_iterations(iterations, model_identity=fitted.identity if fitted else "")

    def _take_in(self, state: PluginState, *, now_s: float) -> None:
        """Remembers the iterations since the last poll, and judges their predictions."""
        before = self.drift.reason
        # Those of a poll that finds another model were predicted by either.
        is_either = self.drift.use(self._model_of(state), now_s=now_s)
        for iteration in state.samples_after(self._sequence):
            self._sequence = iteration.sequence
            self._unreported.append(iteration)
            self._samples.add(
                IterationSample(shape=iteration.shape, measured_ms=iteration.measured_ms)
            )
            if not is_either:
                self.drift.add(
                    iteration.shape,
                    predicted_ms=iteration.predicted_ms,
                    bound_ms=iteration.bound_ms,
                    measured_ms=iteration.measured_ms,
                )
        self.drift.judge(now_s=now_s)
        if bool(before) != bool(self.drift.reason):
            _log.warning(
                "drift_hold_changed replica=%s reason=%r", self._replica, self.drift.reason
            )

    def _model_of(self, state: PluginState) -> LatencyModel | None:
        """The fitted model in force in the engine; None where it runs another."""
        fitted = self._models.fitted(self._identity)
        if fitted is None or state.fingerprint != model_fingerprint(fitted.identity):
            return None
        return fitted

    async def _correct(self, client: EngineClient, state: PluginState, *, budgets: Budgets) -> None:
        if state.budgets != budgets:
            await self.set_budgets(client, budgets)
        fitted = self._models.fitted(self._identity)
        if fitted is not None and self._model_of(state) is None:
            await client.set_internal_state(
                encode_model(values=fitted.to_values(), identity=fitted.identity)
            )
            _log.info("latency_model_set replica=%s model=%s", self._replica, fitted.identity)


def _fault(fault: str) -> str:
    if not fault:
        return ""
    return f"scheduler plugin failed and stopped offline work: {fault}; restart the replica"


def _absence(refusal: str) -> str:
    if refusal:
        return f"scheduler plugin refused to run: {refusal}"
    return (
        "engine runs without the scheduler plugin (disabled by environment, or not installed"
        " beside sglang); offline work needs it"
    )
