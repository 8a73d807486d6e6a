"""Checking one record of an output: that it is what a job would write, and that its faces lie under masks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.codecs.accounting import Unaccounted
from faceveil.transforms.codecs.strip import strip
from faceveil.transforms.detectors.merge import join_faces
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import Row, Status
from faceveil.transforms.formats.example import Example, InvalidExampleError
from faceveil.transforms.formats.features import FACE_INDEX, FeatureRoles
from faceveil.transforms.formats.samples import file_sample_name
from faceveil.transforms.formats.tar_files import SAMPLE_KEY
from faceveil.transforms.quarantine import Quarantine
from faceveil.transforms.runtime.memory import is_out_of_memory
from faceveil.transforms.shard.compose import OWN_FEATURES, OWN_IMAGE, AnonymizedImage, face_features
from faceveil.transforms.shard.detect import DetectedImage
from faceveil.transforms.shard.read import Source, example_source, image_names, image_source
from faceveil.transforms.shard.record import Outcome, Record
from faceveil.transforms.verification.findings import OutputFinding, Problem
from faceveil.transforms.verification.residual import faces_outside

_MAX_DETAIL = 500


@dataclass(frozen=True)
class Expected:
    """What a job has said of its records.

    Attributes:
        roles: of the features, in the job.
        geometry: of its masks.
        looks: whether faces are looked for.
        has_rows: whether there is an audit trail.
    """

    roles: FeatureRoles
    geometry: MaskGeometry
    looks: bool
    has_rows: bool

    @property
    def written_roles(self) -> FeatureRoles:
        """The features' roles in what the job has written, where its own features say nothing but numbers."""
        return FeatureRoles(self.roles.images, allowed=(*self.roles.allowed, *self.roles.written()))


@dataclass(frozen=True)
class UncheckedRecord:
    """One record of an output, not looked at yet.

    Attributes:
        key: of its row; of one without a row, where it lies.
        row: of the audit trail; None where there is none.
        file: where it lies, below the output.
        index: its place in the file.
        data: its bytes: an Example, or an image file.
        is_file: whether it is an image file.
    """

    key: str
    row: Row | None
    file: str
    index: int
    data: bytes
    is_file: bool

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return len(self.data)

    def problem(self, problem: str, detail: str = "") -> OutputFinding:
        """A finding about it."""
        return OutputFinding(self.key, self.file, self.index, problem, detail[:_MAX_DETAIL] or None)


@dataclass(frozen=True)
class SeenRecord:
    """A record that the detector has looked at, or whose images could not be shown to it.

    Attributes:
        written: as it lies in the output.
        seen: its images with the faces found in them, or why there are none.
    """

    written: UncheckedRecord
    seen: Record[DetectedImage] | Outcome

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return len(self.written.data) + self.seen.nbytes


@dataclass(frozen=True)
class CheckedRecord:
    """A record at the end of its way.

    Attributes:
        written: as it lies in the output.
        images: how many of its images were looked at.
        findings: what was found.
    """

    written: UncheckedRecord
    images: int
    findings: list[OutputFinding]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return len(self.written.data)

    @property
    def residual_row(self) -> Row:
        """What counts of it while a job runs: faces outside the masks, and whether something is wrong."""
        problem = next((finding.problem for finding in self.findings if finding.problem), None)
        faces = join_faces(replace(finding.faces, keypoints=None) for finding in self.findings)
        return Row(self.written.key, Status.ANONYMIZED, problem, None, None, faces)


def source_of(record: UncheckedRecord, expected: Expected, max_bytes: int) -> Source | Outcome:
    """What the steps of a job take of a record.

    Args:
        record: as it lies in the output.
        expected: what the job has said.
        max_bytes: larger ones are not looked at.
    """
    if record.is_file:
        return image_source(record.key, record.data)
    try:
        example = Example.parse(record.data)
        # The record of an image file is written under a name of its own, whatever features the options name.
        # Of others no image is ever missing.
        own = None if set(expected.roles.images) <= set(example.names()) else example.bytes_values(OWN_IMAGE)
    except InvalidExampleError:
        own = None  # which will be said of it when it is decoded
    if own and len(own) == 1:
        return image_source(record.key, own[0])
    return example_source(record.key, record.data, max_bytes)


def check_record(record: SeenRecord, expected: Expected) -> CheckedRecord:
    """Everything that is wrong with a record.

    Raises:
        OutOfMemoryError: memory ran out.
    """
    written, seen = record.written, record.seen
    if isinstance(seen, Outcome):
        assert seen.row.reason is not None
        return CheckedRecord(written, 0, [written.problem(seen.row.reason, seen.row.detail or "")])
    try:
        return CheckedRecord(written, len(seen.images), list(_findings(written, seen, expected)))
    except Exception as error:  # a codec may stumble over what somebody has made of an image
        if is_out_of_memory(error):
            raise
        return CheckedRecord(written, 0, [written.problem(Problem.UNCHECKED, f"{type(error).__name__}: {error}")])


def _findings(written: UncheckedRecord, seen: Record[DetectedImage], expected: Expected) -> Iterator[OutputFinding]:
    example = None if written.is_file else Example.parse(written.data)
    yield from _of_row(written, seen, example, expected)
    if example is not None:
        yield from _of_example(written, example, seen.example is None, expected)
    for image in seen.images:
        yield from _of_image(written, image)
    if expected.looks:
        yield from faces_left(written, seen, expected)


def _of_example(
    written: UncheckedRecord, example: Example, of_file: bool, expected: Expected
) -> Iterator[OutputFinding]:
    """What is wrong with an Example beside its images."""
    if example.with_features({}) != written.data:
        yield written.problem(Problem.HIDDEN_FIELDS, "it has fields that an Example does not have, or has one twice")
    roles = expected.roles
    names = [name for name in example.names() if name != SAMPLE_KEY or not _is_known_key(example, roles)]
    if of_file:  # a job writes nothing else into its own
        allowed = {OWN_IMAGE, *OWN_FEATURES, *roles.written()} - set(roles.dropped)
        left_out = [name for name in names if name not in allowed]
    else:
        kept = {*roles.written(), *OWN_FEATURES} if roles.strict else set()
        left_out = [n for n in names if n in roles.dropped or (n not in kept and roles.is_left_out(n))]
        if SAMPLE_KEY in names and (roles.hides_names or _is_named_by_file(written, example)):
            left_out.append(SAMPLE_KEY)
    if left_out:
        yield written.problem(Problem.LEFT_OUT_FEATURE, ", ".join(left_out))


def _is_known_key(example: Example, roles: FeatureRoles) -> bool:
    """Whether a sample is called by the name of an image file, which a feature tells as well."""
    return OWN_FEATURES[1] in example.names() and OWN_FEATURES[1] not in roles.dropped


def _is_named_by_file(written: UncheckedRecord, example: Example) -> bool:
    """Whether a sample is called by the name of an image file, whatever its features tell."""
    return example.bytes_values(SAMPLE_KEY) == [file_sample_name(written.key).encode("utf-8", "surrogateescape")]


def _of_row(
    written: UncheckedRecord, seen: Record[DetectedImage], example: Example | None, expected: Expected
) -> Iterator[OutputFinding]:
    """What does not fit the record's row."""
    row = written.row
    if row is None:
        return
    now = [(image.info.upright_width, image.info.upright_height) for image in seen.images]
    then = [(row.width, row.height), *((other.width, other.height) for other in row.other_images)]
    if now != then:
        yield written.problem(Problem.WRONG_ROW, f"the row says {_sizes(then)}, the record holds {_sizes(now)}")
    elif example is not None and (name := _other_faces(row, seen, example, expected.roles)):
        yield written.problem(Problem.WRONG_ROW, f"the row has other faces than feature {name}")


def _other_faces(row: Row, seen: Record[DetectedImage], example: Example, roles: FeatureRoles) -> str | None:
    """A feature of an Example that says something else of the faces than its row does; None where none does.

    The checksum of the shard holds for the Example, so the row's masks are the ones that were painted.
    """
    named: dict[str, list[AnonymizedImage]] = {}
    known = [row.faces, *(other.faces for other in row.other_images)]
    names = image_names(seen.example, roles) if seen.example else [OWN_IMAGE]
    for name, image, faces in zip(names, seen.images, known, strict=True):
        named.setdefault(name, []).append(AnonymizedImage(b"", image.info, faces, reencoded=False))
    for prefix, images in zip(roles.prefixes(), named.values(), strict=False):
        for name, told in face_features(prefix, images).items():
            written = example.values(name)
            if written is None and (name in roles.dropped or name.endswith(FACE_INDEX)):  # which needs several images
                continue
            is_short = written is None or len(written) != len(told)
            if is_short or not np.allclose(np.array(written, float), np.array(told, float), atol=1e-5):
                return name
    return None


def _sizes(sizes: Sequence[tuple[int | None, int | None]]) -> str:
    return ", ".join(f"{width} x {height} px" for width, height in sizes)


def _of_image(written: UncheckedRecord, image: DetectedImage) -> Iterator[OutputFinding]:
    """What an image carries beside its picture."""
    if image.hides_pixels:
        yield written.problem(Problem.HIDDEN_DATA, f"{image.info.format}: it holds pixels that it does not show")
    try:
        stripped = strip(image.data, image.info, faultless=image.faultless)
    except Unaccounted as error:
        yield written.problem(Problem.HIDDEN_DATA, f"{image.info.format}: {error}")
    except Quarantine as error:
        yield written.problem(error.reason, error.detail)
    else:
        if stripped != image.data:
            less = len(image.data) - len(stripped)
            yield written.problem(Problem.METADATA, f"{image.info.format}: {less} bytes of it would be dropped")


def faces_left(written: UncheckedRecord, seen: Record[DetectedImage], expected: Expected) -> Iterator[OutputFinding]:
    """The faces outside the masks of each image of a record, of those that have any."""
    row = written.row
    known = [row.faces, *(other.faces for other in row.other_images)] if row else []
    # Of an image that the row does not know, nothing is masked.
    known += [Faces.none()] * (len(seen.images) - len(known))
    names = image_names(seen.example, expected.roles) if seen.example else [None]
    for number, (image, name, masked) in enumerate(zip(seen.images, names, known, strict=False)):
        width, height = image.info.upright_width, image.info.upright_height
        outside = faces_outside(image.faces, masked, expected.geometry, height, width)
        if len(outside):
            place = written.key, written.file, written.index
            yield OutputFinding(*place, feature=name, image=number, width=width, height=height, faces=outside)
