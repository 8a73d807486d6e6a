"""The command's entry: runs it in a process of its own, and runs it again when native code has crashed it.

A codec that crashes ends its whole process. Runners of clusters start their workers again; a job on this machine alone
has its only worker in this command, so another process must do the same. It imports nothing heavy: it costs a few
megabytes and no time while it waits.
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import threading
from types import FrameType
from typing import NoReturn

from faceveil.pipeline.console import choose_format, flush_streams, open_missing_streams, say, spell_everything
from faceveil.pipeline.ending import MEMORY_ADVICE, SIGNALS, end_on_signals, hint, is_job
from faceveil.pipeline.restart import MAY, PERMISSION, RESTARTS, RUN, SHORTAGES, WANTED_FOR_MEMORY
from faceveil.transforms.runtime.child_process import end_with_parent, leave_now
from faceveil.transforms.runtime.machine import oom_kills

_CRASHES = frozenset({signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL})
"""How native code dies, and how a watchdog ends a hanging process. Not SIGKILL or SIGTERM, sent on purpose."""
_MAX_RESTARTS = 20
_STATUSES = frozenset([*range(6), *(128 + number for number in SIGNALS)])
"""The exit statuses of the command itself."""
_UNREACHABLE = 5  # the one when something cannot be written
# A job that is told to end does so within two seconds, unless it waits for an object store.
_KILLED_AFTER_SECONDS = 6


def main() -> int:
    """Runs the command and returns its exit status; to be called at the end of the process."""
    open_missing_streams()
    spell_everything()
    choose_format(sys.argv[1:])
    if not hasattr(os, "fork"):
        return _command()
    os.environ[RUN] = secrets.token_hex(8)
    status = _run_to_its_end()
    # As Python ends it would give signals their default meaning, and the status would be another one.
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    return status


def _run_to_its_end() -> int:
    """Runs the command, again where it has crashed; its exit status."""
    command = _Command()
    shortages = 0
    for restart in range(_MAX_RESTARTS + 1):
        os.environ[RESTARTS], os.environ[SHORTAGES] = str(restart), str(shortages)
        killed_before = oom_kills()
        status, permission = command.run()
        exit_status = os.waitstatus_to_exitcode(status)
        if command.asked_to_end:
            return exit_status if exit_status >= 0 else 128 + command.asked_to_end
        may_restart = bool(permission) and restart < _MAX_RESTARTS
        if exit_status in _STATUSES:
            if not may_restart or permission.endswith(MAY):
                return exit_status
            say("faceveil: restarted; the job resumes", "WARNING")
            shortages += permission.endswith(WANTED_FOR_MEMORY)
            continue
        memory = exit_status == -signal.SIGKILL and killed_before != oom_kills()
        # Libraries that cannot go on end their process by a signal, or with a status of their own.
        goes_on = may_restart and (memory or exit_status >= 0 or -exit_status in _CRASHES)
        _tell_death(exit_status, memory, goes_on)
        if not goes_on:
            break
        shortages += memory
    return exit_status if exit_status >= 0 else 128 - exit_status  # as a shell says it


class _Command:
    """The command in a child process, which gets the signals that ask this one to end.

    Attributes:
        asked_to_end: the first such signal.
    """

    def __init__(self) -> None:
        self.asked_to_end: signal.Signals | None = None
        self._child: int | None = None
        # A command that was started by nohup has to outlive its terminal.
        ignored = {number for number in (signal.SIGHUP,) if signal.getsignal(number) is signal.SIG_IGN}
        for number in set(SIGNALS) - ignored:
            signal.signal(number, self._hand_on)
        signal.signal(signal.SIGALRM, self._kill)

    def run(self) -> tuple[int, bytes]:
        """Runs it; its wait status, and what it says about being run again."""
        permission, granted = os.pipe()
        alive, held = os.pipe()
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            os.close(permission)
            os.close(held)
            os.environ[PERMISSION] = str(granted)
            _be_child(parent, alive)
        os.close(granted)
        os.close(alive)
        self._child = child
        if self.asked_to_end:  # just before it was there
            os.kill(child, self.asked_to_end)
        _, status = os.waitpid(child, 0)
        self._child = None
        signal.alarm(0)
        said = os.read(permission, 2)
        os.close(permission)
        os.close(held)
        return status, said

    def _hand_on(self, number: int, _: FrameType | None) -> None:
        if self._child:
            os.kill(self._child, number)
        if not self.asked_to_end:
            self.asked_to_end = signal.Signals(number)
            signal.alarm(_KILLED_AFTER_SECONDS)

    def _kill(self, *_: object) -> None:
        if self._child:
            os.kill(self._child, signal.SIGKILL)


def _be_child(parent: int, alive: int) -> NoReturn:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    end_with_parent(parent)
    threading.Thread(target=_follow, args=(alive,), daemon=True).start()
    end_on_signals()
    status = _command()
    if status >= 128:
        leave_now(status)
    sys.exit(status)


def _tell_death(exit_status: int, memory: bool, goes_on: bool) -> None:
    """Says how the job's process died, and what comes next."""
    next_step = "; the job resumes" if goes_on else hint()
    if memory:
        say(f"faceveil: killed by the kernel, since memory ran out{next_step}{'' if goes_on else MEMORY_ADVICE}")
    elif exit_status == -signal.SIGKILL:
        say(f"faceveil: killed (SIGKILL), as the kernel does when memory runs out{next_step}{MEMORY_ADVICE}")
    elif exit_status < 0:
        crashed = "crashed" if -exit_status in _CRASHES else "ended"
        say(f"faceveil: {crashed} ({signal.Signals(-exit_status).name}){next_step}")
    else:
        say(f"faceveil: crashed (exit status {exit_status}){next_step}")


def _command() -> int:
    from faceveil.pipeline.deferred import defer_imports
    from faceveil.pipeline.environment import prepare_environment

    prepare_environment()
    defer_imports()
    from faceveil.pipeline.cli import main as command

    try:
        status = command()
    except SystemExit as ended:  # argparse's, after help and refusals
        status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    # The result of a job is its files; of other commands, what they print.
    return status if flush_streams() or status or is_job() else _UNREACHABLE


def _follow(alive: int) -> None:
    """Ends this process when the one that waits for it is gone: killing that one is meant for both."""
    os.read(alive, 1)
    os.kill(os.getpid(), signal.SIGKILL)
