"""Shards that are TFRecord files of Examples, plain or in gzip."""

from __future__ import annotations

from typing import BinaryIO

from faceveil.transforms.formats.audit import Row
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.formats.tfrecord import frame, read_records
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.shard.file_shard import FileShards, compressed_by


class _Writer:
    """See ``RecordWriter``."""

    def __init__(self, file: BinaryIO, plan: ShardPlan, output: OutputLayout) -> None:
        del plan
        self._file = file
        self._compressed = compressed_by(output.compression, file)

    def add(self, row: Row, data: bytes) -> None:
        del row
        self._compressed.write(frame(data))

    def finish(self) -> None:
        if self._compressed is not self._file:
            self._compressed.close()


TFRECORD_SHARDS = FileShards(_Writer, read_records)
