"""Writing: one shard's records, in the job's format, then its rows to its file of the audit trail."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack

from faceveil.transforms.errors import AccountingError
from faceveil.transforms.formats.audit import AuditFile, Row, ShardResult, Stamp
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.inputs.plan import ShardPlan
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
    on_record: Callable[[Row], None],
    with_given: bool = False,
) -> Callable[[], ShardResult]:
    """Writes a shard under no name yet.

    Args:
        plan: the shard.
        records: in the shard's order.
        output: where to write.
        result: the shard's result so far; it is completed.
        method: the job's method, for the audit trail.
        on_record: called with the row of each record as it is written.
        with_given: whether the job has annotated boxes.

    Returns:
        What publishes it, then its audit file, which makes it count as done, and gives the result. It may be called by
        another thread, and raises the same AccessError.

    Raises:
        AccessError: the output cannot be written.
        AccountingError: an image file gave no record, or one too many.
    """
    shard_format = SHARD_FORMATS[output.format]
    rows = AuditFile(plan.split, method, with_given, shard_format.has_files)
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
            on_record(record.row)
        writer.finish()
        result.bytes, result.sha256 = writer.nbytes, writer.sha256
        opened = stack.pop_all()
    files = tuple((file.key, file.size, file.version) for file in plan.files)
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


def _why(row: Row) -> str:
    return f"{row.reason}: {row.detail}" if row.detail else str(row.reason)
