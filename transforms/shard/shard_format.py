"""What a job writes: how shards of each format are written, recognised and read back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Protocol

from faceveil.transforms.formats.audit import Place, Row, ShardResult
from faceveil.transforms.formats.layout import OutputFormat, OutputLayout
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.shard.image_shard import ImageShards
from faceveil.transforms.shard.parquet_shard import PARQUET_SHARDS
from faceveil.transforms.shard.tfrecord_shard import TFRECORD_SHARDS
from faceveil.transforms.shard.webdataset_shard import WEBDATASET_SHARDS


class ShardWriter(Protocol):
    """Takes the records of one shard, in their order."""

    @property
    def nbytes(self) -> int:
        """What was written so far, in bytes."""

    @property
    def sha256(self) -> str:
        """Identifies it."""

    def add(self, row: Row, data: bytes) -> Place:
        """Adds a record.

        Args:
            row: its row.
            data: what is written of it, see ``composer``.

        Raises:
            AccessError: the output cannot be written.
        """

    def finish(self) -> None:
        """Writes what comes behind the last record; only then size and checksum are those of the whole.

        Raises:
            AccessError: the output cannot be written.
        """


class ShardFormat(Protocol):
    """A way to write shards."""

    @property
    def takes_records(self) -> bool:
        """Whether records of files that hold many can be written, and not only files that are images."""

    @property
    def has_files(self) -> bool:
        """Whether each record becomes a file of its own."""

    def opened(self, plan: ShardPlan, output: OutputLayout) -> AbstractContextManager[ShardWriter]:
        """Opens a shard, which appears when the block ends without an error, or not at all.

        Raises:
            AccessError: the output cannot be written.
        """

    def settle(self, name: str, output: OutputLayout) -> None:
        """Removes what a shard has no use for once its audit file is there.

        Raises:
            AccessError: it cannot be removed.
        """

    def is_whole(self, name: str, output: OutputLayout, result: ShardResult) -> bool:
        """Whether a finished shard is still there, by the sizes of its files.

        Raises:
            AccessError: storage cannot be reached.
        """

    def read_back(self, name: str, output: OutputLayout, result: ShardResult) -> Iterator[tuple[Row, bytes]]:
        """The records of a finished shard, as they were given to its writer, in their order.

        Raises:
            OSError: it cannot be read.
        """


SHARD_FORMATS: dict[OutputFormat, ShardFormat] = {
    "tfrecord": TFRECORD_SHARDS,
    "parquet": PARQUET_SHARDS,
    "webdataset": WEBDATASET_SHARDS,
    "images": ImageShards(),
}
