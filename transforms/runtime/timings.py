"""How long the steps of the work take: measured by many threads, taken by the one that reports it."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator

_KEPT = 10_000
"""Measurements that wait to be taken; where nobody takes them, the oldest go."""


class Timings:
    """Milliseconds by step. All methods may be called from several threads at once.

    Example usage::

        >>> timings = Timings()
        >>> with timings.measuring("decode", 2):
        ...     pass
        >>> [step for step, milliseconds in timings.take()], list(timings.take())
        (['decode', 'decode'], [])
    """

    def __init__(self) -> None:
        self._measured: deque[tuple[str, int]] = deque(maxlen=_KEPT)

    @contextlib.contextmanager
    def measuring(self, step: str, count: int = 1) -> Iterator[None]:
        """Measures the block, whether it fails or not.

        Args:
            step: its name.
            count: how many images it works on; each is taken to have needed its share of the time.
        """
        began = time.perf_counter()
        try:
            yield
        finally:
            if count:
                share = round(1000 * (time.perf_counter() - began) / count)
                self._measured.extend([(step, share)] * count)

    def take(self) -> Iterator[tuple[str, int]]:
        """What was measured since it was last taken: the step, and an image's milliseconds."""
        with contextlib.suppress(IndexError):
            while True:
                yield self._measured.popleft()
