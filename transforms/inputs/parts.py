"""Large TFRecord files in parts, each of which becomes a shard: the records that start in a range of the file's bytes.

The number of parts follows from the size that the listing tells. Where each begins is found on a worker, from one
record's length to the next.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise

from faceveil.transforms import storage
from faceveil.transforms.formats.kinds import unreadable
from faceveil.transforms.formats.tfrecord import HEADER_BYTES, CorruptRecordError, is_header, record_offsets
from faceveil.transforms.inputs.match import InputFile
from faceveil.transforms.storage.base import REQUESTS_AT_ONCE, StoredFile

PART_BYTES = tuple(size * 2**20 for size in (64, 32, 16, 8, 4))
"""Of a TFRecord file, that fill a shard; the smaller ones are for small jobs."""
MIN_SHARDS = 16
"""Of a job that has data enough: what is lost when it is killed is the shards that are being made."""


@dataclass(frozen=True)
class FilePart:
    """A part of a TFRecord file.

    Attributes:
        number: of the part.
        count: of all parts of the file.
        start: the first byte of its first record.
        stop: where the next part's first record starts, or the file ends.
        first: the number of its first record in the file.
        records: how many it has; None where the file is damaged there, and nobody knows.
    """

    number: int
    count: int
    start: int
    stop: int
    first: int
    records: int | None


def count_parts(size: int, part_bytes: int) -> int:
    """The parts of a file of this size that is not compressed.

    Example usage::

        >>> [count_parts(size, 10) for size in (0, 10, 11)]
        [1, 1, 2]
    """
    return max(1, -(-size // part_bytes))


def are_plain(files: Sequence[InputFile]) -> Iterator[bool]:
    """Whether each file begins as a TFRecord file that is not compressed.

    Raises:
        AccessError: one cannot be read.
    """
    with ThreadPoolExecutor(REQUESTS_AT_ONCE) as pool:
        yield from pool.map(_is_plain, files)


def _is_plain(file: InputFile) -> bool:
    try:
        return is_header(storage.read_start(StoredFile(file.path, file.size, file.version), HEADER_BYTES))
    except OSError as error:
        raise unreadable(file.path, error) from error


def find_parts(file: InputFile, count: int) -> list[FilePart]:
    """Finds where the parts of a TFRecord file begin, by reading the length of each record.

    A part of a file that is damaged ends with the damage, and what is behind it is in no part. A file that cannot be
    read has one part, which will say so.

    Args:
        file: the file, not compressed.
        count: the number of parts.

    Raises:
        AccessError: it may not be read, is not the file that was listed, or storage cannot be reached.
    """
    starts = [(0, 0)]
    number = 0
    damaged = None
    try:
        with storage.open_to_read(file.path, file.version, file.size) as opened:
            for offset in record_offsets(opened, file.size):
                while len(starts) < count and offset >= file.size * len(starts) // count:
                    starts.append((offset, number))
                number += 1
    except PermissionError as error:
        raise unreadable(file.path, error) from error
    except (CorruptRecordError, OSError):
        damaged = len(starts) - 1
    ends = [*starts, *[(file.size, number)] * (count + 1 - len(starts))]
    return [
        FilePart(place, count, start, stop, first, None if place == damaged else after - first)
        for place, ((start, first), (stop, after)) in enumerate(pairwise(ends))
    ]


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
