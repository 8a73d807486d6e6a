"""Another process in which work is tried, where a crash or a hang costs no more than that process.

Native codecs may crash on damaged images, which ends the whole process and cannot be caught. Where that has happened,
records are made in here.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from faceveil.transforms.errors import AccessError, OutOfMemoryError
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.runtime.child_process import child_environment, leave_now, module_command
from faceveil.transforms.runtime.memory import can_allocate, is_bounded
from faceveil.transforms.runtime.pool import Turns

_CRASHES = {signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL}
# Where memory is bounded: with less than this to be had, a crash may be for want of it.
_ENOUGH = 2**30
_TRIES_ALONE = 2

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class Sandbox(Generic[_Item, _Result]):
    """A process that does work on several items at once; it is started when first needed, and anew when it has died.

    When it dies, what it was working on is tried again, one item at a time, so that only the culprit is blamed. To be
    used from as many threads as it has itself.

    Args:
        prepare: called in that process as it starts; gives the function that does the work. It, the items and the
            results are pickled.
        threads: how many items are worked on at once.
        seconds: how long one item may take.
    """

    def __init__(self, prepare: Callable[[], Callable[[_Item], _Result]], threads: int, seconds: float) -> None:
        self._prepare = prepare
        self._threads = threads
        self._seconds = seconds
        self._turns = Turns(threads)
        self._starting = threading.Lock()
        self._child: _Child | None = None

    def __enter__(self) -> Sandbox[_Item, _Result]:
        return self

    def __exit__(self, *exception: object) -> None:
        self.end()

    def run(self, item: _Item, name: str) -> _Result | None:
        """Does the work on one item in the other process.

        Args:
            item: what to work on.
            name: what to call it.

        Returns:
            The result; None if the work has failed in a way that is not the item's fault, or is a bug: the caller
            will meet it, too.

        Raises:
            Quarantine: CRASHED or TIMED_OUT.
            OutOfMemoryError: it may be for want of memory that the other process died.
            AccessError: the other process cannot be started.
        """
        try:
            with self._turns.turn(alone=False):
                return self._ask(item)
        except _DiedError as error:
            died = error
        if not (died.is_crash and died.was_alone):
            with self._turns.turn(alone=True):
                for _ in range(_TRIES_ALONE):
                    try:
                        return self._ask(item)
                    except _DiedError as error:
                        died = error
                        if died.is_crash:
                            break
        # The kernel ends what takes more memory than there is; some libraries crash where they get none.
        if not died.is_crash or (is_bounded() and not can_allocate(_ENOUGH)):
            raise OutOfMemoryError(f"{name}: the process that tried it was ended by {died}") from died
        raise Quarantine(Reason.CRASHED, f"its process was ended by {died}") from died

    def _ask(self, item: _Item) -> _Result | None:
        with self._starting:
            # One that has died while it was idle is no item's fault.
            if self._child is None or self._child.has_died:
                self._child = _Child(self._prepare, self._threads)
            child = self._child
        try:
            result: _Result | None = child.ask(item).result(self._seconds)
        except TimeoutError as error:
            child.kill()
            raise Quarantine(Reason.TIMED_OUT, f"not done after {self._seconds:g} s") from error
        return result

    def end(self) -> None:
        """Ends the other process; the next item would start another one."""
        with self._starting:
            child, self._child = self._child, None
            if child:
                child.kill()


class _DiedError(Exception):
    """The process has died; says by what.

    Attributes:
        is_crash: whether what it worked on may have done it: not if it was killed from outside.
        was_alone: whether it worked on one item only.
    """

    def __init__(self, status: int, was_alone: bool = False) -> None:
        self.was_alone = was_alone
        # Libraries that cannot go on end their process by a signal, or with a status of their own.
        self.is_crash = status >= 0 or -status in _CRASHES
        super().__init__(signal.Signals(-status).name if status < 0 else f"exit status {status}")


class _Child:
    """The other process, as this one sees it."""

    def __init__(self, prepare: Callable[[], Callable[[Any], Any]], threads: int) -> None:
        self._connection, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  our own command
                module_command(__name__, str(theirs.fileno())),
                pass_fds=[theirs.fileno()],
                env=child_environment(CUDA_VISIBLE_DEVICES=""),  # the GPU's memory is taken
            )
        try:
            self._connection.send((prepare, threads))
            self._connection.recv()
        except (EOFError, OSError) as error:
            died = _DiedError(self._process.wait())
            raise AccessError(f"the process to try records in was ended by {died} as it started") from error
        self._numbers = itertools.count()
        self._changing = threading.Lock()
        self._asked: dict[int, Future[Any]] = {}
        self._died: _DiedError | None = None
        threading.Thread(target=self._receive, daemon=True).start()

    @property
    def has_died(self) -> bool:
        """Whether it can do no more work."""
        return self._process.poll() is not None

    def ask(self, item: Any) -> Future[Any]:
        """Sends an item; what comes back is its result, or a ``_DiedError``."""
        answer: Future[Any] = Future()
        with self._changing:
            if self._died:  # of what it worked on before, not of this item
                raise _DiedError(self._process.wait())
            number = next(self._numbers)
            self._asked[number] = answer
            with contextlib.suppress(OSError):  # its death is told by the thread that receives
                self._connection.send((number, item))
        return answer

    def _receive(self) -> None:
        with contextlib.suppress(EOFError, OSError):
            while True:
                number, result = self._connection.recv()
                with self._changing:
                    answer = self._asked.pop(number)
                answer.set_result(result)
        status = self._process.wait()
        with self._changing:
            left = list(self._asked.values())
            self._died = _DiedError(status, was_alone=len(left) == 1)
            self._connection.close()
        for answer in left:
            answer.set_exception(self._died)

    def kill(self) -> None:
        """Ends the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()


def _serve(connection: Connection) -> None:
    """The other process: gets what prepares the work, then numbered items, and answers each by its number."""
    prepare, threads = connection.recv()
    work = prepare()
    connection.send(None)
    answering = threading.Lock()

    def answer(number: int, item: Any) -> None:
        result = None
        with contextlib.suppress(Exception):
            result = work(item)
        with answering:
            connection.send((number, result))

    pool = ThreadPoolExecutor(threads)
    with contextlib.suppress(EOFError):
        while True:
            pool.submit(answer, *connection.recv())
    leave_now(0)


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
