r"""The parent of an engine: `python -m nodeagent.engine.reaper -- ARGV...`.

Owns one promise: when the agent is gone, however it went, no process of the engine is
left. SGLang forks schedulers and detokenizers that survive a SIGKILL of their launcher's
parent, so the launcher runs under this process instead, which
  - is the subreaper of its tree (PR_SET_CHILD_SUBREAPER): orphans come to it, not to init;
  - holds its stdin, whose other end only the agent holds: end of file means the agent died;
  - asks the kernel to kill the launcher if the reaper itself dies (PR_SET_PDEATHSIG).
Refuses to restart anything. Imports the standard library and psutil only: there is one
per engine.

Protocol on stdin: `stop SECONDS\n` sends SIGTERM to the launcher and kills the tree
after that many seconds; end of file, SIGTERM or SIGINT kill the tree at once. Exits with
the launcher's status, 128 + n where signal n ended it.
"""

import contextlib
import ctypes
import os
import selectors
import signal
import subprocess
import sys
import time

import psutil

_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_PR_SET_CHILD_SUBREAPER = 36  # <linux/prctl.h>
_KILL_INTERVAL_S = 0.05
_STDIN_FD = 0

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")


def _die_with(parent_pid: int) -> None:
    """In the launcher before exec: be killed when the reaper dies."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent_pid:  # died between fork and prctl
        os._exit(1)


def _reap(launcher_pid: int) -> tuple[bool, int | None]:
    """Collects every dead child.

    Returns:
        Whether any child is left, and the launcher's wait status if it was among the dead.
    """
    status: int | None = None
    while True:
        try:
            pid, wait_status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return False, status
        if pid == 0:
            return True, status
        if pid == launcher_pid:
            status = wait_status


def _kill_tree(launcher_pid: int) -> int | None:
    """Kills until no descendant is left; each round finds what forked meanwhile.

    Returns:
        The launcher's wait status, if it had not been collected before.
    """
    status: int | None = None
    while True:
        for process in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        is_left, dead = _reap(launcher_pid)
        status = dead if dead is not None else status
        if not is_left:
            return status
        time.sleep(_KILL_INTERVAL_S)


def _run_launcher(argv: list[str]) -> int:
    """Starts the launcher and waits for its end, the agent's, or an order to stop."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    received: set[int] = set()
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda n, _frame: received.add(n))

    own_pid = os.getpid()
    launcher = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        preexec_fn=lambda: _die_with(own_pid),  # noqa: PLW1509 - this process has one thread
    )
    launcher.returncode = 0  # its status is collected here, not by Popen's destructor
    status: int | None = None
    kill_at: float | None = None
    order = b""
    with selectors.DefaultSelector() as selector:
        selector.register(_STDIN_FD, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        while status is None:
            timeout = None if kill_at is None else max(0.0, kill_at - time.monotonic())
            ready = {key.fd for key, _ in selector.select(timeout)}
            if wake_read in ready:
                os.read(wake_read, 4096)
            if received & {signal.SIGTERM, signal.SIGINT}:
                break
            _, status = _reap(launcher.pid)
            if _STDIN_FD in ready:
                chunk = os.read(_STDIN_FD, 4096)
                if not chunk:
                    break
                order += chunk
                if order.startswith(b"stop ") and order.endswith(b"\n") and kill_at is None:
                    kill_at = time.monotonic() + float(order.split()[1])
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(launcher.pid, signal.SIGTERM)
            if kill_at is not None and time.monotonic() >= kill_at:
                break
    killed = _kill_tree(launcher.pid)
    final = status if status is not None else killed
    return 1 if final is None else os.waitstatus_to_exitcode(final)


def main() -> None:
    """Runs the command after `--` as this process's ward."""
    if len(sys.argv) < 3 or sys.argv[1] != "--":
        sys.exit("usage: python -m nodeagent.engine.reaper -- COMMAND [ARGUMENT...]")
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    code = _run_launcher(sys.argv[2:])
    sys.exit(code if code >= 0 else 128 - code)


if __name__ == "__main__":
    main()
