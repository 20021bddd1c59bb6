"""What a simulated engine must never lose: requests, tokens, KV.

Owns the checks that every run makes of itself: in constant time at each end and each pass,
and over all requests, the audit, whenever the engine asks for it. Refuses to repair: a run whose
books do not balance measures nothing, so it ends.
"""

from collections.abc import Iterable

from planner.simulation.live import LiveRequest
from planner.simulation.memory import KvMemory


class ConservationError(RuntimeError):
    """The simulation lost or invented something: a defect of it, not of the workload."""


class Ledger:
    """The books of one engine."""

    def __init__(self, memory: KvMemory) -> None:
        self.arrived = self.ended = 0
        self.offline_live = 0
        self._live: dict[str, LiveRequest] = {}
        self._memory = memory
        self._emitted_tokens = 0  # as passes settled
        self._ended_tokens = 0  # output of requests that ended

    @property
    def live(self) -> int:
        """Requests that have arrived and not ended."""
        return len(self._live)

    def arrive(self, live: LiveRequest) -> None:
        """A request comes in.

        Raises:
            ValueError: One of that rid is in the engine.
        """
        if live.rid in self._live:
            raise ValueError(f"request {live.rid}: in the engine already; rids must be unique")
        self._live[live.rid] = live
        self.arrived += 1
        self.offline_live += live.is_offline

    def end(self, live: LiveRequest) -> None:
        """A request goes out, having given up its KV.

        Raises:
            ConservationError: It ended before, or without just what it came for.
        """
        if self._live.pop(live.rid, None) is not live:
            raise ConservationError(f"request {live.rid}: ended twice, or never arrived")
        output, prompt = live.request.output_tokens, live.request.prompt_tokens
        if not output == live.generated == len(live.chunks):
            raise ConservationError(
                f"request {live.rid}: ended with {live.generated} tokens generated and "
                f"{len(live.chunks)} emitted of {output}"
            )
        if live.credited_tokens != prompt:
            raise ConservationError(
                f"request {live.rid}: ended with {live.credited_tokens} prompt tokens of {prompt}"
            )
        if live.held_tokens or live.pinned or live.in_flight:
            raise ConservationError(
                f"request {live.rid}: ended holding {live.held_tokens} tokens of KV and "
                f"{live.pinned} cached blocks, in {live.in_flight} passes"
            )
        self.ended += 1
        self.offline_live -= live.is_offline
        self._ended_tokens += output

    def settle(self, *, emitted_tokens: int) -> None:
        """A pass's results are in, with so many tokens that reached their clients.

        Raises:
            ConservationError: KV is negative or over capacity.
        """
        memory = self._memory
        held, cached, unread = memory.held_tokens, memory.cached_tokens, memory.unread_tokens
        if held < 0 or not 0 <= unread <= cached or held + cached > memory.total_tokens:
            raise ConservationError(
                f"KV: {held} tokens held, {cached} cached of which {unread} unread, "
                f"of {memory.total_tokens}"
            )
        self._emitted_tokens += emitted_tokens

    def audit(self, residents: Iterable[LiveRequest]) -> None:
        """Checks every request in the engine.

        Args:
            residents: All requests in the engine's places.

        Raises:
            ConservationError: Requests, tokens or KV do not add up.
        """
        live = self._live.values()
        if self.arrived != self.ended + len(live):
            raise ConservationError(
                f"requests: {self.arrived} arrived, {self.ended} ended, {len(live)} are live"
            )
        places = [r.rid for r in residents]
        if len(places) != len(live) or set(places) != self._live.keys():
            raise ConservationError(
                f"requests: {len(places)} in the engine's places, {len(live)} are live"
            )
        output = self._ended_tokens + sum(r.generated for r in live)
        if output != self._emitted_tokens:
            raise ConservationError(
                f"output: {self._emitted_tokens} tokens emitted, requests account for {output}"
            )
        held = sum(r.held_tokens for r in live)
        if held != self._memory.held_tokens:
            raise ConservationError(
                f"KV: {self._memory.held_tokens} tokens held, requests account for {held}"
            )
