"""Loopback ports for engines.

Owns the choice of a port. A port can be taken between the choice and the engine's bind
seconds later; the engine then exits and its next start gets another. The range lies below
the kernel's ephemeral ports (32768 and up on Linux), so no outgoing connection takes one.
"""

import random
import socket

_LOWEST, _HIGHEST = 20000, 29999
_ATTEMPTS = 200


def free_port() -> int:
    """A port of 127.0.0.1 nothing listens at now.

    Raises:
        OSError: none was found.
    """
    for _ in range(_ATTEMPTS):
        port = random.randint(_LOWEST, _HIGHEST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError(
        f"no free port in {_LOWEST}-{_HIGHEST} after {_ATTEMPTS} attempts; close listeners there"
    )
