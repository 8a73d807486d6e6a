"""What the job asks of an object store, and what all of them have in common."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Protocol

from faceveil.transforms.errors import AccessError

PIECE = 8 * 2**20
"""Bytes that are read or sent at once; what a file that is read or written piece by piece holds in memory."""
PATIENCE_SECONDS = 300.0
"""How long a request is repeated, with growing pauses, before the store counts as out of reach."""
REQUESTS_AT_ONCE = 32
"""How many files are looked for or looked into side by side, since an answer takes its time."""
CHECK_SECONDS = 5.0
"""The same before a job begins, when a user is waiting and nothing is lost."""


@dataclass(frozen=True)
class StoredFile:
    """One file, on disk or in an object store.

    Attributes:
        path: where it is.
        size: in bytes.
        version: another one whenever its content is another: Cloud Storage's generation, S3's ETag, on disk the time of
            its last change in seconds since the epoch.
        restricted: on disk, whether its mode does not let everybody read it.
    """

    path: str
    size: int
    version: str
    restricted: bool = False


class ObjectStore(Protocol):
    """One service, as the job uses it. Paths are whole, such as ``gs://bucket/name``.

    Every request is repeated while the store is busy or out of reach. What each of them raises:

    Raises:
        AccessError: the store cannot be reached, or refuses; says why and what to do, in one line.
    """

    def list(self, prefix: str) -> Iterator[StoredFile]:
        """The objects whose paths begin with a prefix, page by page, in the order of their names' bytes.

        What stands for a folder (a name that ends in a slash) is left out.
        """

    def stat(self, path: str) -> StoredFile | None:
        """One object; None where there is none."""

    def read(self, path: str, limit: int, version: str | None) -> bytes:
        """The first ``limit`` bytes of an object, all of them where it is negative, never decompressed.

        Raises:
            OSError: there is no such object, or this one may not be read.
            AccessError: as above, or it is no longer the given version.
        """

    def read_range(self, path: str, start: int, end: int, version: str | None) -> bytes:
        """The bytes of an object from one position to before another, of those that it has; no others are sent.

        Raises:
            OSError: there is no such object, or this one may not be read.
            AccessError: as above, or it is no longer the given version.
        """

    def open(self, path: str, version: str | None) -> BinaryIO:
        """An object to read from its start, piece by piece; each piece is fetched again when it breaks off.

        Raises:
            OSError: there is no such object, or this one may not be read.
            AccessError: as above, or it is no longer the given version; reading raises the same.
        """

    def publish(self, path: str, file: BinaryIO) -> None:
        """Makes the content of a file an object, at once and whole, its checksum verified; replaces what was there."""

    def compare_and_swap(self, path: str, data: bytes, version: str | None) -> bool:
        """Publishes a small object if the store holds this version of it, or none where it is None; whether it did."""

    def delete(self, path: str) -> None:
        """Removes an object; one that is gone already is fine."""


def split_path(path: str) -> tuple[str, str]:
    """Bucket and name of an object.

    Raises:
        AccessError: the path names no bucket.

    Example usage::

        >>> split_path("gs://photos/2024/a.jpg")
        ('photos', '2024/a.jpg')
    """
    bucket, _, name = path.split("://", 1)[1].partition("/")
    if not bucket:
        raise AccessError(f"{path}: names no bucket; its name comes first and holds no wildcard")
    return bucket, name


def one_line(error: object) -> str:
    """What an error says, without line breaks.

    Example usage::

        >>> one_line("a\\n  b")
        'a b'
    """
    return " ".join(str(error).split())


class _RangedFile(io.RawIOBase):
    def __init__(self, size: int, read_range: Callable[[int, int], bytes]) -> None:
        super().__init__()
        self._size = size
        self._read_range = read_range
        self._position = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        end = min(self._position + len(buffer), self._size)
        if end <= self._position:
            return 0
        data = self._read_range(self._position, end)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def readall(self) -> bytes:
        # Else it would come in pieces of a few kilobytes, each a request.
        return b"".join(iter(lambda: self.read(PIECE) or b"", b""))


def ranged_file(size: int, read_range: Callable[[int, int], bytes]) -> BinaryIO:
    """A file that is read from its start to its end, in pieces that are requested when they are needed.

    Args:
        size: of the whole, bytes.
        read_range: gives the bytes from one position to before another.

    Example usage::

        >>> ranged_file(3, lambda start, end: b"abc"[start:end]).read()
        b'abc'
    """
    return io.BufferedReader(_RangedFile(size, read_range), PIECE)
