"""Files that are collected under no name, and then appear under theirs one by one, each whole."""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import BinaryIO, NamedTuple, Protocol, cast

from faceveil.transforms import storage
from faceveil.transforms.errors import AccessError
from faceveil.transforms.storage.base import PIECE

_AT_ONCE = 16
_BYTES_AT_ONCE = 64 * 2**20


class StagedFiles(Protocol):
    """Collects files; made by ``staged_files``."""

    def add(self, name: str, data: bytes) -> None:
        """Adds a file.

        Args:
            name: its path below the folder.
            data: its content.

        Raises:
            AccessError: it cannot be written.
        """


@contextmanager
def staged_files(folder: str) -> Iterator[StagedFiles]:
    """Collects files that appear below a folder when the block ends without an error, or not at all.

    On disk they are written under temporary names in that folder, flushed and renamed. For an object store they are
    collected in a temporary file without a name, which is gone with its process. When the process dies while they
    appear, some are there, each whole.

    Raises:
        AccessError: the place cannot be written.
    """
    files = _OnDisk(folder) if storage.is_local(folder) else _ForStore(folder)
    try:
        yield files
        files.publish()
    except OSError as error:
        raise AccessError(f"{folder}: cannot be written: {error}") from error
    finally:
        files.close()


class _OnDisk:
    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._mark = f"{secrets.token_hex(4)}.partial"
        self._waiting: dict[str, str] = {}

    def add(self, name: str, data: bytes) -> None:
        # A short name of its own, since the longest that there may be could not be made longer.
        temporary = os.path.join(self._folder, f".{len(self._waiting)}.{self._mark}")
        if not self._waiting:
            os.makedirs(self._folder, exist_ok=True)
        self._waiting[name] = temporary
        with open(temporary, "xb") as file:
            file.write(data)

    def publish(self) -> None:
        # What follows says that they are there, so they must survive the loss of power before it.
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            list(pool.map(_flush, self._waiting.values()))
        for name in list(self._waiting):
            path = os.path.join(self._folder, name)
            try:
                os.replace(self._waiting[name], path)
            except FileNotFoundError:  # its folder is not there
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.replace(self._waiting[name], path)
            del self._waiting[name]

    def close(self) -> None:
        for temporary in self._waiting.values():
            with suppress(OSError):
                os.remove(temporary)


def _flush(path: str) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


class _Piece(NamedTuple):
    name: str
    start: int
    size: int


class _ForStore:
    def __init__(self, folder: str) -> None:
        self._folder = folder
        self._file = cast("BinaryIO", tempfile.SpooledTemporaryFile(PIECE))  # noqa: SIM115  closed by `close`
        self._waiting: list[_Piece] = []

    def add(self, name: str, data: bytes) -> None:
        self._waiting.append(_Piece(name, self._file.tell(), len(data)))
        self._file.write(data)

    def publish(self) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for pieces in self._batches():
                list(pool.map(self._send, map(self._read, pieces)))

    def _batches(self) -> Iterator[list[_Piece]]:
        """Those that memory holds at once."""
        batch: list[_Piece] = []
        for piece in self._waiting:
            batch.append(piece)
            if len(batch) == _AT_ONCE or sum(each.size for each in batch) >= _BYTES_AT_ONCE:
                yield batch
                batch = []
        yield batch

    def _read(self, piece: _Piece) -> tuple[str, bytes]:
        self._file.seek(piece.start)
        return piece.name, self._file.read(piece.size)

    def _send(self, named: tuple[str, bytes]) -> None:
        name, data = named
        storage.write_bytes(storage.join(self._folder, name), data)

    def close(self) -> None:
        self._file.close()


def delete_below(folder: str, names: list[str]) -> None:
    """Removes files below a folder, and the folders in it that are empty then; what is gone already is fine.

    Raises:
        AccessError: one of them cannot be removed.
    """
    storage.delete([storage.join(folder, name) for name in names])
    if not storage.is_local(folder):
        return
    for name in names:
        above = os.path.dirname(name)
        while above:
            try:
                os.rmdir(os.path.join(folder, above))
            except OSError:  # it is not empty, or gone
                break
            above = os.path.dirname(above)
