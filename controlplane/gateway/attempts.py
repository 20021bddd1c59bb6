"""Requests sent to replicas and not answered yet.

Owns giving up on a replica the table dropped: its unanswered requests are cancelled
there, and the proxy sends them elsewhere. Refuses to touch a request that got a token:
it cannot be repeated, and an agent cut off from its control plane may well finish it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from controlplane.gateway.agents import GenerateCall
from planner.model import ReplicaState
from planner.routing.table import Route, RouteTable


@dataclass(slots=True, kw_only=True, eq=False)
class Attempt:
    """One request at one replica."""

    route: Route
    call: GenerateCall
    has_answered: bool = False
    is_dropped: bool = False


class Attempts:
    """All attempts of this gateway now."""

    def __init__(self) -> None:
        self._open: set[Attempt] = set()

    def __len__(self) -> int:
        return len(self._open)

    @contextmanager
    def hold(self, route: Route, call: GenerateCall) -> Iterator[Attempt]:
        """Registers an attempt; at the end, however it comes, its call is cancelled."""
        attempt = Attempt(route=route, call=call)
        self._open.add(attempt)
        try:
            yield attempt
        finally:
            self._open.discard(attempt)
            call.cancel()

    def addresses(self) -> set[str]:
        """Agents that hold one of the attempts."""
        return {attempt.route.address for attempt in self._open}

    def drop_lost(self, table: RouteTable) -> int:
        """Cancels unanswered attempts at replicas that are gone or LOST; says how many.

        Only where another replica of the deployment runs: otherwise the silent one is
        still the best there is, and a control plane that restarts may know of none yet.
        """
        alive = {r.replica for r in table.routes if r.state is not ReplicaState.LOST}
        served = {r.deployment for r in table.routes if r.state is ReplicaState.RUNNING}
        dropped = [
            attempt
            for attempt in self._open
            if not attempt.has_answered
            and attempt.route.replica not in alive
            and attempt.route.deployment in served
        ]
        for attempt in dropped:
            attempt.is_dropped = True
            attempt.call.cancel()
        return len(dropped)
