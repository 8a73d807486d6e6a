"""Mending a record in which faces were found outside the masks: it is made again from what was written of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from faceveil.transforms import storage
from faceveil.transforms.detectors.merge import join_faces
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import OtherImage, Status
from faceveil.transforms.formats.example import Example, InvalidExampleError
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.formats.layout import OutputLayout
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.shard.anonymize import anonymize
from faceveil.transforms.shard.compose import AnonymizedImage, Compose, Decompose, composer, decomposer
from faceveil.transforms.shard.detect import DecodedImage, DetectedImage
from faceveil.transforms.shard.read import Source
from faceveil.transforms.shard.record import Batch, Outcome, Record, quarantined
from faceveil.transforms.shard.worker import Worker
from faceveil.transforms.verification import Action
from faceveil.transforms.verification.records import Expected, UncheckedRecord, faces_left, source_of

_ROUNDS = 5
"""How often a record is looked at once more. A mask changes what a detector sees beside it: of 40 photos one showed
another face in the second look, and none in the third."""


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


def mask_until_none_is_left(
    record: UncheckedRecord, outside: Mapping[int, Faces], mending: Mending, worker: Worker
) -> Outcome:
    """As ``mask_outside``, with masks on what is found in the record that was made, too, until nothing is."""
    made = mask_outside(record, outside, mending, worker)
    for _ in range(_ROUNDS):
        if made.serialized is None:
            break
        record = replace(record, row=made.row, data=made.serialized)
        outside = _found_in(record, mending, worker)
        again = mask_outside(record, outside, mending, worker) if outside else None
        if again is None or again.serialized is None:
            break
        made = again
    return made


def _found_in(record: UncheckedRecord, mending: Mending, worker: Worker) -> dict[int, Faces]:
    """The faces outside the masks of each image of a record."""
    decoded = _decoded(record, mending, worker)
    if not isinstance(decoded, Record):
        return {}
    [seen] = worker.detect(Batch([decoded], [0])).items
    if isinstance(seen, Outcome):
        return {}
    found = faces_left(record, seen, mending.expected)
    return {finding.image: finding.faces for finding in found if finding.image is not None}


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
