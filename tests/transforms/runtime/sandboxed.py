"""What test_sandbox.py has done in another process; apart, so that this process loads little."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable


def prepare() -> Callable[[str], str]:
    return work


def work(item: str) -> str:
    began = time.monotonic()
    if item.startswith("wait"):
        time.sleep(0.3)
        return f"{began} {time.monotonic()} {item}"
    if item == "crash":
        ctypes.string_at(0)
    if item == "leave":
        os._exit(127)
    if item == "hang":
        time.sleep(60)
    if item == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "bug":
        raise KeyError(item)
    return f"{os.getpid()} {item}"


def fail() -> Callable[[str], str]:
    sys.exit(3)
