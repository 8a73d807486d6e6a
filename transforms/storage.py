"""Files on disk and in object stores, through Beam's file systems; the only place that opens paths."""

from __future__ import annotations

import atexit
import errno
import functools
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, cast

from apache_beam.io.filesystem import BeamIOError, CompressionTypes, FileMetadata
from apache_beam.io.filesystems import FileSystems

from transforms.errors import AccessError


def is_local(path: str) -> bool:
    """Whether the path is on a disk of this machine, not in an object store.

    Example usage::

        >>> is_local("photos/a.jpg"), is_local("gs://bucket/a.jpg")
        (True, False)
    """
    return FileSystems.get_scheme(path) is None


def join(folder: str, *names: str) -> str:
    """A path below a folder, with one slash in between."""
    return "/".join((folder.rstrip("/"), *names)) if folder.strip("/") else "/".join((folder, *names))


def list_files(folder: str) -> Iterator[FileMetadata]:
    """Every file below a folder, however deep, with its size and time of change.

    Locally, links are followed, to folders too. What cannot be read as a file is listed all the same, with size 0, so
    that it is accounted for: a socket, a pipe, a device, a broken link, a link to a folder that it lies in.

    Raises:
        AccessError: the folder cannot be listed, or a folder below it.
    """
    try:
        if is_local(folder):
            yield from _list_local(folder)
        else:
            [match] = FileSystems.match([join(folder, "**")])
            yield from match.metadata_list
    except (OSError, BeamIOError, ValueError) as error:
        raise AccessError(f"{folder}: cannot be listed: {error}") from error


def _list_local(folder: str) -> Iterator[FileMetadata]:
    top = os.stat(folder or ".")
    # Folders that are being listed: their entries still to come, and what identifies them. Not by recursion, for
    # folders may be nested more deeply than calls can be.
    open_folders = [(_entries(folder), (top.st_dev, top.st_ino))]
    while open_folders:
        path = next(open_folders[-1][0], None)
        if path is None:
            open_folders.pop()
            continue
        try:
            status = os.stat(path)
        except OSError:  # a broken link, or links in a circle; or it has vanished just now
            yield FileMetadata(path, 0, 0.0)
            continue
        identity = (status.st_dev, status.st_ino)
        if stat.S_ISDIR(status.st_mode) and identity not in (inside for _, inside in open_folders):
            open_folders.append((_entries(path), identity))
        else:
            size = status.st_size if stat.S_ISREG(status.st_mode) else 0
            yield FileMetadata(path, size, status.st_mtime)


def _entries(folder: str) -> Iterator[str]:
    return iter([os.path.join(folder, name) for name in sorted(os.listdir(folder or "."))])


def exists(path: str) -> bool:
    """Whether a file (locally also a folder) is at this path.

    Raises:
        AccessError: storage does not answer or refuses to say.
    """
    try:
        return bool(FileSystems.exists(path))
    except (OSError, BeamIOError, ValueError) as error:
        raise AccessError(f"{path}: cannot be reached: {error}") from error


def metadata(path: str) -> FileMetadata:
    """Size and time of change of one file.

    Raises:
        AccessError: there is no such file, or it cannot be reached.
    """
    try:
        if is_local(path):
            status = os.stat(path)
            return FileMetadata(path, status.st_size, status.st_mtime)
        [match] = FileSystems.match([path])
        return match.metadata_list[0]
    except (OSError, BeamIOError, ValueError, IndexError) as error:
        raise AccessError(f"{path}: cannot be reached: {error}") from error


def open_to_read(path: str) -> BinaryIO:
    """Opens a file as the bytes it holds, never decompressed on the way.

    Raises:
        OSError: the file cannot be opened, or is none: a pipe or a device might be read for ever.
    """
    if is_local(path):
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", path)
        return open(path, "rb")
    try:
        return cast("BinaryIO", FileSystems.open(path, compression_type=CompressionTypes.UNCOMPRESSED))
    except BeamIOError as error:
        raise OSError(str(error)) from error


def read_bytes(path: str, limit: int = -1) -> bytes:
    """All bytes of a file, or the first ``limit`` of them.

    Raises:
        OSError: the file cannot be read.
    """
    with open_to_read(path) as file:
        return file.read(limit)


@contextmanager
def open_to_publish(path: str) -> Iterator[BinaryIO]:
    """Opens a file that appears under its name whole, when the block ends without an error, or not at all.

    On disk it is written under a temporary name, flushed and renamed. An object store publishes an object when it is
    closed, so there it is written in place.

    Raises:
        AccessError: the place cannot be written.
    """
    try:
        if is_local(path):
            with _publish_by_rename(path) as file:
                yield file
        else:
            with FileSystems.create(path, compression_type=CompressionTypes.UNCOMPRESSED) as file:
                yield file
    except (OSError, BeamIOError) as error:
        raise AccessError(f"{path}: cannot be written: {error}") from error


@contextmanager
def _publish_by_rename(path: str) -> Iterator[BinaryIO]:
    folder, name = os.path.split(path)
    os.makedirs(folder or ".", exist_ok=True)
    # One name per shard, not a random one: a retry overwrites what a killed attempt left.
    temporary = os.path.join(folder, f".{name}.partial")
    try:
        with open(temporary, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            os.remove(temporary)
        raise


def write_bytes(path: str, data: bytes) -> None:
    """Publishes a small file whole.

    Raises:
        AccessError: the place cannot be written.
    """
    with open_to_publish(path) as file:
        file.write(data)


def delete(paths: list[str]) -> None:
    """Removes files; those that are gone already are fine.

    Raises:
        AccessError: one of them cannot be removed.
    """
    present = [path for path in paths if exists(path)]
    if not present:
        return
    try:
        FileSystems.delete(present)
    except (OSError, BeamIOError) as error:
        raise AccessError(f"{present[0]}: cannot be removed: {error}") from error


def copy_folder(source: str, target: str) -> None:
    """Copies every file below a folder, from and to wherever.

    Raises:
        AccessError: the source cannot be read or the target cannot be written.
    """
    for file in list_files(source):
        below = file.path[len(source.rstrip("/")) + 1 :]
        try:
            data = read_bytes(file.path)
        except OSError as error:
            raise AccessError(f"{file.path}: cannot be read: {error}") from error
        write_bytes(join(target, below), data)


@functools.cache
def local_copy(folder: str) -> str:
    """A folder's place on this machine's disk; one in an object store is fetched, once per process.

    Raises:
        AccessError: it cannot be read.
    """
    if is_local(folder):
        return folder
    target = tempfile.mkdtemp(prefix="faceveil-")
    atexit.register(shutil.rmtree, target, ignore_errors=True)
    copy_folder(folder, target)
    return target
