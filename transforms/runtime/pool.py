"""A pool of threads that works ahead in order, within a bound on what it holds."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Condition, Lock
from typing import Generic, Protocol, TypeVar, cast

from faceveil.transforms.runtime.memory import give_back_memory, is_out_of_memory, while_alone


class Sized(Protocol):
    """What the pool works on tells how much memory it holds."""

    @property
    def nbytes(self) -> int:
        """Bytes held."""


_In = TypeVar("_In", bound=Sized)
_Out = TypeVar("_Out", bound=Sized)


_CGROUPS = Path("/sys/fs/cgroup")


def usable_cores(cgroups: Path = _CGROUPS) -> int:
    """The number of cores this process may use, which can be fewer than the machine has.

    The least of what its CPU affinity and its container's quota allow; of a quota of two and a half cores, two.

    Args:
        cgroups: where Linux tells the quota: ``cpu.max`` holds quota and period in microseconds
            (https://docs.kernel.org/admin-guide/cgroup-v2.html#cpu-interface-files), in version 1 two files do
            (https://docs.kernel.org/scheduler/sched-bwc.html).

    Example usage::

        >>> 1 <= usable_cores() <= (os.cpu_count() or 1)
        True
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, int(_quota(cgroups))))


def _quota(cgroups: Path) -> float:
    """The cores that the container may use together; infinite where nothing limits them, or the limit is unknown."""
    with contextlib.suppress(OSError, ValueError):
        quota, period = map(int, (cgroups / "cpu.max").read_text().split())  # "max" is no number
        return quota / period
    with contextlib.suppress(OSError, ValueError):
        quota, period = (int((cgroups / "cpu" / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        if quota > 0:
            return quota / period
    return float(sys.maxsize)


def threads_beside(processes: int, cores: int) -> int:
    """Threads for each of several worker processes, so that all of them together have one for every core.

    Args:
        processes: how many there are on this machine; 0 for one on every core.
        cores: that they share.

    Example usage::

        >>> threads_beside(1, cores=8), threads_beside(3, cores=8), threads_beside(0, cores=8)
        (8, 2, 1)
    """
    return max(1, cores // (processes or cores))


class Turns:
    """Lets several threads work at once, or one alone; none of them waits within its turn."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._working = 0
        self._waiting_alone = 0
        self._changed = Condition()

    @contextlib.contextmanager
    def turn(self, alone: bool) -> Iterator[None]:
        """Waits for a turn, and has it while the block runs."""
        with self._changed:
            self._waiting_alone += alone
            # A thread that has to work alone goes first, else the others would never let it.
            self._changed.wait_for(
                lambda: not self._working if alone else self._working < self._most and not self._waiting_alone
            )
            self._waiting_alone -= alone
            share = self._most if alone else 1
            self._working += share
        try:
            yield
        finally:
            with self._changed:
                self._working -= share
                self._changed.notify_all()

    def halve(self) -> None:
        """Lets half as many work at once from now on."""
        with self._changed:
            self._most = max(1, self._most // 2)


class _Done(Generic[_Out]):
    """What a future would be whose result is there from the beginning."""

    __slots__ = ("_result",)

    def __init__(self, result: _Out) -> None:
        self._result = result

    def result(self) -> _Out:
        return self._result


class OrderedPool:
    """Maps functions over streams with a fixed number of threads; results come in the order of their inputs.

    Several ``map`` calls may be chained, and several chains may share the pool: a task never waits for another one,
    so they cannot block each other. The consumer of the results drives the chain. Each map works ahead by a few
    items, and all together by no more than ``budget_bytes`` (one item in each map is always let through).

    A function that runs out of memory is called once more, when no other one is; if that helps, less is done at once
    from then on.

    Example usage::

        >>> import numpy as np
        >>> with OrderedPool(threads=2, budget_bytes=1 << 20) as pool:
        ...     squares = pool.map(np.square, (np.array(n) for n in range(4)))
        ...     [int(square) for square in squares]
        [0, 1, 4, 9]
    """

    def __init__(self, threads: int, budget_bytes: int) -> None:
        self.threads = threads
        self._turns = Turns(threads)
        self._budget_bytes = budget_bytes
        # Enough for every thread to have its next task in each of a chain's maps.
        self._ahead = 2 * threads + 2
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="anonymize")
        self._held_bytes = 0
        self._lock = Lock()

    def __enter__(self) -> OrderedPool:
        return self

    def __exit__(self, *exception: object) -> None:
        self._executor.shutdown(cancel_futures=True)

    def map(
        self,
        function: Callable[[_In], _Out],
        items: Iterable[_In],
        alone: bool = False,
        is_done: Callable[[_In], bool] = lambda _: False,
    ) -> Iterator[_Out]:
        """Applies the function to every item on the pool's threads, and yields the results in order.

        What the function raises is raised here, and what was begun is cancelled.

        Args:
            function: what to apply.
            items: to what.
            alone: whether nothing else may be applied at the same time, nor ahead.
            is_done: whether an item is its own result, so that no thread has to be woken for it.
        """
        pending: deque[tuple[Future[_Out] | _Done[_Out], int]] = deque()
        upstream = iter(items)
        ended = False
        try:
            while not ended or pending:
                while not ended and (not pending or (not alone and self._may_work_ahead(len(pending)))):
                    try:
                        item = next(upstream)
                    except StopIteration:
                        ended = True
                        break
                    held = item.nbytes
                    self._hold(held)
                    if is_done(item):
                        pending.append((_Done(cast("_Out", item)), held))
                    else:
                        pending.append((self._executor.submit(self._apply, function, item, held, alone), held))
                    del item
                if pending:
                    future, held = pending.popleft()
                    try:
                        result = future.result()
                    finally:
                        self._release(future, held)
                    del future
                    yield result
                    del result
        finally:
            for future, held in pending:
                if isinstance(future, _Done):
                    self._hold(-held)
                else:
                    future.cancel()
                    future.add_done_callback(functools.partial(self._release, held=held))

    def _apply(self, function: Callable[[_In], _Out], item: _In, held: int, alone: bool) -> _Out:
        try:
            with self._turns.turn(alone):
                result = function(item)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            result = None
        if result is None:  # what the error held is free by now
            with self._turns.turn(alone=True), while_alone():
                give_back_memory()
                result = function(item)
                self._do_less()  # for it was for want of memory that it failed
        self._hold(result.nbytes - held)  # from now on it is the result that is held
        return result

    def _do_less(self) -> None:
        """Has half as much done at once, and ahead, from now on."""
        self._ahead = max(1, self._ahead // 2)
        self._budget_bytes //= 2
        self._turns.halve()

    def _release(self, future: Future[_Out] | _Done[_Out], held: int) -> None:
        if isinstance(future, _Done):
            self._hold(-held)
            return
        finished = not future.cancelled() and future.exception() is None
        self._hold(-(future.result().nbytes if finished else held))

    def _may_work_ahead(self, pending: int) -> bool:
        return pending < self._ahead and self._held_bytes < self._budget_bytes

    def _hold(self, change: int) -> None:
        with self._lock:
            self._held_bytes += change
