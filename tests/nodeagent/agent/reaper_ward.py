"""A stand-in for an engine's launcher: spawns grandchildren that do not die with it.

Run as `python reaper_ward.py PIDS_FILE [ignore-term]`. One grandchild leaves the process
group and session, and all ignore SIGTERM, SIGHUP and SIGINT, as stubborn servers do.
"""

import os
import signal
import sys
import time
from pathlib import Path


def _stubborn() -> None:
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    while True:
        time.sleep(60)


def main() -> None:
    pids = []
    for detached in (False, True):
        pid = os.fork()
        if pid == 0:
            if detached:
                os.setsid()
                if os.fork() == 0:  # a daemon: its parent is gone at once
                    Path(sys.argv[1] + ".daemon").write_text(str(os.getpid()))
                    _stubborn()
                os._exit(0)
            _stubborn()
        pids.append(pid)
    if "ignore-term" in sys.argv:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while not Path(sys.argv[1] + ".daemon").exists():
        time.sleep(0.01)
    daemon = Path(sys.argv[1] + ".daemon").read_text()
    draft = Path(sys.argv[1] + ".draft")
    draft.write_text(f"{os.getpid()} {pids[0]} {daemon}")
    draft.rename(sys.argv[1])
    while True:
        time.sleep(60)


if __name__ == "__main__":
    main()
