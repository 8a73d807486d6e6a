"""Tars of WebDataset's samples: written member by member, and read back, with all that lies in them beside these."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO, cast

from faceveil.transforms.formats.container import NumberedRecord
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.samples import is_numbered
from faceveil.transforms.formats.tar_files import SAMPLE_KEY, BehindEndError, read_members
from faceveil.transforms.quarantine import too_large

_PIECE, _LONGEST_HEADER = 2**20, 2**16
_TOO_LONG = b"?"  # stands for what is longer than a header that a job writes


def write_member(name: str, data: bytes) -> bytes:
    """A member of a tar; its header tells name and size, and nothing of times, owners or machines."""
    return b"".join((_header(name, len(data)), data, bytes(_padding(len(data)))))


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _padding(size: int) -> int:
    return -size % tarfile.BLOCKSIZE


def end_of_tar(size: int) -> bytes:
    """What ends a tar that has so many bytes: two blocks of zeros, and as many as fill a record."""
    return bytes(2 * tarfile.BLOCKSIZE + -(size + 2 * tarfile.BLOCKSIZE) % tarfile.RECORDSIZE)


def read_samples(
    file: BinaryIO, max_bytes: int, note: Callable[[str], None], chosen: Collection[int] | None = None
) -> Iterator[NumberedRecord]:
    """The samples of a tar that ``write_member`` has made, with their numbers, as ``sample_of`` has made them.

    Args:
        file: a plain tar, open at its start; it is only ever read forwards.
        max_bytes: larger samples are passed over, and come as quarantined.
        note: called with what lies in the tar that is no sample's, or that a job would not write so.
        chosen: the numbers of samples that are wanted; None for all.

    Raises:
        CorruptRecordError: the tar is damaged or cut off; the sample before that may have been, and is lost.
        OSError: it cannot be read.
    """
    stream = _ForwardFile(file)
    sample: _Sample | None = None
    number = -1
    padding = 0
    try:
        for member in read_members(cast("BinaryIO", stream)):
            if stream.beside() != bytes(padding) + _header(member.name, member.size):
                note(f"the header at byte {member.start}, or what is before it, says more than a name and a size")
            padding = 0
            key, name = _split_name(member.name)
            if member.kind not in (tarfile.REGTYPE, tarfile.AREGTYPE) or not key or not name:
                note(f"the member at byte {member.start} belongs to no sample")
                continue
            if sample is None or sample.key != key:
                if sample:
                    yield from sample.record(number, max_bytes, chosen)
                number += 1
                sample = _Sample(key)
            padding = _padding(member.size)
            sample.nbytes += member.size
            if sample.nbytes > max_bytes or (chosen is not None and number not in chosen):
                stream.skip(member.size)
                continue
            if name in sample.members:
                note(f"the member at byte {member.start} has the name of another one of its sample")
            sample.members[name] = stream.content(member.size)
    except BehindEndError as error:
        note(str(error))
    if sample:
        yield from sample.record(number, max_bytes, chosen)


def _split_name(path: str) -> tuple[str, str]:
    """The key of a member's sample, empty where there is none, and the member's name in it."""
    folders, slash, last = path.rpartition("/")
    stem, _, name = last.partition(".")
    return (folders + slash + stem if stem else ""), name


@dataclass
class _Sample:
    """A sample whose members are being read."""

    key: str
    members: dict[str, bytes] = field(default_factory=dict)
    nbytes: int = 0

    def record(self, number: int, max_bytes: int, chosen: Collection[int] | None) -> Iterator[NumberedRecord]:
        if chosen is not None and number not in chosen:
            return
        if self.nbytes > max_bytes:
            yield number, too_large(f"it has {self.nbytes} bytes")
            return
        named = {} if is_numbered(self.key) else {SAMPLE_KEY: self.key.encode("utf-8", "surrogateescape")}
        yield number, Example.empty().with_features({**named, **self.members})


class _ForwardFile:
    """A file that is read from its start on, and keeps what is read of it beside contents: headers and padding."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._can_seek = hasattr(file, "seekable") and file.seekable()
        self._place = 0
        self._beside: list[bytes] = []

    def read(self, size: int) -> bytes:
        data = self.content(size)
        self._beside.append(data if size <= _LONGEST_HEADER else _TOO_LONG)
        return data

    def seek(self, place: int) -> None:
        if place > self._place:
            gap = place - self._place
            if gap < tarfile.BLOCKSIZE:
                self.read(gap)
            else:  # what is no member's
                self._beside.append(_TOO_LONG)
                self.skip(gap)

    def content(self, size: int) -> bytes:
        """Bytes that are not kept."""
        data = self._file.read(size)
        self._place += len(data)
        return data

    def skip(self, size: int) -> None:
        """Passes over bytes that are not wanted."""
        if self._can_seek:
            self._place = self._file.seek(self._place + size)
            return
        while size > 0 and (data := self.content(min(size, _PIECE))):
            size -= len(data)

    def beside(self) -> bytes:
        """What was kept since it was asked last."""
        kept, self._beside = b"".join(self._beside), []
        return kept
