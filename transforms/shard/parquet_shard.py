"""Shards that are Parquet files, a row for each record.

Row groups end where it does not depend on anything but their rows. Columns have neither dictionaries, which large
values fill, nor statistics, which would hold the smallest and the largest of them once more.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa
from pyarrow import parquet

from faceveil.transforms.formats.audit import Row
from faceveil.transforms.formats.columns import arrow_schema, read_row
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.shard.file_shard import FileShards

_GROUP_BYTES = 16 * 2**20
_GROUP_ROWS = 1000
_ROWS_AT_ONCE = 16


class _Writer:
    """See ``RecordWriter``."""

    def __init__(self, file: BinaryIO, plan: ShardPlan, output: OutputLayout) -> None:
        del plan
        self._schema = arrow_schema(output.columns)
        self._rows: list[pa.RecordBatch] = []
        self._nbytes = 0
        self._parquet = parquet.ParquetWriter(
            *(pa.PythonFile(file, "w"), self._schema),
            compression=output.compression,
            use_dictionary=False,
            write_statistics=False,
            write_page_checksum=True,
        )

    def add(self, row: Row, data: bytes) -> None:
        del row
        self._rows.append(read_row(data, self._schema))
        self._nbytes += len(data)
        if self._nbytes >= _GROUP_BYTES or len(self._rows) == _GROUP_ROWS:
            self._end_group()

    def _end_group(self) -> None:
        if self._rows:
            table = pa.Table.from_batches(self._rows, self._schema).combine_chunks()
            self._parquet.write_table(table, row_group_size=len(self._rows))
        self._rows, self._nbytes = [], 0

    def finish(self) -> None:
        self._end_group()
        self._parquet.close()


def _read(file: BinaryIO) -> Iterator[bytes]:
    with parquet.ParquetFile(file, pre_buffer=False) as opened:
        for batch in opened.iter_batches(_ROWS_AT_ONCE, use_threads=False):
            for number in range(batch.num_rows):
                yield batch.slice(number, 1).serialize().to_pybytes()


PARQUET_SHARDS = FileShards(_Writer, _read)
