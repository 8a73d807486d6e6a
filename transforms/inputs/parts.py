"""Large files of records in parts, each of which becomes a shard.

The number of parts follows from the size that the listing tells, and from how far such a file can be divided, which it
says itself. Where each begins is found on a worker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from faceveil.transforms.formats.container import CorruptRecordError, FilePart, parts_between
from faceveil.transforms.formats.containers import CONTAINERS
from faceveil.transforms.formats.kinds import unreadable
from faceveil.transforms.inputs.match import InputFile
from faceveil.transforms.storage.base import REQUESTS_AT_ONCE

PART_BYTES = tuple(size * 2**20 for size in (64, 32, 16, 8, 4))
"""Of a file of records, that fill a shard; the smaller ones are for small jobs."""
MIN_SHARDS = 16
"""Of a job that has data enough: what is lost when it is killed is the shards that are being made."""


def count_parts(size: int, part_bytes: int, most: int) -> int:
    """The parts of a file of this size that can be divided into so many at most.

    Example usage::

        >>> [count_parts(size, 10, 5) for size in (0, 10, 11, 99)]
        [1, 1, 2, 5]
    """
    return max(1, min(most, -(-size // part_bytes)))


def max_parts(files: Sequence[InputFile]) -> Iterator[int]:
    """Into how many parts each file of records can be divided at most: 1 where it is compressed or damaged.

    Raises:
        AccessError: one cannot be read.
    """
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        yield from pool.map(_max_parts, files)


def _max_parts(file: InputFile) -> int:
    try:
        return CONTAINERS[file.kind].max_parts(file.stored)
    except OSError as error:
        raise unreadable(file.path, error) from error


def find_parts(file: InputFile, count: int) -> list[FilePart]:
    """Finds where the parts of a file of records begin.

    A file that is damaged, or that cannot be read, has one part that is not empty, which will say so.

    Args:
        file: the file, which can be divided.
        count: the number of parts.

    Raises:
        AccessError: it may not be read, is not the file that was listed, or storage cannot be reached.
    """
    try:
        return CONTAINERS[file.kind].divide(file.stored, count)
    except PermissionError as error:
        raise unreadable(file.path, error) from error
    except (CorruptRecordError, OSError):
        return parts_between([(0, 0), *[(file.size, 0)] * count], damaged=0)


def part_digest(file_digest: str, number: int, count: int) -> str:
    """Identifies a part of a version of a file; the digests of all parts add up to the file's own.

    Example usage::

        >>> from faceveil.transforms.inputs.match import add_digests
        >>> add_digests(part_digest("ff", number, 3) for number in range(3)) == add_digests(["ff"])
        True
    """
    if number:
        return hashlib.sha256(f"{file_digest}\0{number}\0{count}".encode()).hexdigest()
    others = sum(int(part_digest(file_digest, other, count), 16) for other in range(1, count))
    return f"{(int(file_digest, 16) - others) % 2**256:064x}"
