"""Live agent sessions and the leases they keep.

Owns who is connected, and until when each node's lease holds. Refuses to decide what a
lapse means; `keeper` does. Invariants: a node has at most one session, the newest;
`now_s` is a monotonic clock, so a changed wall clock moves no lease.
"""

import asyncio
import time
from dataclasses import dataclass, field

OUTBOX_MESSAGES = 32


@dataclass(slots=True, kw_only=True, eq=False)
class AgentSession:
    """One connected agent."""

    node: str
    incarnation: str
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    end_reason: str = ""
    told_revision: int = 0  # of the last assignment sent
    told_stopped: frozenset[str] = frozenset()  # replicas it told to stop

    def end(self, reason: str) -> None:
        """Asks the session to end with ABORTED."""
        if not self.ended.is_set():
            self.end_reason = reason
            self.ended.set()


class Sessions:
    """Sessions and leases by node id.

    Args:
        lease_s: how long a node may stay silent.
    """

    def __init__(self, *, lease_s: float) -> None:
        self.lease_s = lease_s
        self._sessions: dict[str, AgentSession] = {}
        self._holds_until_s: dict[str, float] = {}
        self._reported_at_s: dict[str, float] = {}  # Unix, for people

    def open(self, node: str, *, incarnation: str, now_s: float) -> AgentSession:
        """Begins the node's session and lease; ends an earlier session of it."""
        earlier = self._sessions.get(node)
        if earlier is not None:
            earlier.end(f"node {node}: another session of it began (incarnation {incarnation})")
        session = AgentSession(node=node, incarnation=incarnation)
        self._sessions[node] = session
        self.renew(session, now_s=now_s)
        return session

    def renew(self, session: AgentSession, *, now_s: float) -> None:
        """Extends the lease from now; an ended session renews nothing."""
        if self._sessions.get(session.node) is session and not session.ended.is_set():
            self._holds_until_s[session.node] = now_s + self.lease_s
            self._reported_at_s[session.node] = time.time()

    def close(self, session: AgentSession) -> None:
        """Forgets a session whose stream ended; its lease runs on."""
        if self._sessions.get(session.node) is session:
            del self._sessions[session.node]

    def grace(self, nodes: tuple[str, ...], *, now_s: float) -> None:
        """Gives nodes a full lease to (re)connect, after a start of this process."""
        for node in nodes:
            self._holds_until_s.setdefault(node, now_s + self.lease_s)

    def lapsed(self, *, now_s: float) -> tuple[str, ...]:
        """Nodes whose lease ran out, sorted."""
        return tuple(sorted(node for node, end in self._holds_until_s.items() if end <= now_s))

    def drop(self, node: str) -> None:
        """Takes the lease away and ends the session, once the loss is committed."""
        self._holds_until_s.pop(node, None)
        session = self._sessions.pop(node, None)
        if session is not None:
            session.end(f"node {node}: no report within the lease of {self.lease_s:g} s")

    def end_all(self, reason: str) -> None:
        """Ends every session, so that agents turn to another control plane."""
        for session in self._sessions.values():
            session.end(reason)

    def is_connected(self, node: str) -> bool:
        """Whether the node has a session now."""
        return node in self._sessions

    def reported_s(self, node: str) -> float | None:
        """When the node last reported to this process, in Unix seconds."""
        return self._reported_at_s.get(node)
