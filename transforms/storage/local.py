"""Files on a disk: listing them, and noticing that one is no longer what was listed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO

from faceveil.transforms.errors import AccessError
from faceveil.transforms.storage.base import StoredFile

UNKNOWN_VERSION = repr(0.0)
"""Of what is listed though it is no file, such as a link to nothing: it has no time."""

Identity = tuple[int, int]
"""Of a folder, whatever leads there: its device and inode."""


@dataclass(frozen=True)
class Scope:
    """Which part of a tree of folders is listed.

    Attributes:
        enters: whether to list a folder, by its path and identity; what lies beyond others need not be accessible.
        wants: whether a path is of interest as a file; one that is not may be out of reach.
    """

    enters: Callable[[str, Identity], bool] = lambda path, identity: True  # noqa: ARG005
    wants: Callable[[str], bool] = lambda path: True  # noqa: ARG005


EVERYTHING = Scope()


def list_local(folder: str, scope: Scope) -> Iterator[StoredFile]:
    """Every file below a folder, links followed, in the order of names within each folder.

    What is no file is listed all the same, with size 0, so that it is accounted for: a socket, a pipe, a device, a
    broken link, a link to a folder that it lies in. What vanishes meanwhile is left out.

    Raises:
        AccessError: a folder cannot be listed or entered, or something in it not be reached; names it.
    """
    try:
        top = identity_of(folder or ".")
    except OSError as error:
        raise _unlistable(folder or ".", error) from error
    if not scope.enters(folder, top):
        return
    # Folders that are being listed: their entries still to come, and what identifies them. Not by recursion, for
    # folders may be nested more deeply than calls can be.
    open_folders = [(_entries(folder), top)]
    while open_folders:
        path = next(open_folders[-1][0], None)
        if path is None:
            open_folders.pop()
            continue
        try:
            status = os.stat(path)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP):
                if os.path.islink(path):  # to nothing, or in a circle; else it has vanished just now
                    yield StoredFile(path, 0, UNKNOWN_VERSION)
            elif scope.wants(path) or scope.enters(path, (0, 0)):
                raise _unreachable(path, error) from error
            continue
        identity = (status.st_dev, status.st_ino)
        if not stat.S_ISDIR(status.st_mode):
            yield _stored(path, status)
        elif identity in (inside for _, inside in open_folders):
            yield StoredFile(path, 0, repr(status.st_mtime))
        elif scope.enters(path, identity):
            open_folders.append((_entries(path), identity))


def identity_of(folder: str) -> Identity:
    """What identifies a folder.

    Raises:
        OSError: there is none.
    """
    status = os.stat(folder)
    return status.st_dev, status.st_ino


def may_access(path: str, mode: int) -> bool:
    """Whether this process may do something with a file, ``os.R_OK`` or ``os.X_OK``; no where there is none."""
    return os.access(path, mode, effective_ids=os.access in os.supports_effective_ids)


def _entries(folder: str) -> Iterator[str]:
    try:
        start = os.path.join(folder, "")
        return iter([start + name for name in sorted(os.listdir(folder or "."))])
    except OSError as error:
        raise _unlistable(folder or ".", error) from error


def _unlistable(folder: str, error: OSError) -> AccessError:
    hint = "; give access to it, or leave it out with --exclude" if isinstance(error, PermissionError) else ""
    return AccessError(f"{folder}: cannot be listed: {error.strerror}{hint}")


def _unreachable(path: str, error: OSError) -> AccessError:
    folder = os.path.dirname(path) or "."
    if isinstance(error, PermissionError) and not may_access(folder, os.X_OK):
        return AccessError(
            f"{folder}: may be listed but not entered: {error.strerror}; give access to it, or leave it out with "
            "--exclude"
        )
    return AccessError(
        f"{path}: cannot be reached: {error.strerror}; give access to it, or leave it out with --exclude"
    )


def stat_local(path: str) -> StoredFile | None:
    """Size and version of one file, or of a folder; None where there is none.

    Raises:
        AccessError: the system refuses to say.
    """
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise AccessError(f"{path}: cannot be reached: {error}") from error
    return _stored(path, status)


def _stored(path: str, status: os.stat_result) -> StoredFile:
    mode = status.st_mode
    size = status.st_size if stat.S_ISREG(mode) else 0
    return StoredFile(path, size, repr(status.st_mtime), not mode & stat.S_IROTH)


def open_local(path: str, version: str | None = None, size: int | None = None) -> BinaryIO:
    """Opens a file to read.

    Args:
        path: where it is.
        version: as it was listed; None for whatever is there.
        size: in bytes, when it was listed; None where that does not matter.

    Raises:
        OSError: the file cannot be opened, or is none: a pipe or a device might be read for ever.
        AccessError: it is not the one that was listed.
    """
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)
    _check(path, status, version, size)
    return open(path, "rb")


def read_local(
    path: str, limit: int = -1, version: str | None = None, size: int | None = None, start: int = 0
) -> bytes:
    """``limit`` bytes of a file from a position on, all where it is negative; else as ``open_local``."""
    with open_local(path, version, size) as file:
        # Python takes the memory for as much as is asked for before it reads, however little is there.
        there = max(0, os.fstat(file.fileno()).st_size - start)
        file.seek(start)
        data = file.read(limit if limit < 0 else min(limit, there + 1))
        if there < len(data) < limit:  # it has grown since
            data += file.read(limit - len(data))
    check_unchanged_local(path, version, size)
    return data


def check_unchanged_local(path: str, version: str | None, size: int | None) -> None:
    """Makes sure that a file that was just read is still the one that was listed.

    Raises:
        AccessError: it is another one.
    """
    if version is None and size is None:
        return
    try:
        status = os.stat(path)
    except OSError:  # it is gone, so what was read is what was listed
        return
    _check(path, status, version, size)


def _check(path: str, status: os.stat_result, version: str | None, size: int | None) -> None:
    changed = size is not None and size != status.st_size
    if changed or version not in (None, UNKNOWN_VERSION, repr(status.st_mtime)):
        raise AccessError(
            f"{path}: was changed while the job ran; use --update to continue with what is there now, or "
            "--overwrite to begin anew"
        )
