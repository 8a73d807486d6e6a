"""A limit on how long the work on one image may take: native code that hangs can only be ended with its process."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Iterator

_LOGGER = logging.getLogger(__name__)


class Watchdog:
    """Ends the process (SIGABRT) when what is watched takes too long.

    Time is counted in the watchdog's own ticks, so a process that was stopped or a machine that slept is not blamed. A
    function that hangs while it holds Python's global lock is not noticed; no codec in use does.

    Args:
        seconds: how long it may take; infinite for as long as it likes.

    Example usage::

        >>> with Watchdog(60).watching("-2"):
        ...     abs(-2)
        2
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # By thread: what it works on, and for how long.
        self._running: dict[int, tuple[str, float]] = {}
        if math.isinf(seconds):
            return
        tick = min(1.0, seconds / 4)
        threading.Thread(target=_tick, args=(weakref.ref(self), tick), daemon=True).start()

    @contextlib.contextmanager
    def watching(self, name: str) -> Iterator[None]:
        """Counts the time of what this thread does within the block; ``name`` says what it works on."""
        thread = threading.get_ident()
        self._running[thread] = (name, 0.0)
        try:
            yield
        finally:
            del self._running[thread]

    def count(self, seconds: float) -> None:
        """Adds to the time of all that is running."""
        for thread, (name, so_far) in list(self._running.items()):
            if so_far > self._seconds:
                _LOGGER.critical(
                    "%s takes longer than --image_timeout %g: this process is ended; its shard is retried in a sandbox",
                    *(name, self._seconds),
                )
                logging.shutdown()
                os.abort()
            # Unless the thread has gone on to something else just now.
            if self._running.get(thread) == (name, so_far):
                self._running[thread] = (name, so_far + seconds)


def _tick(reference: weakref.ref[Watchdog], seconds: float) -> None:
    while True:
        time.sleep(seconds)
        watchdog = reference()
        if watchdog is None:
            return
        watchdog.count(seconds)
        del watchdog
