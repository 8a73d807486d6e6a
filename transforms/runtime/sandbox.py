"""Trying records in another process first, where a crash or a hang costs no more than that process.

Native codecs may crash on damaged images, which ends the whole process and cannot be caught. Where that has happened
(`attempt.py`), every record is tried here first.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError, OutOfMemoryError
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.runtime.child_process import child_environment, module_command
from faceveil.transforms.runtime.memory import can_allocate, is_bounded
from faceveil.transforms.shard.read import Source

if TYPE_CHECKING:
    from faceveil.transforms.anonymize_shards import Anonymization

_LENGTH = struct.Struct("<Q")
_DONE = b"+"
# Where memory is bounded: with less than this to be had, a crash may be for want of it.
_ENOUGH = 2**30


class Trial:
    """A process that makes records and throws them away; it is started when first needed, and anew when it has died.

    Several threads may use it, one after the other.
    """

    def __init__(self, config: Anonymization) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Trial:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def run(self, source: Source) -> None:
        """Makes one record in the other process.

        Raises:
            Quarantine: CRASHED or TIMED_OUT. Whatever else is wrong with it shows when it is made here.
            OutOfMemoryError: it may be for want of memory that the other process died.
            AccessError: the other process cannot be started.
        """
        with self._lock:
            process = self._process or self._start()
            seconds = self._config.limits.image_timeout
            answer = _ask(process, pickle.dumps(source), seconds)
            if answer == _DONE:
                return
            if answer is None:
                self._end()
                raise Quarantine(Reason.TIMED_OUT, f"not done after {seconds:g} s")
            cause = self._cause_of_death()
            # The kernel ends what takes more memory than there is; some libraries crash where they get none.
            if cause == signal.SIGKILL.name or (is_bounded() and not can_allocate(_ENOUGH)):
                raise OutOfMemoryError(f"{source.key}: the process that tried it was ended by {cause}")
            raise Quarantine(Reason.CRASHED, f"its process was ended by {cause}")

    def _start(self) -> subprocess.Popen[bytes]:
        self._process = subprocess.Popen(  # noqa: S603  our own command
            module_command("faceveil.transforms.runtime.sandbox"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=child_environment(CUDA_VISIBLE_DEVICES=""),  # the GPU's memory is taken
        )
        if _ask(self._process, pickle.dumps((self._config, storage.beam_options())), None) != _DONE:
            raise AccessError(f"the process to try records in was ended by {self._cause_of_death()} as it started")
        return self._process

    def _cause_of_death(self) -> str:
        assert self._process
        status = self._process.wait()
        self._end()
        return signal.Signals(-status).name if status < 0 else f"exit status {status}"

    def _end(self) -> None:
        process, self._process = self._process, None
        if process:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


def _ask(process: subprocess.Popen[bytes], request: bytes, seconds: float | None) -> bytes | None:
    """The answer; empty when the process died, None when it took too long."""
    assert process.stdin
    assert process.stdout
    try:
        process.stdin.write(_LENGTH.pack(len(request)) + request)
        process.stdin.flush()
    except BrokenPipeError:
        return b""
    ready, _, _ = select.select([process.stdout], [], [], seconds)
    return os.read(process.stdout.fileno(), 1) if ready else None


def _serve() -> None:
    """The other process: reads its configuration and then records from standard input, and answers each."""
    from faceveil.transforms.anonymize_shards import Worker, anonymize_record

    answers = os.dup(1)
    os.dup2(2, 1)  # what libraries print is no answer

    def requests() -> Iterator[bytes]:
        while header := sys.stdin.buffer.read(_LENGTH.size):
            yield sys.stdin.buffer.read(_LENGTH.unpack(header)[0])

    received = requests()
    config, beam_options = pickle.loads(next(received))  # noqa: S301  from the process that has started this one
    storage.set_beam_options(beam_options)
    worker = Worker(config)
    os.write(answers, _DONE)
    for request in received:
        # Neither is this record's fault: the process that asks will come upon it as well, and see to it.
        with contextlib.suppress(AccessError, OutOfMemoryError):
            anonymize_record(pickle.loads(request), worker)  # noqa: S301
        os.write(answers, _DONE)


if __name__ == "__main__":
    _serve()
