"""`python -m nodeagent`: runs the agent of one node.

Exits 0 after SIGTERM or SIGINT; a second one ends it at once, with 130. Exits 2 on bad
flags, 1 where the address or the state folder is in use.
"""

import asyncio
import logging
import os
import signal
import sys

from nodeagent.devices import find_devices
from nodeagent.settings import Settings, SettingsError, parse_settings
from planner.model import Device

# Read when grpc is loaded, hence before it is, in `main`. Every fork of the agent execs an
# engine at once; gRPC's fork handlers would stop its threads for nothing.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")


def main() -> None:
    """Parses flags, finds devices, runs until told to stop."""
    try:
        settings = parse_settings(sys.argv[1:])
        devices = find_devices(settings.devices, memory_bytes=settings.device_memory_bytes)
    except SettingsError as error:
        print(f"nodeagent: {error}", file=sys.stderr)
        sys.exit(2)
    logging.basicConfig(
        level=settings.log_level.upper(),
        stream=sys.stderr,
        format="%(asctime)s %(levelname).1s %(name)s %(message)s",
    )
    from slacktide.wire.errors import Refusal

    try:
        # Not uvloop: it may close a new child's stdin at once (see controlplane.__main__),
        # and an engine ends when the pipe to its reaper does.
        asyncio.run(_run(settings, devices))
    except Refusal as refusal:
        print(f"nodeagent: {refusal}", file=sys.stderr)
        sys.exit(1)
    except asyncio.CancelledError:
        sys.exit(130)


async def _run(settings: Settings, devices: tuple[Device, ...]) -> None:
    from nodeagent.agent import Agent

    agent = Agent(settings, devices)
    running = asyncio.create_task(agent.run())
    stopping = False

    def on_signal() -> None:
        nonlocal stopping
        if stopping:
            running.cancel()
        stopping = True
        agent.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    await running


if __name__ == "__main__":
    main()
