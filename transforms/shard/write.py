"""Writing: one shard's records, in the job's format, then its rows to its file of the audit trail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack

from faceveil.transforms import storage
from faceveil.transforms.errors import AccountingError
from faceveil.transforms.formats.audit import AuditFile, Row, ShardResult, Stamp, StampedFile
from faceveil.transforms.formats.kinds import holds_records
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.shard.contents import digest_of_file
from faceveil.transforms.shard.record import Outcome
from faceveil.transforms.shard.shard_format import SHARD_FORMATS

_LOGGER = logging.getLogger(__name__)
# A shard of nothing but damage would otherwise fill the logs; the rest is in the audit trail.
_LOGGED_PER_SHARD = 20


def write_shard(
    plan: ShardPlan,
    records: Iterable[Outcome],
    output: OutputLayout,
    result: ShardResult,
    method: str,
    on_record: Callable[[Outcome], None],
    with_given: bool = False,
    content_key: bytes = b"",
) -> Callable[[], ShardResult]:
    """Writes a shard under no name yet.

    Args:
        plan: the shard.
        records: in the shard's order.
        output: where to write.
        result: the shard's result so far; it is completed.
        method: the job's method, for the audit trail.
        on_record: called with each record as it is written.
        with_given: whether the job has annotated boxes.
        content_key: of digests of files, see ``content_digest``.

    Returns:
        What publishes it, then its audit file, which makes it count as done, and gives the result. It may be called by
        another thread, and raises the same AccessError.

    Raises:
        AccessError: the output cannot be written.
        AccountingError: an image file gave no record, or one too many.
    """
    shard_format = SHARD_FORMATS[output.format]
    rows = AuditFile(plan.split, method, with_given, shard_format.has_files)
    contents: dict[str, str] = {}
    with ExitStack() as stack:
        writer = stack.enter_context(shard_format.opened(plan, output))
        for record in _complete(records, plan) if plan.kind == "image" else records:
            if record.serialized is None:
                rows.add(record.row, None)
                if result.quarantined < _LOGGED_PER_SHARD:
                    _LOGGER.warning("quarantined %s: %s", record.row.key, _why(record.row))
            else:
                rows.add(record.row, writer.add(record.row, record.serialized))
            result.count(record.row)
            if record.content:
                contents[record.key] = record.content
            on_record(record)
        writer.finish()
        result.bytes, result.sha256 = writer.nbytes, writer.sha256
        opened = stack.pop_all()
    contents.update(_contents_of_records(plan, content_key))
    files = tuple(StampedFile(file.key, file.size, file.version, contents.get(file.key, "")) for file in plan.files)
    stamp = Stamp(output.settings_digest, result, plan.kind, files, plan.part.count if plan.part else 1)

    def publish() -> ShardResult:
        opened.close()
        rows.publish(output.audit_path(plan.name), stamp)
        shard_format.settle(plan.name, output)
        return result

    return publish


def _complete(records: Iterable[Outcome], plan: ShardPlan) -> Iterator[Outcome]:
    """The records of a shard of image files: one of each, or several of a file that holds records in truth."""
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


def _contents_of_records(plan: ShardPlan, key: bytes) -> dict[str, str]:
    """What identifies the content of a file of records: told by its first shard.

    On disk, where another time need not mean another content, and where it is likely still in memory.
    """
    if not plan.files or not holds_records(plan.kind) or (plan.part and plan.part.number):
        return {}
    [file] = plan.files
    return {file.key: digest_of_file(file, key, 0)} if storage.is_local(file.path) else {}


def _why(row: Row) -> str:
    return f"{row.reason}: {row.detail}" if row.detail else str(row.reason)
