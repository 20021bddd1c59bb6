"""Frontiers derived in the background: which is next, its process, and where it is kept.

Owns the process and what became of each question. Refuses to simulate anything here: a
derivation takes seconds of a core, so it runs in a process of its own, at the lowest
priority, killable, with limits, and rounds go on with the default meanwhile. Invariants: what
was derived once is read from the store by this leader and all later ones; a question that
failed is asked again only after `AGAIN_S`; the process lives while there is work for it; a
frontier that some deployment needs is never dropped, others `KEPT_S` after they were needed.
"""

import asyncio
import json
import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from sys import executable

from slacktide.wire.errors import Refusal

from controlplane.feed import StateFeed
from controlplane.rounds.frontiers import (
    FrontierBook,
    Origin,
    Question,
    missing,
    needed,
    origins,
)
from controlplane.rounds.solver_child import SolverChild
from controlplane.rounds.solver_limits import SolverLimits
from controlplane.stored import stored
from planner.model import Frontier
from storage.codecs import from_json, to_json
from storage.forecast_records import FrontierRecord, FrontierSource
from storage.records import FleetView
from storage.store import FleetStore

_log = logging.getLogger(__name__)

COMMAND = (executable, "-m", "controlplane.rounds.frontier_process")
LIMITS = SolverLimits(memory_bytes=1 << 30, start_s=60.0, niceness=15, cpu_per_s=1)
"""Measured: 7 s of a core and 80 MiB for one frontier."""
DERIVE_S = 300.0
"""Wall time of one: at the lowest priority beside busy neighbours it gets little of a core."""
AGAIN_S = 600.0
KEPT_S = 7 * 86_400.0
"""A deployment deleted and applied again within a week finds its frontiers."""
_TEND_S = 3600.0  # how far behind the stored time of need may be
_LOOK_S = 60.0
_RETRY_S = 5.0


class FrontierDeriver:
    """The leader's.

    Args:
        store: keeps frontiers.
        feed: what the fleet has need of.
        epoch: the leader's.
        request_round: asks for a round once there is something new to decide with.
        command: what to run; it speaks as `frontier_process` does.
        book: how closely to look.
    """

    def __init__(
        self,
        *,
        store: FleetStore,
        feed: StateFeed,
        epoch: int,
        request_round: Callable[[str], None],
        command: Sequence[str] = COMMAND,
        book: FrontierBook | None = None,
    ) -> None:
        self._store = store
        self._feed = feed
        self._epoch = epoch
        self._request_round = request_round
        self._command = tuple(command)
        self._child: SolverChild | None = None
        self._not_before_s: dict[str, float] = {}
        self._tended_s = -math.inf
        self._told: frozenset[tuple[str, str]] = frozenset()
        self.book = book or FrontierBook()

    async def load(self) -> None:
        """Reads what is known already.

        Raises:
            Refusal: the store cannot be read.
        """
        measured: dict[str, Frontier] = {}
        derived: dict[str, Frontier] = {}
        for record in await stored(self._store.list_frontiers):
            try:
                frontier = from_json(Frontier, json.loads(record.body))
            except ValueError as error:
                _log.error("frontier_unreadable key=%s message=%r", record.key, str(error))
                continue
            known = measured if record.source is FrontierSource.MEASURED else derived
            known[record.key] = frontier
        self.book = replace(self.book, measured=measured, derived=derived)

    async def run(self) -> None:
        """Derives what is missing, drops what nobody needs, until cancelled or superseded.

        Raises:
            Refusal: STALE_EPOCH, another leader took over.
        """
        try:
            while not self._feed.is_closed:
                view = self._feed.view
                self._tell(origins(view, self.book))
                question = self._next()
                try:
                    if question is None:
                        await self.close()
                        await self._tend_when_due(view)
                    else:
                        await self.derive(question)
                except Refusal as refusal:
                    if refusal.reason == "STALE_EPOCH":
                        raise
                    _log.error("frontier_not_stored reason=%s message=%s", refusal.reason, refusal)
                    await asyncio.sleep(_RETRY_S)
                    continue
                except Exception:  # noqa: BLE001 - rounds go on with the default
                    _log.exception("frontier_alert question=%s", question)
                    if question is not None:
                        self._put_off(question)
                if question is None:
                    await self._feed.after(view.state.revision, timeout_s=_LOOK_S)
        finally:
            await self.close()

    async def derive(self, question: Question) -> bool:
        """Derives one frontier and keeps it; says whether it could.

        Raises:
            Refusal: the store could not, or STALE_EPOCH.
        """
        started_s = time.monotonic()
        frontier = await self._ask(question)
        if isinstance(frontier, str):
            self._put_off(question)
            _log.error("frontier_failed key=%s message=%r", question.key, frontier)
            return False
        now_s = time.time()
        record = FrontierRecord(
            key=question.key,
            source=FrontierSource.DERIVED,
            body=json.dumps(to_json(frontier)),
            create_s=now_s,
            need_s=now_s,
        )
        await stored(self._store.run, lambda state: state.put_frontier(record), epoch=self._epoch)
        self.book = replace(self.book, derived={**self.book.derived, question.key: frontier})
        _log.info(
            "frontier_derived key=%s source=%r max_online_work=%.0f wall_s=%.1f",
            question.key,
            frontier.source,
            frontier.max_online_work,
            time.monotonic() - started_s,
        )
        self._request_round(f"frontier derived for {question.model} on {question.device}")
        return True

    async def tend(self, view: FleetView, *, now_s: float) -> None:
        """Notes what the fleet needs, and drops what nobody has needed for `KEPT_S`.

        Args:
            view: The fleet.
            now_s: Unix seconds.

        Raises:
            Refusal: the store could not, or STALE_EPOCH.
        """
        keys = needed(view, self.book)
        dropped = await stored(
            self._store.run,
            lambda state: state.keep_frontiers(keys, now_s=now_s, kept_s=KEPT_S),
            epoch=self._epoch,
        )
        if not dropped:
            return
        derived = {key: one for key, one in self.book.derived.items() if key not in dropped}
        self.book = replace(self.book, derived=derived)
        _log.info("frontiers_dropped keys=%s kept_s=%.0f", ",".join(dropped), KEPT_S)

    async def _tend_when_due(self, view: FleetView) -> None:
        if time.monotonic() - self._tended_s >= _TEND_S:
            await self.tend(view, now_s=time.time())
            self._tended_s = time.monotonic()

    async def close(self) -> None:
        """Kills the process, if there is one."""
        child, self._child = self._child, None
        if child is not None:
            await child.kill()

    async def _ask(self, question: Question) -> Frontier | str:
        """The answer of the process, or what went wrong with it."""
        if self._child is None:
            try:
                self._child = await SolverChild.start(self._command, LIMITS)
            except OSError as error:
                return f"{self._command[0]}: {error}"
        child = self._child
        watch = asyncio.create_task(child.watch())
        try:
            async with asyncio.timeout(DERIVE_S + LIMITS.start_s):
                child.allow_cpu(DERIVE_S + LIMITS.start_s)
                await child.send(json.dumps(to_json(question)).encode())
                while True:
                    line = await child.line()
                    if not line.endswith(b"\n"):
                        fault = str(await child.ending())
                        break
                    answer = json.loads(line)
                    if "frontier" in answer:
                        return from_json(Frontier, answer["frontier"])
                    if "error" in answer:
                        return str(answer["error"])[:300]
        except TimeoutError:
            fault = f"no answer within {DERIVE_S:g} s"
        except (ValueError, TypeError, OSError, RuntimeError) as error:
            fault = f"{type(error).__name__}: {error}"
        finally:
            watch.cancel()
            await asyncio.wait((watch,))
        await self.close()
        return fault

    def _next(self) -> Question | None:
        now_s = time.monotonic()
        return next(
            (
                one
                for one in missing(self._feed.view, self.book)
                if self._not_before_s.get(one.key, now_s) <= now_s
            ),
            None,
        )

    def _put_off(self, question: Question) -> None:
        self._not_before_s[question.key] = time.monotonic() + AGAIN_S

    def _tell(self, known: Sequence[Origin]) -> None:
        """Says once where the frontiers of replicas are from, and why some are assumed."""
        said = {}
        for one in known:
            wanted = one.wanted
            what = (
                f"deployment={wanted.deployment} device_type={wanted.device_type!r}"
                f" tensor_parallel_size={wanted.tensor_parallel_size}"
                f" slo_class={wanted.slo_class!r} source={one.source.value}"
            )
            said[what, one.why] = one
        for what, why in said.keys() - self._told:
            _log.info("frontier_source %s why=%r", what, why)
        self._told = frozenset(said)
