"""One job per output: a lock file that says which job it is and whether it is alive."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from types import NoneType
from typing import Any

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError, OutputError
from faceveil.transforms.formats.layout import LOCK_NAME
from faceveil.transforms.runtime.machine import ProcessIdentity, is_running, this_process

_BEAT_SECONDS = 30
# Long enough for a few beats to get lost, short enough to wait for after a machine has died.
_STALE_SECONDS = 180
# A process that was killed takes its time to give its memory back, and is there until it has.
_DYING_SECONDS = 1.0
_LOOK_SECONDS = 0.05
# How old what cannot be read may be to count as half written.
_HALF_WRITTEN_SECONDS = 5


def lock_path(directory: str) -> str:
    """Where an output's lock file is."""
    return storage.join(directory, LOCK_NAME)


def read_lock(directory: str) -> dict[str, Any] | None:
    """The content of an output's lock file; None where there is none.

    Raises:
        AccessError: storage cannot be reached, or the file not be read.
    """
    lock, _ = _read(lock_path(directory))
    return lock


def _read(path: str) -> tuple[dict[str, Any] | None, str | None]:
    """A lock file's content and its version in storage."""
    found = storage.stat(path)
    if found is None:
        return None, None
    try:
        data = storage.read_bytes(path)
    except OSError as error:
        if storage.stat(path) is None:  # its job has ended this very moment
            return None, None
        raise AccessError(f"{path}: cannot be read: {error}") from error
    return _parsed(data) or _unreadable(path), found.version


def _parsed(data: bytes) -> dict[str, Any] | None:
    """What a lock file says; None where it is none."""
    kinds: dict[str, Any] = {"host": str, "pid": (int, NoneType), "time": (int, float), "job": (dict, NoneType)}
    with contextlib.suppress(ValueError, KeyError, TypeError):
        lock: dict[str, Any] = json.loads(data)
        if all(isinstance(lock[name], kind) for name, kind in kinds.items()) and 0 < (lock["pid"] or 1) < 2**31:
            return lock
    return None


def _unreadable(path: str) -> dict[str, Any]:
    """What counts for a lock file that cannot be read: if it is new, its job is alive and just writing it, else not."""
    just_begun = False
    if storage.is_local(path):
        with contextlib.suppress(OSError):
            just_begun = time.time() - os.stat(path).st_mtime < _HALF_WRITTEN_SECONDS
    return {"host": "an unknown machine", "pid": 0 if just_begun else None, "time": time.time(), "job": {}}


def is_live(lock: dict[str, Any], directory: str) -> bool:
    """Whether the job that holds a lock is still at work, as far as can be told from here.

    On the same kernel that is certain: its process can be seen, or, from another container, the kernel's lock on the
    directory. Of other machines only the time is known at which they have last been heard of.

    Args:
        lock: the lock file's content.
        directory: the output that it is about.
    """
    if lock["pid"] is None:
        return False
    heard = time.time() - lock["time"] <= _STALE_SECONDS
    here = this_process()
    known: dict[str, Any] = {name: lock.get(name) for name in vars(here)}
    there = ProcessIdentity(**known)
    if here.boot is None or there.boot is None:
        # No start is known either, so after a while the number may be another process's.
        return heard and (there.host != here.host or is_running(there.pid, None))
    if there.boot == here.boot:
        return _lives_on_this_kernel(there, here, directory, heard)
    same_machine = there.host == here.host and there.machine == here.machine is not None
    return heard and not same_machine  # on this machine, it has ended with the kernel


def _lives_on_this_kernel(there: ProcessIdentity, here: ProcessIdentity, directory: str, heard: bool) -> bool:
    if there.pid_namespace == here.pid_namespace:
        return is_running(there.pid, there.started)
    # It is in another container, where its number says nothing.
    if storage.is_local(directory):
        held = _is_held(directory)
        if held is not None:
            return held
    # A container that was started again keeps its name, although it has a namespace of its own for names, too.
    started_again = there.host == here.host and there.uts_namespace != here.uts_namespace
    return heard and not started_again


def refuse_live(directory: str) -> None:
    """Refuses an output that another job is writing to.

    Raises:
        OutputError: a live job holds its lock.
        AccessError: storage cannot be reached.
    """
    lock = read_lock(directory)
    deadline = time.monotonic() + _DYING_SECONDS
    while lock and is_live(lock, directory):
        if lock.get("boot") == this_process().boot is not None and time.monotonic() < deadline:
            time.sleep(_LOOK_SECONDS)
            lock = read_lock(directory)
            continue
        since = max(0, round(time.time() - lock["time"]))
        raise OutputError(
            f"{directory}: process {lock['pid']} on {lock['host']} is writing to it, seen {since} s ago; wait for it "
            f"to end, or choose another --output. A job that died on another machine is taken over after "
            f"{_STALE_SECONDS} s"
        )


class HeldLock:
    """The lock of an output while it is held; made by ``hold_lock``.

    Attributes:
        before: what the lock file of an earlier job said; None where there was none.
    """

    def __init__(self, path: str, before: dict[str, Any] | None) -> None:
        self.before = before
        self._path = path
        self._content = {**asdict(this_process()), "time": time.time(), "job": before["job"] if before else None}
        if before and "remote" in before:
            self._content["remote"] = before["remote"]
        self._is_ours = False
        self._left = False
        self._busy = threading.RLock()

    def take(self, version: str | None) -> None:
        """Writes the file, if this version of it is still there."""
        # Two jobs that start at the same moment both see no lock, or a dead one; storage lets one of them have it.
        if not storage.compare_and_swap(self._path, json.dumps(self._content).encode(), version):
            raise OutputError(f"{self._path}: another job has just begun to write there")

    def note_job(self, job: dict[str, Any]) -> None:
        """Says from now on, also when the job has failed, whose shards lie there.

        Args:
            job: the job's description, with its digest; empty while an earlier job's data are being removed.

        Raises:
            AccessError: it cannot be written.
        """
        with self._busy:
            self._content = {**self._content, "job": job}
            self._content.pop("remote", None)
            self._write(self._content)
            self._is_ours = True

    def note_remote(self, remote: dict[str, Any]) -> None:
        """Notes which job of a service does the work (`RemoteJob`, as a dictionary)."""
        with self._busy:
            self._content["remote"] = remote
            with contextlib.suppress(AccessError):  # then the next beat does
                self._write(self._content)

    def beat(self) -> None:
        """Says that the job is alive."""
        with self._busy, contextlib.suppress(AccessError):  # one lost beat does not matter
            if not self._left and self._is_there():
                self._write({**self._content, "time": time.time()})

    def check(self) -> None:
        """Makes sure that the lock is still held.

        Raises:
            OutputError: another job has taken it over.
            AccessError: it was removed, and so the output may have been.
        """
        if not self._is_there():
            name = self._path
            if read_lock(os.path.dirname(name)):
                raise OutputError(f"{name}: another job has taken over; run the same command again when it has ended")
            raise AccessError(
                f"{name}: was removed while the job ran, and maybe more of the output; run the same command again"
            )

    def _is_there(self) -> bool:
        lock, _ = _read(self._path)
        return lock is not None and all(lock.get(name) == self._content[name] for name in asdict(this_process()))

    def _write(self, content: dict[str, Any]) -> None:
        storage.write_bytes(self._path, json.dumps(content).encode())

    def leave(self) -> None:
        """Leaves the file without an owner, or as it was if nothing was begun: for a job that has failed, or goes on
        without this command."""
        with self._busy:
            if self._left:
                return
            self._left = True
            with contextlib.suppress(AccessError):  # the error that ended the job matters more
                lock, _ = _read(self._path)
                if lock is not None and not self._is_there():
                    return  # another job's
                content = self._content if self._is_ours else self.before
                if content:
                    self._write({**content, "pid": None})
                else:
                    storage.delete([self._path])

    def remove(self) -> None:
        """Removes the file when the job has ended well, unless it was left."""
        with self._busy:
            if not self._left:
                self._left = True
                storage.delete([self._path])


@contextlib.contextmanager
def hold_lock(
    directory: str, on_sudden_end: Callable[[Callable[[], None]], None] = lambda _: None
) -> Iterator[HeldLock]:
    """Holds the lock of an output while the block runs.

    The file is left behind, without an owner, when the block fails: it tells a later run whose shards these are. It
    is removed when the block ends well.

    Args:
        directory: the output.
        on_sudden_end: is given what releases the lock, for when the process has to end without leaving the block.

    Raises:
        OutputError: a live job holds the lock.
        AccessError: the output cannot be written.
    """
    refuse_live(directory)
    with _kernel_lock(directory):
        # From here on no other process of this machine can change it.
        before, version = _read(lock_path(directory))
        lock = HeldLock(lock_path(directory), before)
        lock.take(version)
        ended = threading.Event()
        heart = threading.Thread(target=_beat, args=(lock, ended), daemon=True)
        heart.start()
        on_sudden_end(lock.leave)
        try:
            yield lock
        except BaseException:
            ended.set()
            lock.leave()
            raise
        ended.set()
        lock.remove()


@contextlib.contextmanager
def _kernel_lock(directory: str) -> Iterator[None]:
    """Holds the kernel's own lock on an output on disk: of the jobs that start on a machine at once, one gets it.

    It goes with its process, however that ends, and holds between containers. On a disk that machines share others do
    not see it.
    """
    if not storage.is_local(directory):
        yield
        return
    made = []
    folder = directory.rstrip("/") or "/"
    while folder and not os.path.exists(folder):
        made.append(folder)
        folder = os.path.dirname(folder)
    try:
        os.makedirs(directory, exist_ok=True)
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError as error:
        raise AccessError(f"{directory}: cannot be written: {error}") from error
    try:
        with contextlib.suppress(OSError):  # of a file system that has no such locks
            deadline = time.monotonic() + _DYING_SECONDS
            while not _flock(descriptor):
                refuse_live(directory)
                if time.monotonic() > deadline:
                    raise OutputError(f"{directory}: another job has just begun to write there")
                time.sleep(_LOOK_SECONDS)
        yield
    finally:
        os.close(descriptor)
        with contextlib.suppress(OSError):  # what is not empty stays
            for each in made:
                os.rmdir(each)


def _is_held(directory: str) -> bool | None:
    """Whether a process of this machine holds the kernel's lock on an output; None if that cannot be told."""
    try:
        descriptor = os.open(directory, os.O_RDONLY)
    except OSError:
        return None
    try:
        return not _flock(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)


def _flock(descriptor: int) -> bool:
    """Takes the kernel's lock on an open folder, unless another process holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def remove_stale_lock(directory: str) -> None:
    """Removes what is left of the lock of a job that has ended on a service, after its command.

    Raises:
        AccessError: storage cannot be reached.
    """
    left = read_lock(directory)
    if left and not is_live(left, directory):
        storage.delete([lock_path(directory)])


def _beat(lock: HeldLock, ended: threading.Event) -> None:
    while not ended.wait(_BEAT_SECONDS):
        lock.beat()
