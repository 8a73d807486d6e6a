"""Shards that are tars of WebDataset's samples, plain or in gzip."""

from __future__ import annotations

import gzip
import sys
from collections.abc import Iterator
from typing import BinaryIO, cast

from faceveil.transforms.formats.audit import Row
from faceveil.transforms.formats.example import Example
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.formats.sample_tars import end_of_tar, read_samples, write_member
from faceveil.transforms.formats.samples import numbered_name, spelt_key
from faceveil.transforms.formats.tar_files import SAMPLE_KEY
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.shard.file_shard import FileShards, compressed_by

_GZIP_MAGIC = b"\x1f\x8b"


class _Writer:
    """See ``RecordWriter``."""

    def __init__(self, file: BinaryIO, plan: ShardPlan, output: OutputLayout) -> None:
        self._file = file
        self._compressed = compressed_by(output.compression, file)
        self._shard, self._addition = plan.index, plan.addition
        self._records = 0
        self._size = 0
        self._names: set[str] = set()

    def add(self, row: Row, data: bytes) -> None:
        sample = Example.parse(data)
        name = self._name(row, sample)
        for member in sample.names():
            if member != SAMPLE_KEY:
                for content in sample.bytes_values(member) or ():  # which is one
                    self._write(write_member(f"{name}.{member}", content))
        self._records += 1

    def _name(self, row: Row, sample: Example) -> str:
        """A name of its own, or readers would take two samples that follow each other for one."""
        given = sample.bytes_values(SAMPLE_KEY)
        if not given:
            return numbered_name(self._shard, self._records, self._addition)
        name = given[0].decode()
        if name in self._names:
            file, _, number = row.key.rpartition("#")
            name = f"{name}~{number}" if file and number.isdigit() else spelt_key(row.key.replace("%", "%25"))
        while name in self._names:
            name += "~"
        self._names.add(name)
        return name

    def _write(self, data: bytes) -> None:
        self._compressed.write(data)
        self._size += len(data)

    def finish(self) -> None:
        self._write(end_of_tar(self._size))
        if self._compressed is not self._file:
            self._compressed.close()


def _read(file: BinaryIO) -> Iterator[bytes]:
    """The samples of a shard that is known to be what was written."""
    is_compressed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
    file.seek(0)
    plain = cast("BinaryIO", gzip.GzipFile(fileobj=file)) if is_compressed else file
    for _, sample in read_samples(plain, sys.maxsize, lambda _: None):
        assert isinstance(sample, bytes)
        yield sample


WEBDATASET_SHARDS = FileShards(_Writer, _read)
