"""Another process in which work is tried first, where a crash or a hang costs no more than that process.

Native codecs may crash on damaged images, which ends the whole process and cannot be caught. Where that has happened,
every record is tried here first.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Generic, TypeVar

from faceveil.transforms.errors import AccessError, OutOfMemoryError
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.runtime.child_process import child_environment, module_command
from faceveil.transforms.runtime.memory import can_allocate, is_bounded

# Where memory is bounded: with less than this to be had, a crash may be for want of it.
_ENOUGH = 2**30

_Item = TypeVar("_Item")


class Sandbox(Generic[_Item]):
    """A process that does work and throws it away; it is started when first needed, and anew when it has died.

    Several threads may use it, one after the other.

    Args:
        prepare: called in that process as it starts; gives the function that does the work. Both it and the items are
            pickled.
        seconds: how long one item may take.
    """

    def __init__(self, prepare: Callable[[], Callable[[_Item], object]], seconds: float) -> None:
        self._prepare = prepare
        self._seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection | None = None

    def __enter__(self) -> Sandbox[_Item]:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def run(self, item: _Item, name: str) -> None:
        """Does the work on one item in the other process.

        Args:
            item: what to work on.
            name: what to call it.

        Raises:
            Quarantine: CRASHED or TIMED_OUT. Whatever else is wrong with it shows when it is worked on here.
            OutOfMemoryError: it may be for want of memory that the other process died.
            AccessError: the other process cannot be started.
        """
        with self._lock:
            connection = self._connection or self._start()
            try:
                connection.send(item)
                in_time = connection.poll(self._seconds)
                if in_time:
                    connection.recv_bytes()
                    return
            except (EOFError, ConnectionError):
                self._raise_for_death(name)
            self._end()
            raise Quarantine(Reason.TIMED_OUT, f"not done after {self._seconds:g} s")

    def _raise_for_death(self, name: str) -> None:
        cause = self._cause_of_death()
        # The kernel ends what takes more memory than there is; some libraries crash where they get none.
        if cause == signal.SIGKILL.name or (is_bounded() and not can_allocate(_ENOUGH)):
            raise OutOfMemoryError(f"{name}: the process that tried it was ended by {cause}")
        raise Quarantine(Reason.CRASHED, f"its process was ended by {cause}")

    def _start(self) -> Connection:
        self._connection, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  our own command
                module_command(__name__, str(theirs.fileno())),
                pass_fds=[theirs.fileno()],
                env=child_environment(CUDA_VISIBLE_DEVICES=""),  # the GPU's memory is taken
            )
        try:
            self._connection.send(self._prepare)
            self._connection.recv_bytes()
        except (EOFError, ConnectionError) as error:
            cause = self._cause_of_death()
            raise AccessError(f"the process to try records in was ended by {cause} as it started") from error
        return self._connection

    def _cause_of_death(self) -> str:
        assert self._process
        status = self._process.wait()
        self._end()
        return signal.Signals(-status).name if status < 0 else f"exit status {status}"

    def _end(self) -> None:
        process, self._process = self._process, None
        connection, self._connection = self._connection, None
        if connection:
            connection.close()
        if process:
            process.kill()
            process.wait()


def _serve(connection: Connection) -> None:
    """The other process: gets the function that prepares the work and then items, and answers each."""
    work = connection.recv()()
    connection.send_bytes(b"")
    while True:
        try:
            item = connection.recv()
        except EOFError:
            return
        # Neither is this item's fault: the process that asks will come upon it as well, and see to it.
        with contextlib.suppress(AccessError, OutOfMemoryError):
            work(item)
        connection.send_bytes(b"")


if __name__ == "__main__":
    _serve(Connection(int(sys.argv[1])))
