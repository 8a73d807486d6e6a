"""One job per output: a lock file that says which job it is and whether it is alive."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError, OutputError

NAME = ".faceveil-lock.json"
_BEAT_SECONDS = 30
# Long enough for a few beats to get lost, short enough to wait for after a machine has died.
_STALE_SECONDS = 180


def lock_path(directory: str) -> str:
    """Where an output's lock file is."""
    return storage.join(directory, NAME)


def read_lock(directory: str) -> dict[str, Any] | None:
    """The content of an output's lock file; None where there is none.

    Raises:
        AccessError: storage cannot be reached.
    """
    lock, _ = _read(lock_path(directory))
    return lock


def _read(path: str) -> tuple[dict[str, Any] | None, str | None]:
    """A lock file's content and its version in storage."""
    found = storage.find(path)
    if found is None:
        return None, None
    try:
        lock: dict[str, Any] = json.loads(storage.read_bytes(path))
    except (OSError, ValueError):
        # Removed or half written this very moment: whoever did so is alive.
        lock = {"host": "", "pid": 0, "time": time.time(), "job": {}}
    return lock, found.version


def is_live(lock: dict[str, Any]) -> bool:
    """Whether the job that holds a lock is still at work, as far as can be told from here."""
    if lock["pid"] is None or time.time() - lock["time"] > _STALE_SECONDS:
        return False
    if lock["host"] != socket.gethostname():
        return True
    return _process_lives(lock["pid"])


def _process_lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    # One that has died and that nobody has waited for yet still answers.
    return _state_of(pid) != "Z"


def _state_of(pid: int) -> str:
    """The process's state in one letter (https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html); "" elsewhere."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return ""


@contextlib.contextmanager
def hold_lock(directory: str, job: dict[str, Any]) -> Iterator[Callable[[dict[str, Any]], None]]:
    """Holds the lock of an output while the block runs.

    The file is left behind, without an owner, when the block fails: it tells a later run whose shards these are. It
    is removed when the block ends well.

    Args:
        directory: the output.
        job: the job's description, with its digest.

    Yields:
        A function that notes in the file which job of a service does the work (`RemoteJob`, as a dictionary).

    Raises:
        OutputError: a live job holds the lock.
        AccessError: the output cannot be written.
    """
    path = lock_path(directory)
    held, version = _read(path)
    if held and is_live(held):
        since = max(0, round(time.time() - held["time"]))
        raise OutputError(
            f"{directory}: process {held['pid']} on {held['host']} is writing to it, seen {since} s ago; wait for it "
            f"to end, or choose another --output. A job that died is taken over after {_STALE_SECONDS} s"
        )
    lock = {"host": socket.gethostname(), "pid": os.getpid(), "time": time.time(), "job": job}
    # Two jobs that start at the same moment both see no lock, or a dead one; storage lets one of them have it.
    if not storage.replace(path, json.dumps(lock).encode(), version):
        raise OutputError(f"{path}: another job has just begun to write there")

    def note_remote(remote: dict[str, Any]) -> None:
        lock["remote"] = remote
        with contextlib.suppress(AccessError):  # then the next beat does
            _write(path, lock)

    ended = threading.Event()
    heart = threading.Thread(target=_beat, args=(path, lock, ended), daemon=True)
    heart.start()
    try:
        yield note_remote
    except BaseException:
        ended.set()
        heart.join()
        with contextlib.suppress(AccessError):  # the error that ended the job matters more
            _write(path, {**lock, "pid": None})
        raise
    ended.set()
    heart.join()
    storage.delete([path])


def remove_stale_lock(directory: str) -> None:
    """Removes what is left of the lock of a job that has ended on a service, after its command.

    Raises:
        AccessError: storage cannot be reached.
    """
    left = read_lock(directory)
    if left and not is_live(left):
        storage.delete([lock_path(directory)])


def _write(path: str, lock: dict[str, Any]) -> None:
    storage.write_bytes(path, json.dumps(lock).encode())


def _beat(path: str, lock: dict[str, Any], ended: threading.Event) -> None:
    while not ended.wait(_BEAT_SECONDS):
        with contextlib.suppress(AccessError):  # one lost beat does not matter
            _write(path, {**lock, "time": time.time()})
