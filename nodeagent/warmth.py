"""Models whose weights are warm on this host.

Warm means: of a model's `*.safetensors` files, at least `WARM_FROM` of the pages lie in the
host's page cache, by samples; so a replica of it starts without reading a disk or a network.
It stays warm down to `WARM_WHILE`, so that a file on the edge commits no change a minute.
Owns when to look, and what was found. Looks at models that were asked for and at the folders
of the model folder, whoever read them last: a page cache outlives engines and agents.
Refuses to guess: a model whose pages the kernel does not tell of is not warm, and one line
says so. Invariants: looking blocks no event loop, warms nothing, and fails alone.
"""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from nodeagent.models.facts import ModelFacts
from nodeagent.residency import resident_ratio

_log = logging.getLogger(__name__)

WARM_FROM = 0.95
WARM_WHILE = 0.80
MOST_MODELS = 256
"""As many as a control plane takes of a node."""
_INTERVAL_S = 20.0


class Warmth:
    """The warm models of this node; `run` in a task of its own.

    Args:
        models_dir: folder of model folders; each is known by its name.
        asked: facts of models by the name deployments give them.
        on_change: called when `models` differs.
        ratio: how much of some files is in the page cache; None: not known.
    """

    def __init__(
        self,
        *,
        models_dir: Path,
        asked: Callable[[], Mapping[str, ModelFacts | str]],
        on_change: Callable[[], None] = lambda: None,
        ratio: Callable[[list[Path]], float | None] = resident_ratio,
    ) -> None:
        self._models_dir = models_dir
        self._asked = asked
        self._on_change = on_change
        self._ratio = ratio
        self._unknown: set[str] = set()
        self.models: tuple[str, ...] = ()
        """Sorted, as DeploymentSpec.model."""

    async def run(self) -> None:
        """Looks until cancelled."""
        while True:
            await asyncio.sleep(_INTERVAL_S)
            await self.look()

    async def look(self) -> None:
        """Looks once."""
        asked = {
            name: facts.path
            for name, facts in self._asked().items()
            if isinstance(facts, ModelFacts)
        }
        found = await asyncio.to_thread(self._warm, asked, frozenset(self.models))
        if found != self.models:
            _log.info("warm_models_changed models=%s", ",".join(found) or "none")
            self.models = found
            self._on_change()

    def _warm(self, asked: Mapping[str, Path], before: frozenset[str]) -> tuple[str, ...]:
        folders = dict(sorted((_folders(self._models_dir) | dict(asked)).items())[:MOST_MODELS])
        return tuple(
            name
            for name, folder in folders.items()
            if self._share(name, folder) >= (WARM_WHILE if name in before else WARM_FROM)
        )

    def _share(self, name: str, folder: Path) -> float:
        """Of its weights in the page cache; 0 where it is not known."""
        try:
            files = sorted(folder.glob("*.safetensors"))
            share = self._ratio(files) if files else 0.0
            why = "its files are neither owned nor writable by the agent" if share is None else ""
        except OSError as error:
            share, why = None, str(error)
        if share is not None:
            self._unknown.discard(name)
            return share
        if name not in self._unknown:
            self._unknown.add(name)
            _log.warning(
                "warmth_unknown model=%s reason=%r remedy='run the agent as the owner of the"
                " model folder; until then the model counts as cold'", name, why,
            )  # fmt: skip
        return 0.0


def _folders(models_dir: Path) -> dict[str, Path]:
    """Model folders by name."""
    return {one.parent.name: one.parent for one in _configs(models_dir)}


def _configs(models_dir: Path) -> Iterable[Path]:
    try:
        return sorted(models_dir.glob("*/config.json"))
    except OSError:
        return ()
