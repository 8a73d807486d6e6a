"""What the job asks of an object store, and what all of them have in common."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, Protocol

from faceveil.transforms.errors import AccessError

PIECE = 8 * 2**20
"""Bytes that are sent at once."""
PATIENCE_SECONDS = 300.0
"""How long a request is repeated, with growing pauses, before the store counts as out of reach."""
REQUESTS_AT_ONCE = 32
"""How many files are looked for or looked into side by side, since an answer takes its time."""
LISTINGS_AT_ONCE = 16
"""How many parts of object stores are listed side by side."""
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


class Page(NamedTuple):
    """What a store answers at once when it is asked what lies below a prefix.

    Attributes:
        files: objects, in the order of their paths.
        folders: prefixes, slashes at their ends, in order; none where what lies below them is listed too.
        is_last: whether nothing follows.
    """

    files: list[StoredFile]
    folders: list[str]
    is_last: bool


class ObjectStore(Protocol):
    """One service, as the job uses it. Paths are whole, such as ``gs://bucket/name``.

    Every request is repeated while the store is busy or out of reach. What each of them raises:

    Raises:
        AccessError: the store cannot be reached, or refuses; says why and what to do, in one line.
    """

    def pages(self, prefix: str, after: str = "", before: str = "", *, one_level: bool = False) -> Iterator[Page]:
        """The objects whose paths begin with a prefix, in the order of their names' bytes; a request for each page.

        What stands for a folder (a name that ends in a slash) is left out.

        Args:
            prefix: of whole paths.
            after: what comes before this path, and this itself, is left out.
            before: this path and what comes after it is left out; empty for none.
            one_level: whether what lies in folders below the prefix is left out, and the folders are named instead.
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


def is_sorted(path: str) -> bool:
    """Whether the store lists objects beside a path in the order of their names, which S3's directory buckets do not:
    https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html.

    Example usage::

        >>> is_sorted("s3://photos/a.jpg"), is_sorted("s3://photos--usw2-az1--x-s3/a.jpg")
        (True, False)
    """
    return not split_path(path)[0].endswith("--x-s3")


def one_line(error: object) -> str:
    """What an error says, without line breaks.

    Example usage::

        >>> one_line("a\\n  b")
        'a b'
    """
    return " ".join(str(error).split())
