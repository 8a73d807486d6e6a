"""Files that hold many records: how one is divided among shards, and read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.quarantine import Quarantine
from faceveil.transforms.storage.base import StoredFile


class CorruptRecordError(Exception):
    """The file is damaged or cut off; nothing after this place can be found."""


@dataclass(frozen=True)
class FilePart:
    """A part of a file of records, which makes a shard.

    Attributes:
        number: of the part.
        count: of all parts of the file.
        start: the first of its bytes.
        stop: where the next part's bytes begin, or the file ends.
        first: the number of its first record in the file.
        records: how many it has; None where the file is damaged there, and nobody knows.
    """

    number: int
    count: int
    start: int
    stop: int
    first: int
    records: int | None


def parts_between(starts: Sequence[tuple[int, int]], damaged: int | None = None) -> list[FilePart]:
    """The parts of a file.

    Args:
        starts: the first byte and the number of the first record of each part, then the file's size and number of
            records.
        damaged: the number of a part that is damaged.

    Example usage::

        >>> [(part.first, part.records) for part in parts_between([(0, 0), (30, 2), (50, 5)], damaged=1)]
        [(0, 2), (2, None)]
    """
    return [
        FilePart(number, len(starts) - 1, start, stop, first, None if number == damaged else after - first)
        for number, ((start, first), (stop, after)) in enumerate(pairwise(starts))
    ]


def divide_by_bytes(record_starts: Iterable[int], size: int, count: int) -> list[FilePart]:
    """Parts of about as many bytes each: a record belongs to the range of bytes in which it starts.

    A part that is damaged ends with the damage, and what is behind it is in no part.

    Args:
        record_starts: the first byte of each record, in order; may raise a CorruptRecordError or an OSError where the
            file cannot be read on.
        size: of the file in bytes.
        count: of parts; there may be empty ones.

    Raises:
        PermissionError: the file may not be read.

    Example usage::

        >>> [(part.start, part.first, part.records) for part in divide_by_bytes([0, 10, 40, 70], 90, 2)]
        [(0, 0, 3), (70, 3, 1)]
    """
    starts = [(0, 0)]
    number = 0
    damaged = None
    try:
        for start in record_starts:
            while len(starts) < count and start >= size * len(starts) // count:
                starts.append((start, number))
            number += 1
    except PermissionError:
        raise
    except (CorruptRecordError, OSError):
        damaged = len(starts) - 1
    return parts_between([*starts, *[(size, number)] * (count + 1 - len(starts))], damaged)


def rest_from(number: int, part: FilePart | None) -> str:
    """What is lost where a record and all that follow it cannot be read, for messages.

    Example usage::

        >>> rest_from(3, None), rest_from(3, FilePart(0, 2, 0, 50, 0, 5))
        ('record 3 and what follows', 'record 3 up to record 4')
    """
    last = part.first + part.records - 1 if part and part.records else None
    return f"record {number} and what follows" if last is None else f"record {number} up to record {last}"


@dataclass(frozen=True)
class Declared:
    """What a file says, before any record is read, of a feature that its records will have.

    Attributes:
        name: of the feature.
        refusal: why an Example cannot hold its values; empty where it can.
        note: what is not the same in an Example; empty where nothing is.
        holds_images: whether it says that they are images, which other files show by their records alone.
        type: of a column that holds its values, see ``columns.Columns``; empty where nothing tells.
    """

    name: str
    refusal: str = ""
    note: str = ""
    holds_images: bool = False
    type: str = ""

    @property
    def advice(self) -> str:
        """What to do about a feature that an Example cannot hold."""
        return f"column {self.name} {self.refusal}; --drop_features {self.name} leaves it out"


NumberedRecord = tuple[int, bytes | Quarantine]
"""The number of a record in its file, and its serialised Example, or why it has none."""


@dataclass(frozen=True)
class Container:
    """A kind of file that holds many records; ``containers`` lists all.

    Whatever reads a file raises an OSError where it cannot be read, and an AccessError where storage cannot be reached
    or the file is not the one that was listed.

    Attributes:
        begins: whether a file whose first 4096 bytes (all, if it has fewer) are these is one.
        why_ignored: why a file of this kind is no input; empty where it is one.
        max_parts: into how many parts a file can be divided at most; one that is damaged is one part.
        divide: the parts of a file, where their number is given; raises a CorruptRecordError where none can be told.
        declared: the features that a file declares; none where only its records tell.
        read: the records of a part, or of a whole file where that is None, in order. Records of more bytes than the
            number given, and what the roles of features do not leave out and an Example cannot hold, are quarantined.
    """

    begins: Callable[[bytes], bool]
    why_ignored: Callable[[StoredFile], str]
    max_parts: Callable[[StoredFile], int]
    divide: Callable[[StoredFile, int], list[FilePart]]
    declared: Callable[[StoredFile], Sequence[Declared]]
    read: Callable[[StoredFile, FilePart | None, int, FeatureRoles], Iterator[NumberedRecord]]
