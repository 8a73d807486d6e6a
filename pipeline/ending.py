"""How the process that does a job ends when a signal tells it to: soon, whatever it is at, its output's lock released.

The signal interrupts the main thread, and with it the job. Where that takes too long (native code does not return, a
runner waits for its workers), the process ends without it. Imports nothing heavy.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType

from faceveil.pipeline.console import say

_SAID = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}
"""The signals that ask a job to end, and what it says then."""
SIGNALS = tuple(_SAID)
MEMORY_ADVICE = ". With too little memory, raise its limit, use fewer cores (taskset), or lower --max_pixels"
_GRACE_SECONDS = 1.5
# In an object store it is a request; on disk it takes no time.
_RELEASE_SECONDS = 3.0


class _State:
    """Of this process."""

    received: signal.Signals | None = None
    told = False
    last_acts: list[Callable[[], None]] = []  # noqa: RUF012  there is one


def end_on_signals() -> None:
    """Makes this process end on SIGINT, SIGTERM and SIGHUP; to be called in its main thread."""
    for number in SIGNALS:
        # A command that was started by nohup has to outlive its terminal.
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    received, descriptor = os.pipe()
    os.set_blocking(descriptor, False)
    # Python's own handlers wait until the main thread runs Python again; this tells another thread at once.
    signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
    threading.Thread(target=_end_late, args=(received,), daemon=True).start()


def on_sudden_end(act: Callable[[], None]) -> None:
    """Has a function called when this process has to end without unwinding; the last one that was given comes first."""
    _State.last_acts.insert(0, act)


def was_interrupted() -> bool:
    """Whether a signal has asked this process to end."""
    return _State.received is not None


def ended_by() -> signal.Signals:
    """The signal that has interrupted the job; SIGINT if no handler was set."""
    return _State.received or signal.SIGINT


def exit_status() -> int:
    """The exit status of a job that was interrupted, as a shell says it: 130 or 143, mostly."""
    return 128 + ended_by()


def tell_end() -> None:
    """Says, once, that the job was interrupted."""
    if not _State.told:
        _State.told = True
        say(f"faceveil: {_SAID[ended_by()]}{hint()}", "WARNING")


def is_job() -> bool:
    """Whether the command runs a job or trainings, whose result is in files, and which can be resumed."""
    return sys.argv[1:2] in (["run"], ["verify"], ["train-detector"]) or sys.argv[1:3] == ["evaluate", "anonymizers"]


def hint() -> str:
    """What to do after a job has ended too early; of other commands nothing."""
    return "; the same command resumes where this one stopped" if is_job() else ""


def _interrupt(number: int, frame: FrameType | None) -> None:
    # Only once: Ctrl-C reaches all processes of a terminal, and the one that waits for this one hands it on as well.
    # A second one has nothing to add, for the end is near; it would only break what is being put in order.
    if _State.received is None:
        _State.received = signal.Signals(number)
        signal.default_int_handler(number, frame)


def _end_late(received: int) -> None:
    while True:
        [number] = os.read(received, 1)
        if number in SIGNALS:
            break
    threading.Event().wait(_GRACE_SECONDS)
    _State.received = _State.received or signal.Signals(number)
    tell_end()
    acts = threading.Thread(target=lambda: [act() for act in _State.last_acts], daemon=True)
    acts.start()
    acts.join(_RELEASE_SECONDS)
    os._exit(exit_status())
