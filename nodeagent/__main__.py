"""`python -m nodeagent`: runs the agent of one node. Exits 0 after SIGTERM, 2 on bad flags."""

import asyncio
import logging
import sys

import uvloop
from slacktide.wire.errors import Refusal

from nodeagent.agent import Agent
from nodeagent.devices import find_devices
from nodeagent.settings import Settings, SettingsError, parse_settings
from planner.model import Device


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
    try:
        uvloop.run(_run(settings, devices))
    except Refusal as refusal:
        print(f"nodeagent: {refusal}", file=sys.stderr)
        sys.exit(1)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(130)


async def _run(settings: Settings, devices: tuple[Device, ...]) -> None:
    await Agent(settings, devices).run()


if __name__ == "__main__":
    main()
