"""Python processes that this one starts: they find the same modules, and no others, and end with it."""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import os
import runpy
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

_SAFE_PATH = "PYTHONSAFEPATH"
_PR_SET_PDEATHSIG = 1
_LOOK_SECONDS = 0.5


def module_command(module: str, *arguments: str) -> list[str]:
    """The command that runs a module as ``python -m`` does, but never takes one from the working folder.

    The process ends with the one that asks for the command.
    """
    return [sys.executable, "-P", "-m", __name__, str(os.getpid()), module, *arguments]


def shell_command(module: str) -> str:
    """The same for a shell, which makes way for it."""
    return f"exec {shlex.join(module_command(module))}"


@contextlib.contextmanager
def safe_children() -> Iterator[None]:
    """Keeps Python processes that others start while the block runs from modules in the working folder."""
    before = os.environ.get(_SAFE_PATH)
    os.environ[_SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_SAFE_PATH]
        else:
            os.environ[_SAFE_PATH] = before


def child_environment(**variables: str) -> dict[str, str]:
    """This process's environment for a child, with some variables set.

    The child finds modules where this process does: a worker's path need not be in its environment.
    """
    path = os.pathsep.join(filter(None, sys.path))
    return os.environ | {"PYTHONPATH": path, _SAFE_PATH: "1"} | variables


def leave_now(status: int) -> NoReturn:
    """Ends this process without waiting for its threads: their work is no longer wanted."""
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError):
            stream.flush()
    os._exit(status)


def end_with_parent(parent: int) -> None:
    """Ends this process (SIGKILL) as soon as its parent has ended, however that comes.

    On Linux the kernel does so, when the thread has ended that started this process
    (https://man7.org/linux/man-pages/man2/PR_SET_PDEATHSIG.2const.html); elsewhere a thread looks for the parent.

    Args:
        parent: the parent's number.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    else:
        threading.Thread(target=_look_for, args=(parent,), daemon=True).start()
    if os.getppid() != parent:  # it has ended before
        os.kill(os.getpid(), signal.SIGKILL)


def _look_for(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


def _run() -> None:
    """Runs the module that ``module_command`` names."""
    _, parent, module, *arguments = sys.argv
    end_with_parent(int(parent))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches this process, too; its parent decides what ends
    sys.argv = ["", *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    leave_now(0)


if __name__ == "__main__":
    _run()
