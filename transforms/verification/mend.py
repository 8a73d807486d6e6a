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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from faceveil.transforms import storage
from faceveil.transforms.detectors.merge import join_faces
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import (
    AuditFile,
    OtherImage,
    Place,
    Row,
    ShardResult,
    Stamp,
    Status,
    read_placed_rows,
    read_stamp,
)
from faceveil.transforms.formats.example import Example, InvalidExampleError
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.inputs.plan import ShardPlan
from faceveil.transforms.inputs.shard_layout import split_series
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.shard.anonymize import anonymize
from faceveil.transforms.shard.compose import AnonymizedImage, Compose, Decompose, composer, decomposer
from faceveil.transforms.shard.detect import DecodedImage, DetectedImage
from faceveil.transforms.shard.read import Source
from faceveil.transforms.shard.record import Outcome, Record, quarantined
from faceveil.transforms.shard.shard_format import SHARD_FORMATS
from faceveil.transforms.shard.worker import Worker
from faceveil.transforms.storage.staged import staged_files
from faceveil.transforms.verification import Action
from faceveil.transforms.verification.reading import WrittenShard, file_sha256
from faceveil.transforms.verification.records import Expected, UncheckedRecord, source_of

_LOGGER = logging.getLogger(__name__)

Outside = Mapping[str, Mapping[int, Faces]]
"""By the record's key, the faces outside the masks of each of its images."""


_Make = functools.partial[Outcome]
"""Makes what becomes of a record."""


@dataclass
class Mended:
    """What was done to a shard.

    Attributes:
        name: the shard's.
        records: that were made again or taken out.
        faces: outside the masks, of these.
        failed: records that could not be made again, and are as they were.
    """

    name: str
    records: int = 0
    faces: int = 0
    failed: int = 0


@dataclass(frozen=True)
class Mending:
    """How shards are mended.

    Attributes:
        action: what is done to records with faces outside their masks.
        output: where the shards lie.
        findings: where what was found lies, and what a mending that was killed has left.
        method: the job's, for the audit trail.
        draws: whether that method draws faces; those that are masked now are masked by its fallback.
        with_given: whether the job has annotated boxes.
        expected: what the job has said.
    """

    action: Action
    output: OutputLayout
    findings: OutputLayout
    method: str
    draws: bool
    with_given: bool
    expected: Expected

    def before(self, name: str) -> str:
        """Where the rows of a shard are kept while it is mended."""
        return storage.join(self.findings.audit_directory, f".{name}.before")

    def after(self, name: str) -> str:
        """Where the rows of the mended shard wait until it is there."""
        return storage.join(self.findings.audit_directory, f".{name}.after")


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
    make = functools.partial(_made, outside=outside, mending=mending, worker=worker, mended=mended)
    if SHARD_FORMATS[output.format].has_files:
        _mend_images(shard.name, rows, make, mending)
    elif file_sha256(output.shard_path(shard.name)) == stamp.result.sha256:
        _mend_file(shard.name, rows, make, mending)
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


def _mend_file(name: str, rows: _Rows, make: _Make, mending: Mending) -> None:
    output = mending.output
    shards, result = SHARD_FORMATS[output.format], rows.before
    with shards.opened(_plan(name), output) as writer:
        places = itertools.count()
        for row, data in shards.read_back(name, output, result):
            if data is None:
                rows.add(row, None)
                continue
            made = make(UncheckedRecord(row.key, row, output.shard_file(name), next(places), data, is_file=False))
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


def _mend_images(name: str, rows: _Rows, make: _Make, mending: Mending) -> None:
    output = mending.output
    audit = output.audit_path(name)
    dropped = []
    with staged_files(output.directory) as staged:
        for row, place in read_placed_rows(audit):
            if place is None or row.status is Status.COPIED or row.key not in make.keywords["outside"]:
                rows.add(row, place)
                continue
            path = storage.join(output.directory, place.file)
            data = storage.read_bytes(path)
            if mending.action == "fix" and hashlib.sha256(data).hexdigest() != place.sha256:
                rows.add(row, place)
                make.keywords["mended"].failed += 1
                continue
            made = make(UncheckedRecord(row.key, row, place.file, place.index, data, is_file=True))
            if made.serialized is None:
                dropped.append(path)
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


def _made(record: UncheckedRecord, outside: Outside, mending: Mending, worker: Worker, mended: Mended) -> Outcome:
    """A record as it will be written; as it is where nothing was found, or it cannot be made again."""
    assert record.row is not None
    faces = outside.get(record.key)
    if not faces:
        return Outcome(record.row, record.data)
    count = sum(map(len, faces.values()))
    if mending.action == "drop":
        mended.records, mended.faces = mended.records + 1, mended.faces + count
        found = f"a second look found {count} outside its masks"
        return quarantined(record.key, Quarantine(Reason.RESIDUAL_FACE, found))
    made = mask_outside(record, faces, mending, worker)
    if made.serialized is None:
        mended.failed += 1
        return Outcome(record.row, record.data)
    mended.records, mended.faces = mended.records + 1, mended.faces + count
    return made


def mask_outside(record: UncheckedRecord, outside: Mapping[int, Faces], mending: Mending, worker: Worker) -> Outcome:
    """A record made again from what was written of it, with masks on further faces.

    Args:
        record: as it lies in the output, with its row.
        outside: the faces, of each of its images.
        mending: how.
        worker: the masks.

    Returns:
        Its new row and content; a quarantined one if it cannot be done.
    """
    row, expected = record.row, mending.expected
    assert row is not None
    known = [row.faces, *(other.faces for other in row.other_images)]
    compose = composer(mending.output.format, mending.output.columns)
    # What options leave out of Examples is out already.
    roles = replace(expected.roles, strict=False)
    decoded = _decoded(record, mending, worker)
    if not isinstance(decoded, Record) or len(decoded.images) != len(known):
        return quarantined(record.key, Quarantine(Reason.ANONYMIZATION_FAILED, "it can no longer be read"))
    if not _is_composed_so(record, decoded, known, roles, mending):
        return quarantined(record.key, Quarantine(Reason.ANONYMIZATION_FAILED, "a job would not write it so"))
    images = tuple(
        DetectedImage(
            *(image.data, image.info, image.pixels, outside.get(number, Faces.none())),
            *(image.faultless, image.hides_pixels),
        )
        for number, image in enumerate(decoded.images)
    )
    unmasked = Record(decoded.key, images, decoded.example)
    [made] = anonymize([unmasked], worker.masking, roles, _with_known(known, compose))
    if made.serialized is None:
        return made
    every = [_joined(*both) for both in zip(known, (image.faces for image in images), strict=True)]
    others = (replace(other, faces=faces) for other, faces in zip(row.other_images, every[1:], strict=True))
    added = sum(len(image.faces) for image in images)
    return Outcome(
        replace(
            row,
            status=Status.ANONYMIZED,
            faces=every[0],
            other_images=tuple[OtherImage, ...](others),
            reencoded=row.reencoded or made.row.reencoded,
            fallback_faces=row.fallback_faces + (added if mending.draws else 0),
        ),
        made.serialized,
    )


def _decoded(record: UncheckedRecord, mending: Mending, worker: Worker) -> Record[DecodedImage] | Outcome | Source:
    """The images of a record of an output."""
    try:
        data = record.data if record.is_file else _decomposer(mending)(record.data)
    except (Quarantine, InvalidExampleError) as error:
        return quarantined(record.key, Quarantine(Reason.INVALID_EXAMPLE, str(error)))
    max_bytes = worker.config.limits.max_image_bytes
    return worker.decode(source_of(replace(record, data=data), mending.expected, max_bytes))


def _decomposer(mending: Mending) -> Decompose:
    return decomposer(mending.output.format, mending.output.columns, mending.expected.roles)


def _is_composed_so(
    record: UncheckedRecord,
    decoded: Record[DecodedImage],
    known: Sequence[Faces],
    roles: FeatureRoles,
    mending: Mending,
) -> bool:
    """Whether a row or a sample is what is composed of it, so that nothing but images and faces changes when it is."""
    if record.is_file or mending.output.format == "tfrecord":  # whose other features are copied byte by byte
        return True
    images = [AnonymizedImage(i.data, i.info, faces, False) for i, faces in zip(decoded.images, known, strict=True)]
    compose = composer(mending.output.format, mending.output.columns)
    try:
        made = compose(record.key, decoded.example, [image.data for image in images], images, roles)
        if mending.output.format == "parquet":  # whose rows may say the same in other bytes
            return _decomposer(mending)(made) == _decomposer(mending)(record.data)
        return made == record.data
    except (Quarantine, InvalidExampleError):
        return False


def _with_known(known: list[Faces], compose: Compose) -> Compose:
    """Composes records whose images have had masks before."""

    def composed(
        key: str,
        example: Example | None,
        originals: Sequence[bytes],
        images: Sequence[AnonymizedImage],
        roles: FeatureRoles,
    ) -> bytes:
        both = zip(images, known, strict=True)
        every = [replace(image, faces=_joined(before, image.faces)) for image, before in both]
        return compose(key, example, originals, every, roles)

    return composed


def _joined(before: Faces, added: Faces) -> Faces:
    """What was masked before comes first, for of that the first may be annotated boxes."""
    return join_faces([before, added])
