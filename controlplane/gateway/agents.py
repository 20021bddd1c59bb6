"""Channels to the agents.

Owns one channel an agent, kept while the table names it or a stream uses it, and which
agents could not be reached a moment ago. Keepalive notices a silent host; the kernel
resets the connections of a killed agent at once. Refuses to parse: messages pass as bytes.
"""

from collections.abc import Collection

import grpc.aio
from slacktide.wire.server import CHANNEL_OPTIONS

GENERATE = "/slacktide.v1.InferenceService/Generate"

_SUSPECT_S = 2.0
"""How long an unreachable agent is the last resort; channels redial within 2 s."""

_OPTIONS = (
    *CHANNEL_OPTIONS,
    # Channels to one address otherwise share a connection with every other in the process.
    ("grpc.use_local_subchannel_pool", 1),
)

GenerateCall = grpc.aio.UnaryStreamCall[bytes, bytes]


class AgentChannels:
    """Opens channels on first use, closes them when the table drops their agent."""

    def __init__(self) -> None:
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._suspect_until_s: dict[str, float] = {}

    def generate(self, address: str, request: bytes, *, timeout_s: float) -> GenerateCall:
        """Starts a Generate stream whose messages stay bytes."""
        channel = self._channels.get(address)
        if channel is None:
            channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
            self._channels[address] = channel
        generate: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = channel.unary_stream(GENERATE)
        return generate(request, timeout=timeout_s)

    def mark_unreachable(self, address: str, *, now_s: float) -> None:
        """Makes the agent the last resort for a moment."""
        self._suspect_until_s[address] = now_s + _SUSPECT_S

    def mark_reached(self, address: str) -> None:
        """Clears the suspicion: it answered."""
        self._suspect_until_s.pop(address, None)

    def suspects(self, *, now_s: float) -> Collection[str]:
        """Agents that could not be reached a moment ago."""
        if not self._suspect_until_s:
            return ()
        self._suspect_until_s = {a: s for a, s in self._suspect_until_s.items() if s > now_s}
        return self._suspect_until_s.keys()

    async def close_except(self, addresses: Collection[str]) -> None:
        """Closes channels to agents not named."""
        for address in [a for a in self._channels if a not in addresses]:
            self._suspect_until_s.pop(address, None)
            await self._channels.pop(address).close()
