"""A stand-in for an agent: starts the command given under a reaper, prints its pid, waits."""

import asyncio
import os
import sys
from pathlib import Path

from nodeagent.engine.command import EngineCommand
from nodeagent.engine.process import EngineProcess


async def main() -> None:
    command = EngineCommand(argv=tuple(sys.argv[2:]), environment=tuple(os.environ.items()))
    process = await EngineProcess.start(command, log_path=Path(sys.argv[1]))
    print(process.pid, flush=True)
    await process.wait()


if __name__ == "__main__":
    asyncio.run(main())
