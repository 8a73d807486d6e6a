"""The command's entry: runs it in a process of its own, and runs it again when native code has crashed it.

A codec that crashes ends its whole process. Runners of clusters start their workers again; a job on this machine alone
has its only worker in this command, so somebody must be left to do the same. Imports nothing heavy: the process that
waits costs a few megabytes and no time.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType

_CRASHES = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL})
"""How native code dies, and how a watchdog ends a hanging process. Not SIGKILL and SIGTERM: somebody wanted those."""
_MOST_RESTARTS = 20
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Ctrl-C reaches both processes, and the one that waits hands it on as well.
_SAME_INTERRUPT_SECONDS = 0.5
_PERMISSION = "FACEVEIL_RESTART_FD"


def main() -> int:
    """Runs the command and returns its exit status."""
    if not hasattr(os, "fork"):
        return _command()
    for restart in range(_MOST_RESTARTS + 1):
        status, may_restart = _run_once()
        if os.WIFEXITED(status):
            return os.WEXITSTATUS(status)
        cause = signal.Signals(os.WTERMSIG(status))
        if cause not in _CRASHES or not may_restart:
            break
        hint = "the job goes on" if restart < _MOST_RESTARTS else "the same command goes on where this one stopped"
        print(f"faceveil: crashed ({cause.name}); {hint}", file=sys.stderr, flush=True)
    return 128 + cause  # as a shell says it


def allow_restart() -> None:
    """Says that this command may be run again if it crashes: it is a job with its only worker in this process."""
    permission = os.environ.get(_PERMISSION)
    if permission:
        os.write(int(permission), b"+")


def _run_once() -> tuple[int, bool]:
    """Runs the command in a child process; its wait status, and whether it may be restarted."""
    permission, granted = os.pipe()
    alive, held = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(permission)
        os.close(held)
        os.environ[_PERMISSION] = str(granted)
        threading.Thread(target=_follow, args=(alive,), daemon=True).start()
        signal.signal(signal.SIGINT, _Interrupts())
        sys.exit(_command())
    os.close(granted)
    os.close(alive)
    before = {number: signal.signal(number, lambda number, _: os.kill(child, number)) for number in _FORWARDED}
    _, status = os.waitpid(child, 0)
    for number, handler in before.items():
        signal.signal(number, handler)
    may_restart = bool(os.read(permission, 1))
    os.close(permission)
    os.close(held)
    return status, may_restart


def _command() -> int:
    from faceveil.pipeline.deferred import defer_imports
    from faceveil.pipeline.environment import prepare_environment

    prepare_environment()
    defer_imports()
    from faceveil.pipeline.cli import main as command

    return command()


def _follow(alive: int) -> None:
    """Ends this process when the one that waits for it is gone: whoever has killed that one meant both."""
    os.read(alive, 1)
    os.kill(os.getpid(), signal.SIGKILL)


class _Interrupts:
    """Raises KeyboardInterrupt, once for what is one Ctrl-C."""

    def __init__(self) -> None:
        self._last = -_SAME_INTERRUPT_SECONDS

    def __call__(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if now - self._last > _SAME_INTERRUPT_SECONDS:
            self._last = now
            signal.default_int_handler(number, frame)
