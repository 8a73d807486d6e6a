"""Writing: one shard's records to its TFRecord file, then its rows to its records file."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from faceveil.transforms import storage
from faceveil.transforms.errors import AccountingError
from faceveil.transforms.formats.audit import RecordsFile, Row, ShardResult, Stamp, read_stamp
from faceveil.transforms.formats.tfrecord import frame
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.shard.steps import Finished

_LOGGER = logging.getLogger(__name__)
# A shard of nothing but damage would otherwise fill the logs; the rest is in its records file.
_LOGGED_PER_SHARD = 20


@dataclass(frozen=True)
class Output:
    """Where a job writes.

    Attributes:
        directory: of the shards and the manifest.
        records_directory: of the records files.
        settings_digest: identifies the job's settings, so that another one's shards are never taken for its own.
    """

    directory: str
    records_directory: str
    settings_digest: str

    def shard_file(self, name: str) -> str:
        """The name of a shard's file in the output directory."""
        return f"{name}.tfrecord"

    def shard_path(self, name: str) -> str:
        """Where a shard is."""
        return storage.join(self.directory, self.shard_file(name))

    def attempt_path(self, name: str) -> str:
        """Where a file says that a shard is being made; hidden from readers of the records."""
        return storage.join(self.records_directory, f".{name}.attempt")

    def records_path(self, name: str) -> str:
        """Where a shard's rows are."""
        return storage.join(self.records_directory, f"{name}.parquet")


def finished_shard(plan: ShardPlan, output: Output) -> ShardResult | None:
    """The result of a shard that an earlier run of the same job has finished, else None."""
    path = output.records_path(plan.name)
    try:
        found = read_stamp(path)
    except ValueError as error:
        # Damaged, as an object store never leaves it but a full disk might: the shard is simply made again.
        _LOGGER.warning("%s; the shard is made again", error)
        return None
    if found is None or found.settings_digest != output.settings_digest:
        return None
    if found.result.inputs_digest != plan.inputs_digest:
        return None
    shard = storage.find(output.shard_path(plan.name))
    if shard is None or shard.size != found.result.bytes:
        return None
    return found.result


def write_shard(
    plan: ShardPlan,
    records: Iterable[Finished],
    output: Output,
    result: ShardResult,
    method: str,
    on_record: Callable[[Row], None],
) -> ShardResult:
    """Writes a shard and its records file, which makes it count as done.

    Args:
        plan: the shard.
        records: in the shard's order.
        output: where to write.
        result: the shard's result so far; it is completed and returned.
        method: the job's method, for the audit trail.
        on_record: called with the row of each record as it is written.

    Raises:
        AccessError: the output cannot be written.
        AccountingError: an image file gave no record, or one too many.
    """
    file_name = output.shard_file(plan.name)
    rows = RecordsFile(plan.split, file_name, method)
    checksum = hashlib.sha256()
    written = 0
    with storage.open_to_publish(output.shard_path(plan.name)) as file:
        for record in _complete(records, plan) if plan.kind == "image" else records:
            if record.serialized is None:
                rows.add(record.row, None)
                if result.quarantined < _LOGGED_PER_SHARD:
                    _LOGGER.warning("quarantined %s: %s", record.row.key, _why(record.row))
            else:
                framed = frame(record.serialized)
                file.write(framed)
                checksum.update(framed)
                result.bytes += len(framed)
                rows.add(record.row, written)
                written += 1
            result.count(record.row)
            on_record(record.row)
    result.sha256 = checksum.hexdigest()
    files = tuple((file.key, file.size, file.version) for file in plan.files)
    rows.publish(output.records_path(plan.name), Stamp(output.settings_digest, result, plan.kind, files))
    return result


def _complete(records: Iterable[Finished], plan: ShardPlan) -> Iterator[Finished]:
    """The records of a shard of image files: one of each, or several of a file that holds TFRecords in truth."""
    planned = {file.key for file in plan.files}
    missing = set(planned)
    for record in records:
        key = record.row.key
        file = key if key in missing else key.rpartition("#")[0]
        if file not in planned:
            raise AccountingError(f"{plan.name}: {key} was not planned, or comes twice")
        missing.discard(file)
        yield record
    if missing:
        raise AccountingError(f"{plan.name}: nothing was made of {min(missing)}")


def _why(row: Row) -> str:
    return f"{row.reason}: {row.detail}" if row.detail else str(row.reason)
