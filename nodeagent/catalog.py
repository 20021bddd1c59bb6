"""Models this node can read.

Owns what is known of model folders, read off the event loop and kept. Refuses to keep an
error for long: a folder may be on its way here.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from nodeagent.codec import model_folder
from nodeagent.models.facts import ModelFacts, ModelFolderError, read_model_facts

_ERROR_KEPT_S = 10.0


class Catalog:
    """Facts of models by the name deployments give them."""

    def __init__(self, models_dir: Path) -> None:
        self._models_dir = models_dir
        self._facts: dict[str, ModelFacts | str] = {}
        self._read_s: dict[str, float] = {}

    def known(self) -> dict[str, ModelFacts | str]:
        """Facts, or why there are none, of every model asked for."""
        return dict(self._facts)

    async def facts(self, model: str) -> ModelFacts | str:
        """Facts of one model, or one sentence why it cannot be served."""
        now_s = time.monotonic()
        known = self._facts.get(model)
        if isinstance(known, ModelFacts):
            return known
        if known is None or now_s - self._read_s[model] > _ERROR_KEPT_S:
            self._read_s[model] = now_s
            self._facts[model] = await asyncio.to_thread(self._read, model)
        return self._facts[model]

    async def refresh(self, wanted: Sequence[str]) -> None:
        """Makes sure that every wanted model is known."""
        for model in wanted:
            await self.facts(model)

    def _read(self, model: str) -> ModelFacts | str:
        try:
            return read_model_facts(model_folder(model, models_dir=self._models_dir))
        except (ModelFolderError, ValueError, OSError) as error:
            return f"model {model}: {error}"
