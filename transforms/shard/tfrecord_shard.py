"""Shards that are TFRecord files of Examples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from faceveil.transforms import storage
from faceveil.transforms.formats.audit import Place, Row, ShardResult, Status, read_rows
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.formats.tfrecord import frame, read_records
from faceveil.transforms.inputs.plan import ShardPlan

_PIECE = 2**20


class TFRecordShards:
    """See ``ShardFormat``."""

    takes_records = True
    has_files = False

    @contextmanager
    def opened(self, plan: ShardPlan, output: OutputLayout) -> Iterator[TFRecordWriter]:
        """See ``ShardFormat``."""
        with storage.atomic_write(output.shard_path(plan.name)) as file:
            yield TFRecordWriter(file, output.shard_file(plan.name))

    def settle(self, name: str, output: OutputLayout) -> None:
        """See ``ShardFormat``; there is nothing to do."""

    def is_whole(self, name: str, output: OutputLayout, result: ShardResult) -> bool:
        """See ``ShardFormat``."""
        shard = storage.stat(output.shard_path(name))
        return shard is not None and shard.size == result.bytes

    def read_back(self, name: str, output: OutputLayout, result: ShardResult) -> Iterator[tuple[Row, bytes | None]]:
        """See ``ShardFormat``; of a shard that is not the one that was written there is none."""
        shard = output.shard_path(name)
        if _sha256(shard) != result.sha256:
            return
        with storage.open_to_read(shard) as file:
            records = read_records(file)
            for row in read_rows(output.audit_path(name)):
                yield row, None if row.status is Status.QUARANTINED else next(records)


class TFRecordWriter:
    """See ``ShardWriter``."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self.nbytes = 0
        self._file = file
        self._name = name
        self._checksum = hashlib.sha256()
        self._records = 0

    def add(self, row: Row, data: bytes) -> Place:  # noqa: ARG002
        """See ``ShardWriter``."""
        framed = frame(data)
        self._file.write(framed)
        self._checksum.update(framed)
        self.nbytes += len(framed)
        self._records += 1
        return Place(self._name, self._records - 1)

    @property
    def sha256(self) -> str:
        """See ``ShardWriter``."""
        return self._checksum.hexdigest()


def _sha256(path: str) -> str | None:
    checksum = hashlib.sha256()
    try:
        with storage.open_to_read(path) as file:
            while piece := file.read(_PIECE):
                checksum.update(piece)
    except OSError:
        return None
    return checksum.hexdigest()
