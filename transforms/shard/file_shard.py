"""Shards that are one file each, whatever lies in it: a format says how records are written to it and read back."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO, Protocol, cast

from faceveil.transforms import storage
from faceveil.transforms.formats.audit import Place, Row, ShardResult, Status, read_rows
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.inputs.plan import ShardPlan

_PIECE = 2**20
_GZIP_LEVEL = 6


class RecordWriter(Protocol):
    """Writes the records of a shard to its file."""

    def add(self, row: Row, data: bytes) -> None:
        """Adds a record; see ``ShardWriter``."""

    def finish(self) -> None:
        """Writes what ends the file, which stays open."""


class SummedFile:
    """A file that is written from its beginning to its end, with its size and checksum.

    Once it is cut off, nothing more is written: writers that are given up write their ends when they are collected.

    Args:
        file: open to be written.

    Attributes:
        nbytes: that were written.
        checksum: SHA-256 of them.
    """

    closed = False  # as pyarrow asks

    def __init__(self, file: BinaryIO) -> None:
        self.nbytes = 0
        self.checksum = hashlib.sha256()
        self._file: BinaryIO | None = file

    def write(self, data: bytes) -> int:
        """Writes bytes."""
        nbytes = memoryview(data).nbytes
        if self._file:
            self._file.write(data)
            self.checksum.update(data)
            self.nbytes += nbytes
        return nbytes

    def cut_off(self) -> None:
        """Lets no more be written."""
        self._file = None

    def tell(self) -> int:
        """Where the next bytes are written."""
        return self.nbytes

    def flush(self) -> None:
        """Does nothing: who publishes the file sees to it."""


@dataclass(frozen=True)
class FileShards:
    """A ``ShardFormat`` of shards that are one file each.

    Attributes:
        writer: of a shard's records, to a file that is open at its beginning.
        read: gives the records of such a file as the writer got them, in their order.
    """

    writer: Callable[[BinaryIO, ShardPlan, OutputLayout], RecordWriter]
    read: Callable[[BinaryIO], Iterator[bytes]]

    takes_records = True
    has_files = False

    @contextmanager
    def opened(self, plan: ShardPlan, output: OutputLayout) -> Iterator[FileWriter]:
        """See ``ShardFormat``."""
        with storage.atomic_write(output.shard_path(plan.name)) as file:
            summed = SummedFile(file)
            writer = self.writer(cast("BinaryIO", summed), plan, output)
            try:
                yield FileWriter(writer, summed, output.shard_file(plan.name))
            finally:
                summed.cut_off()

    def settle(self, name: str, output: OutputLayout) -> None:
        """See ``ShardFormat``; there is nothing to do."""

    def is_whole(self, name: str, output: OutputLayout, result: ShardResult) -> bool:
        """See ``ShardFormat``."""
        shard = storage.stat(output.shard_path(name))
        return shard is not None and shard.size == result.bytes

    def read_back(self, name: str, output: OutputLayout, result: ShardResult) -> Iterator[tuple[Row, bytes]]:
        """See ``ShardFormat``; of a shard that is not the one that was written there is none."""
        shard = output.shard_path(name)
        if _sha256(shard) != result.sha256:
            return
        with storage.open_to_read(shard) as file:
            records = self.read(file)
            for row in read_rows(output.audit_path(name)):
                if row.status is not Status.QUARANTINED:
                    yield row, next(records)


class FileWriter:
    """See ``ShardWriter``.

    Args:
        writer: of the records.
        file: what it writes to.
        name: of the file.
    """

    def __init__(self, writer: RecordWriter, file: SummedFile, name: str) -> None:
        self._writer = writer
        self._file = file
        self._name = name
        self._records = 0

    def add(self, row: Row, data: bytes) -> Place:
        """See ``ShardWriter``."""
        self._writer.add(row, data)
        self._records += 1
        return Place(self._name, self._records - 1)

    def finish(self) -> None:
        """See ``ShardWriter``."""
        self._writer.finish()

    @property
    def nbytes(self) -> int:
        """See ``ShardWriter``."""
        return self._file.nbytes

    @property
    def sha256(self) -> str:
        """See ``ShardWriter``."""
        return self._file.checksum.hexdigest()


def compressed_by(compression: str, file: BinaryIO) -> BinaryIO:
    """What compresses a stream on its way to a file; the same bytes at any time, under any name."""
    if compression == "none":
        return file
    return cast("BinaryIO", gzip.GzipFile("", "wb", _GZIP_LEVEL, file, mtime=0))


def _sha256(path: str) -> str | None:
    checksum = hashlib.sha256()
    try:
        with storage.open_to_read(path) as file:
            while piece := file.read(_PIECE):
                checksum.update(piece)
    except OSError:
        return None
    return checksum.hexdigest()
