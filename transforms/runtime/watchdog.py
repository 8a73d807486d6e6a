"""A limit on how long the work on one image may take: native code that hangs can only be ended with its process."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import TypeVar

_LOGGER = logging.getLogger(__name__)

In = TypeVar("In")
Out = TypeVar("Out")


class Watchdog:
    """Ends the process (SIGABRT) when a watched function runs for too long.

    Time is counted in the watchdog's own ticks, so a process that was stopped or a machine that slept is not blamed. A
    function that hangs while it holds Python's global lock is not noticed; no codec in use does.

    Example usage::

        >>> Watchdog(60).watch(abs, str)(-2)
        2
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        # By thread: what it works on, and for how long.
        self._running: dict[int, tuple[str, float]] = {}
        tick = min(1.0, seconds / 4)
        threading.Thread(target=_tick, args=(weakref.ref(self), tick), daemon=True).start()

    def watch(self, function: Callable[[In], Out], name_of: Callable[[In], str]) -> Callable[[In], Out]:
        """The function under watch; ``name_of`` says what its argument is called."""
        return functools.partial(self._watched, function, name_of)

    def _watched(self, function: Callable[[In], Out], name_of: Callable[[In], str], item: In) -> Out:
        thread = threading.get_ident()
        self._running[thread] = (name_of(item), 0.0)
        try:
            return function(item)
        finally:
            del self._running[thread]

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Within a watched function: what is done in the block does not count."""
        thread = threading.get_ident()
        name, seconds = self._running.pop(thread)
        try:
            yield
        finally:
            self._running[thread] = (name, seconds)

    def count(self, seconds: float) -> None:
        """Adds to the time of all that is running."""
        for thread, (name, so_far) in list(self._running.items()):
            if so_far > self._seconds:
                _LOGGER.critical(
                    "%s takes longer than --image_timeout %g: this process is ended, its shard tried again with care",
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
