"""Objects as files: fetched in pieces, of which some are fetched before they are read."""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

from faceveil.transforms.storage.base import ObjectStore

READ_PIECE = 4 * 2**20
"""Bytes of a file that are fetched at once."""
_PIECES_AHEAD = 2
_BUFFER = 2**16


class _RangedFile(io.RawIOBase):
    """Fetches piece by piece; once several are read one after the other, the next ones before they are needed."""

    def __init__(self, size: int, read_range: Callable[[int, int], bytes], until: int) -> None:
        super().__init__()
        self._size = size
        self._read_range = read_range
        self._until = until
        self._position = 0
        self._fetched: dict[int, Future[bytes]] = {}
        self._ahead = 0
        self._last = -2
        self._threads = ThreadPoolExecutor(1 + _PIECES_AHEAD, thread_name_prefix="read-ahead")

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._fetched.clear()
        super().close()

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if self._position >= self._size:
            return 0
        number, start = divmod(self._position, READ_PIECE)
        piece = self._piece(number)
        data = memoryview(piece)[start : start + len(buffer)]
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _piece(self, number: int) -> bytes:
        if number != self._last:
            self._ahead = min(self._ahead + 1, _PIECES_AHEAD) if number == self._last + 1 else 0
            self._last = number
        known = (min(self._until, self._size) - 1) // READ_PIECE - number
        ahead = min(_PIECES_AHEAD, known) if known >= 0 else self._ahead
        for wanted in range(number, min(number + ahead, (self._size - 1) // READ_PIECE) + 1):
            if wanted not in self._fetched:
                end = min((wanted + 1) * READ_PIECE, self._size)
                self._fetched[wanted] = self._threads.submit(self._read_range, wanted * READ_PIECE, end)
        for passed in self._fetched.keys() - range(number, number + ahead + 1):
            self._fetched.pop(passed).cancel()
        return self._fetched[number].result()


def ranged_file(size: int, read_range: Callable[[int, int], bytes], until: int = 0) -> BinaryIO:
    """A file that is fetched in pieces; of one that is read on and on, some are fetched ahead by other threads.

    Args:
        size: of the whole, bytes.
        read_range: gives the bytes from one position to before another.
        until: where reading on and on is known to end, so that fetching ahead begins, and ends, in time; 0 where
            nothing is known.

    Example usage::

        >>> ranged_file(3, lambda start, end: b"abc"[start:end]).read()
        b'abc'
    """
    return io.BufferedReader(_RangedFile(size, read_range, until), _BUFFER)


def open_object(
    store: ObjectStore, path: str, version: str | None = None, size: int | None = None, until: int = 0
) -> BinaryIO:
    """An object to read piece by piece; each piece is fetched again when it breaks off.

    Where version and size are known nothing is asked before the first piece, so that an object that is not there is
    noticed when it is read. For ``until`` see ``ranged_file``.

    Raises:
        OSError: there is no such object, or this one may not be read.
        AccessError: the store cannot be reached, or it is no longer the given version; reading raises the same.
    """
    if version is None or size is None:
        found = store.stat(path)
        if found is None:
            raise FileNotFoundError(f"{path}: does not exist")
        version, size = version or found.version, found.size
    return ranged_file(size, lambda start, end: store.read_range(path, start, end, version), until)
