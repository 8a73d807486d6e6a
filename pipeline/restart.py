"""What a job and the process that supervises it tell each other about running it again after a crash."""

from __future__ import annotations

import os
import secrets

MAY, WANTED, WANTED_FOR_MEMORY = b"+", b"!", b"m"
"""What a job says of being run again, through the pipe that ``PERMISSION`` names."""
PERMISSION, RUN = "FACEVEIL_RESTART_FD", "FACEVEIL_RUN"
RESTARTS, SHORTAGES = "FACEVEIL_RESTARTS", "FACEVEIL_MEMORY_SHORTAGES"
"""Environment variables that a job gets."""


def allow_restart() -> None:
    """Says that this command may be run again if it crashes: it is a job whose workers are this process and its own."""
    _say_of_restart(MAY)


def want_restart(for_memory: bool) -> None:
    """Asks for this command to be run again, although it ends by itself.

    Args:
        for_memory: whether memory has run out.
    """
    _say_of_restart(WANTED_FOR_MEMORY if for_memory else WANTED)


def _say_of_restart(said: bytes) -> None:
    descriptor = os.environ.get(PERMISSION)
    if descriptor:
        os.write(int(descriptor), said)


def run_id() -> str:
    """What this command's run has in common with its restarts, and with no other."""
    return os.environ.get(RUN) or secrets.token_hex(8)


def is_restart() -> bool:
    """Whether this process goes on for one that has crashed."""
    return os.environ.get(RESTARTS, "0") != "0"


def memory_shortages() -> int:
    """How often memory has run out in this run, so that this process was started to do with less."""
    return int(os.environ.get(SHORTAGES, "0"))
