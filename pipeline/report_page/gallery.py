"""The page's samples: anonymized images that are worth a look, read from the output's shards, never from inputs."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from PIL import Image

from faceveil.pipeline.report_page.figures import KINDS, Candidate
from faceveil.pipeline.thumbnails import Outline, Thumbnail, draw_thumbnail, region_around
from faceveil.pipeline.written_output import WrittenOutput
from faceveil.transforms.errors import AccessError
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.audit import Status
from faceveil.transforms.shard.written import WrittenRecord, read_written

_LOGGER = logging.getLogger(__name__)
_PER_KIND = 6
_LONG_SIDE = 400
_LEAST_REGION = 160
_MAX_SAMPLE_BYTES = 90_000
_QUALITIES = (82, 60, 40)
_MAX_OUTLINES = 200
"""On one sample; a crowd has more."""
_MAX_READ_BYTES = 256 * 2**20
"""Of shards that are read for the samples, beyond the first one."""


@dataclass(frozen=True)
class Sample:
    """One of the page's samples.

    Attributes:
        kind: its place among ``KINDS``.
        key: the record's.
        faces: how many the image has.
        face_height: of the one that is shown closely, in pixels of the image; None where the whole image is shown.
        size: width and height of the image, in pixels.
        jpeg: the picture; nothing but pixels.
        picture_size: width and height of the picture, in pixels.
        outlines: of masks, on the picture.
        largest_share: the part of the image that its largest face takes.
        score: of the face that is shown closely.
    """

    kind: int
    key: str
    faces: int
    face_height: float | None
    size: tuple[int, int]
    jpeg: bytes
    picture_size: tuple[int, int]
    outlines: tuple[Outline, ...]
    largest_share: float
    score: float | None


def draw_samples(output: WrittenOutput, candidates: Sequence[Sequence[Candidate]]) -> list[Sample]:
    """The samples, by kind and then by what is most telling.

    A shard that is not what the job has written, or cannot be read, gives none.

    Args:
        output: a finished one.
        candidates: of each of ``KINDS``, the most telling first.

    Raises:
        AccessError: the audit trail cannot be read.
    """
    chosen = choose(candidates, output.shard_bytes())
    by_shard: dict[str, dict[str, tuple[int, int, Candidate]]] = {}
    for kind, alike in enumerate(chosen):
        for place, candidate in enumerate(alike):
            by_shard.setdefault(candidate.shard, {})[candidate.key] = kind, place, candidate
    placed: list[tuple[int, int, Sample]] = []
    for name, wanted in sorted(by_shard.items()):
        for record in _read(output, name, wanted):
            kind, place, candidate = wanted[record.row.key]
            sample = _draw(output, record, kind, candidate)
            if sample is not None:
                placed.append((kind, place, sample))
    return [sample for *_, sample in sorted(placed, key=lambda each: each[:2])]


def choose(candidates: Sequence[Sequence[Candidate]], sizes: dict[str, int]) -> list[list[Candidate]]:
    """Of each kind the most telling images, each image once, from shards that together are cheap to read.

    Args:
        candidates: of each kind, the most telling first.
        sizes: of the shards, in bytes.

    Example usage::

        >>> few = [Candidate(1, "a", "small", 0), Candidate(2, "b", "small", 0)]
        >>> choose([few, few], {"small": 100})
        [[Candidate(rank=1, key='a', shard='small', face=0)], [Candidate(rank=2, key='b', shard='small', face=0)]]
    """
    opened: set[str] = set()
    taken: set[str] = set()
    chosen: list[list[Candidate]] = [[] for _ in candidates]
    left = [list(alike) for alike in candidates]
    for _ in range(_PER_KIND):
        for alike, mine in zip(left, chosen, strict=True):
            while alike:
                candidate = alike.pop(0)
                if candidate.key in taken:
                    continue
                together = opened | {candidate.shard}
                if len(together) > 1 and sum(sizes.get(name, 0) for name in together) > _MAX_READ_BYTES:
                    continue
                opened = together
                taken.add(candidate.key)
                mine.append(candidate)
                break
    return chosen


def _read(output: WrittenOutput, name: str, wanted: dict[str, tuple[int, int, Candidate]]) -> Iterator[WrittenRecord]:
    try:
        yield from read_written(name, output.layout, wanted, output.image_features)
    except (OSError, ValueError, AccessError) as error:
        _LOGGER.warning("%s: no samples of it are in the report: %s", name, error)


def _draw(output: WrittenOutput, record: WrittenRecord, kind: int, candidate: Candidate) -> Sample | None:
    row = record.row
    # What the audit trail says now has to be what the candidate was chosen by.
    if row.status is not Status.ANONYMIZED or not record.images or candidate.face >= len(row.faces):
        return None
    width, height = row.width or 0, row.height or 0
    closely = KINDS[kind].closely
    box = row.faces.boxes[candidate.face]
    region = region_around(box, width, height, _LEAST_REGION) if closely else None
    try:
        thumbnail = draw_thumbnail(record.images[0], _LONG_SIDE, region)
    except Exception as error:  # noqa: BLE001  a sample more or less is no reason to have no page
        _LOGGER.warning("%s: is no sample in the report: %s", row.key, error)
        return None
    jpeg = encode(thumbnail)
    if jpeg is None:
        return None
    outlines = tuple(thumbnail.outlines(row.faces, output.geometry))[:_MAX_OUTLINES]
    picture_height, picture_width = thumbnail.rgb.shape[:2]
    return Sample(
        *(kind, row.key, len(row.faces), float(box[3] - box[1]) if closely else None, (width, height)),
        *(jpeg, (picture_width, picture_height), outlines, _largest_share(row.faces, width, height)),
        float(row.faces.scores[candidate.face]) if closely else None,
    )


def _largest_share(faces: Faces, width: int, height: int) -> float:
    sides = faces.boxes[:, 2:] - faces.boxes[:, :2]
    return float(sides.prod(axis=1).max() / max(width * height, 1))


def encode(thumbnail: Thumbnail) -> bytes | None:
    """A small picture as a JPEG of few bytes, without anything but its pixels; None if it takes too many."""
    for quality in _QUALITIES:
        file = io.BytesIO()
        Image.fromarray(thumbnail.rgb).save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= _MAX_SAMPLE_BYTES:
            return file.getvalue()
    return None
