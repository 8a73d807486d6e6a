"""Mending a shard in which faces were found outside the masks: masks for those too, or the shard without these records.

What a mended shard says of itself is written before the shard is: a mending that is killed at any moment can be ended,
or undone, from what lies there (``settle``). Meanwhile the shard has no file of the audit trail, so that a job which
resumes takes nothing for finished that it has not made.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import logging
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from faceveil.transforms import storage
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import (
    AuditFile,
    Place,
    Row,
    ShardResult,
    Stamp,
    read_placed_rows,
    read_stamp,
)
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.inputs.shard_layout import split_series
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.shard.record import Outcome, quarantined
from faceveil.transforms.shard.shard_format import SHARD_FORMATS
from faceveil.transforms.shard.worker import Worker
from faceveil.transforms.storage.staged import staged_files
from faceveil.transforms.verification.mend_record import Mending, mask_until_none_is_left
from faceveil.transforms.verification.reading import WrittenShard, file_sha256
from faceveil.transforms.verification.records import UncheckedRecord

_LOGGER = logging.getLogger(__name__)

Outside = Mapping[str, Mapping[int, Faces]]
"""By the record's key, the faces outside the masks of each of its images."""


@dataclass
class Mended:
    """What was done to a shard.

    Attributes:
        name: the shard's.
        records: that were made again or taken out.
        faces: of these, outside the masks that there were.
        failed: records that could not be made again, and are as they were.
    """

    name: str
    records: int = 0
    faces: int = 0
    failed: int = 0

    def count(self, made: Outcome, faces: int) -> None:
        """Counts a record in which something was found; one that is kept could not be made again."""
        self.failed += made.is_kept
        if not made.is_kept:
            self.records, self.faces = self.records + 1, self.faces + faces


def mend_shard(shard: WrittenShard, outside: Outside, mending: Mending, worker: Worker) -> Mended:
    """Mends one shard.

    Args:
        shard: the shard.
        outside: what was found in it.
        mending: how.
        worker: the threads, and the masks.

    Raises:
        AccessError: the shard cannot be read or written.
        OutOfMemoryError: memory ran out.
    """
    mended = Mended(shard.name)
    output = mending.output
    stamp = read_stamp(output.audit_path(shard.name))
    assert stamp is not None  # faces were looked for, so there are rows
    rows = _Rows(stamp, mending)
    if SHARD_FORMATS[output.format].has_files:
        _mend_images(mended, rows, outside, mending, worker)
    elif file_sha256(output.shard_path(shard.name)) == stamp.result.sha256:
        _mend_file(mended, rows, outside, mending, worker)
    else:
        _LOGGER.warning("%s: is not what the job has written, so it is left as it is", output.shard_path(shard.name))
        mended.failed = len(outside)
    storage.delete([mending.before(shard.name), mending.after(shard.name)])
    return mended


def is_as_told(shard: WrittenShard, mending: Mending) -> bool:
    """Whether a shard is the one in which something was found: one that an attempt of before has mended is not.

    Raises:
        AccessError: storage cannot be reached.
    """
    stamp = read_stamp(mending.output.audit_path(shard.name))
    return stamp is not None and stamp.result.sha256 == shard.sha256


def settle(name: str, mending: Mending) -> None:
    """Ends or undoes what a mending that was killed has begun in a shard; what was not begun stays as it is.

    Raises:
        AccessError: the shard cannot be read or written.
    """
    output, before, after = mending.output, mending.before(name), mending.after(name)
    audit = output.audit_path(name)
    new = read_stamp(after) if storage.exists(before) else None
    if new is not None:
        if output.format == "images":
            _settle_images(name, mending)
        elif file_sha256(output.shard_path(name)) == new.result.sha256:
            storage.write_bytes(audit, storage.read_bytes(after))
        else:
            storage.write_bytes(audit, storage.read_bytes(before))
    storage.delete([before, after])


def _settle_images(name: str, mending: Mending) -> None:
    """Of each file, the row that speaks of it as it is now."""
    old = read_stamp(mending.before(name))
    assert old is not None
    rows = _Rows(old, mending)
    pairs = zip(read_placed_rows(mending.before(name)), read_placed_rows(mending.after(name)), strict=True)
    for (row, place), (new_row, new_place) in pairs:
        if place is None:
            rows.add(row, None)
            continue
        now = file_sha256(storage.join(mending.output.directory, place.file))
        is_new = now == new_place.sha256 if new_place else not now
        rows.add(*((new_row, new_place) if is_new else (row, place)))
    rows.publish(mending.output.audit_path(name))


class _Rows:
    """The rows of a shard that is made anew, and what they add up to."""

    def __init__(self, stamp: Stamp, mending: Mending) -> None:
        self.before = old = stamp.result
        machine = {name: getattr(old, name) for name in ("engine", "precision", "device", "inputs_digest")}
        self.result = ShardResult(old.name, old.split, **machine)
        self._stamp = stamp
        self._has_files = mending.output.format == "images"
        self._file = AuditFile(old.split, mending.method, mending.with_given, self._has_files)
        self._checksum = hashlib.sha256()

    def add(self, row: Row, place: Place | None) -> None:
        self._file.add(row, place)
        self.result.count(row)
        if place is not None and self._has_files:
            self.result.bytes += place.bytes or 0
            self._checksum.update(f"{place.sha256}  {place.file}\n".encode())

    def publish(self, path: str) -> None:
        if self._has_files:
            self.result.sha256 = self._checksum.hexdigest()
        self._file.publish(path, replace(self._stamp, result=self.result))


def _mend_file(mended: Mended, rows: _Rows, outside: Outside, mending: Mending, worker: Worker) -> None:
    output, name = mending.output, mended.name
    shards, result = SHARD_FORMATS[output.format], rows.before
    places = itertools.count()

    def records() -> Iterator[UncheckedRecord | Outcome]:
        for row, data in shards.read_back(name, output, result):
            if data is None:
                yield Outcome(row, None)
                continue
            place = next(places)
            is_bare = row.key in outside
            file = output.shard_file(name)
            yield UncheckedRecord(row.key, row, file, place, data, is_file=False) if is_bare else Outcome(row, data)

    with shards.opened(_plan(name), output) as writer:
        for made in _all_made(records(), mended, outside, mending, worker):
            rows.add(made.row, None if made.serialized is None else writer.add(made.row, made.serialized))
        writer.finish()
        rows.result.bytes, rows.result.sha256 = writer.nbytes, writer.sha256
        _announce(name, rows, mending)
    audit = output.audit_path(name)
    storage.write_bytes(audit, storage.read_bytes(mending.after(name)))


def _plan(name: str) -> ShardPlan:
    """What a writer asks of a shard's plan: its name, and its number."""
    series, index, _, count = name.rsplit("-", 3)
    split, addition = split_series(series)
    return ShardPlan(split, int(index), int(count), "tfrecord", (), addition=addition)


def _mend_images(mended: Mended, rows: _Rows, outside: Outside, mending: Mending, worker: Worker) -> None:
    output, name = mending.output, mended.name
    audit = output.audit_path(name)
    places: deque[Place | None] = deque()
    dropped = []

    def records() -> Iterator[UncheckedRecord | Outcome]:
        for row, place in read_placed_rows(audit):
            places.append(place)
            if place is None or row.key not in outside:
                yield Outcome(row, None, is_kept=True)
                continue
            data = storage.read_bytes(storage.join(output.directory, place.file))
            is_changed = mending.action == "fix" and hashlib.sha256(data).hexdigest() != place.sha256
            record = UncheckedRecord(row.key, row, place.file, place.index, data, is_file=True)
            yield Outcome(row, None, is_kept=True) if is_changed else record

    with staged_files(output.directory) as staged:
        for made in _all_made(records(), mended, outside, mending, worker):
            place = places.popleft()
            if place is None or made.is_kept:
                rows.add(made.row, place)
            elif made.serialized is None:
                dropped.append(storage.join(output.directory, place.file))
                rows.add(made.row, None)
            else:
                sha256 = hashlib.sha256(made.serialized).hexdigest()
                staged.add(place.file, made.serialized)
                rows.add(made.row, Place(place.file, place.index, len(made.serialized), sha256))
        _announce(name, rows, mending)
    storage.delete(dropped)
    storage.write_bytes(audit, storage.read_bytes(mending.after(name)))


def _announce(name: str, rows: _Rows, mending: Mending) -> None:
    """Says what the shard is about to become: from here on ``settle`` knows, and no job takes it for finished."""
    audit = mending.output.audit_path(name)
    rows.publish(mending.after(name))
    storage.write_bytes(mending.before(name), storage.read_bytes(audit))
    storage.delete([audit])


def _all_made(
    records: Iterator[UncheckedRecord | Outcome], mended: Mended, outside: Outside, mending: Mending, worker: Worker
) -> Iterator[Outcome]:
    """What is written of each record, in order: those in which something was found are made again, side by side."""
    known: dict[str, int] = {}

    def noted() -> Iterator[UncheckedRecord | Outcome]:
        for record in records:
            if isinstance(record, UncheckedRecord):
                known[record.key] = _count_faces(record.row)
            yield record

    make = functools.partial(_made, outside=outside, mending=mending, worker=worker)
    for made in worker.pool.map(make, noted(), is_done=lambda record: isinstance(record, Outcome)):
        if faces := outside.get(made.key):
            added = _count_faces(made.row) - known.pop(made.key, 0)
            mended.count(made, sum(map(len, faces.values())) if mending.action == "drop" else added)
        yield made


def _made(record: UncheckedRecord | Outcome, outside: Outside, mending: Mending, worker: Worker) -> Outcome:
    """A record as it will be written; as it is, and kept, where it cannot be made again."""
    if isinstance(record, Outcome):
        return record
    assert record.row is not None
    faces = outside[record.key]
    if mending.action == "drop":
        found = f"a second look found {sum(map(len, faces.values()))} outside its masks"
        return quarantined(record.key, Quarantine(Reason.RESIDUAL_FACE, found))
    made = mask_until_none_is_left(record, faces, mending, worker)
    return Outcome(record.row, record.data, is_kept=True) if made.serialized is None else made


def _count_faces(row: Row | None) -> int:
    return len(row.faces) + sum(len(other.faces) for other in row.other_images) if row else 0
