"""The step that masks faces: a few records at a time, so that a generator draws their new faces together."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from faceveil.transforms.anonymizers.methods import METHODS, painted_pixels
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.arrays import BoolMask, FloatArray, Values
from faceveil.transforms.codecs import (
    ImageInfo,
    Pixels,
    decode_pixels,
    encode_pixels,
    is_lossy,
    kind_of_labels,
    splice,
    stored,
    strip_metadata,
    upright,
)
from faceveil.transforms.formats.audit import OtherImage, Row, Status
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.generators.synthesize import Plan, Synthesizer
from faceveil.transforms.limits import memory_for
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.runtime.memory import is_out_of_memory, needs_memory, out_of_memory
from faceveil.transforms.shard.compose import AnonymizedImage, compose_example
from faceveil.transforms.shard.read import Loaded
from faceveil.transforms.shard.steps import LARGEST_KEPT, Detected, DetectedImage, Failed, Finished, Settled, guarded


@dataclass(frozen=True)
class Masking:
    """How faces are masked.

    Attributes:
        method: the method's name.
        style: the masks' shape and the method's strength.
        synthesizer: what draws new faces; None for all methods that need none.
        allow_label_maps: whether faces are masked in maps of labels and distances too.
    """

    method: str
    style: Style
    synthesizer: Synthesizer | None = None
    allow_label_maps: bool = False

    @property
    def group_size(self) -> int:
        """How many records `anonymize_group` wants at once."""
        return self.synthesizer.images_at_once if self.synthesizer else 1


@dataclass(frozen=True)
class Group:
    """Consecutive records that are anonymized together."""

    items: Sequence[Detected | Settled]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(item.nbytes for item in self.items)


@dataclass(frozen=True)
class FinishedGroup:
    """A group once its records are anonymized."""

    items: Sequence[Finished | Settled]

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return sum(item.nbytes for item in self.items)


def in_groups(items: Iterable[Detected | Settled], size: int) -> Iterator[Group]:
    """Puts `size` records into each group, fewer where their pixels are many; this depends on the records alone."""
    group: list[Detected | Settled] = []
    pixels = 0
    for item in items:
        group.append(item)
        pixels += _decoded_bytes(item)
        if len(group) == size or pixels >= LARGEST_KEPT:
            yield Group(group)
            group, pixels = [], 0
    if group:
        yield Group(group)


def _decoded_bytes(item: Detected | Settled) -> int:
    images = item.images if isinstance(item, Detected) else ()
    return sum(3 * image.info.width * image.info.height for image in images if len(image.faces))


def ungrouped(groups: Iterable[FinishedGroup]) -> Iterator[Finished | Settled]:
    """The records of the groups, in their order."""
    for group in groups:
        yield from group.items


@dataclass(frozen=True)
class _Canvas:
    """The decoded image under a mask to be painted.

    Attributes:
        pixels: as stored.
        values: the same, upright.
        plan: which faces are to be drawn, and from what; None where the method draws none.
        drawn: the faces that were drawn for it.
    """

    pixels: Pixels
    values: Values
    plan: Plan | None = None
    drawn: FloatArray | None = None


@dataclass(frozen=True)
class _Opened:
    """A record with its images open for painting, but for those without faces."""

    record: Loaded
    images: tuple[DetectedImage, ...]
    canvases: tuple[_Canvas | None, ...]


def anonymize_group(group: Group, masking: Masking, roles: FeatureRoles) -> FinishedGroup:
    """Masks the faces of some records and makes their Examples; a record that fails is quarantined alone."""
    open_one = guarded(functools.partial(_open, masking=masking), _key, Reason.ANONYMIZATION_FAILED)
    opened = [open_one(item) for item in group.items]
    try:
        drawn = _draw(opened, masking.synthesizer) if masking.synthesizer else opened
    except Exception as error:
        if len(group.items) > 1:
            alone = [anonymize_group(Group([item]), masking, roles) for item in group.items]
            return FinishedGroup([single.items[0] for single in alone])
        if is_out_of_memory(error):
            raise out_of_memory(error) from error
        cause = Quarantine(Reason.ANONYMIZATION_FAILED, f"{type(error).__name__}: {error}")
        return FinishedGroup([Failed(item.record.key, cause) for item in opened if isinstance(item, _Opened)])
    finish_one = guarded(functools.partial(_finish, masking=masking, roles=roles), _key, Reason.ANONYMIZATION_FAILED)
    return FinishedGroup([finish_one(item) for item in drawn])


def _key(item: Detected | _Opened) -> str:
    return item.record.key


def _memory_for(item: Detected | _Opened) -> int:
    parts = zip(item.record.images, item.images, strict=True)
    return sum(memory_for(image.info.width * image.info.height, len(data)) for data, image in parts)


def _open(detected: Detected, masking: Masking) -> _Opened:
    record = detected.record
    with needs_memory(_memory_for(detected)):
        canvases = [
            _open_image(data, image, f"{record.key}\0{number}", masking) if len(image.faces) else None
            for number, (data, image) in enumerate(zip(record.images, detected.images, strict=True))
        ]
    return _Opened(record, detected.images, tuple(canvases))


def _open_image(data: bytes, image: DetectedImage, name: str, masking: Masking) -> _Canvas:
    pixels = image.pixels or decode_pixels(data, image.info)
    if not masking.allow_label_maps and not is_lossy(data, image.info) and (kind := kind_of_labels(pixels)):
        found = "a face" if len(image.faces) == 1 else f"{len(image.faces)} faces"
        raise Quarantine(Reason.LABEL_MAP, f"{found} found in {kind}; --allow_label_maps masks faces all the same")
    values = upright(pixels.values, image.info.orientation)
    if masking.synthesizer is None:
        return _Canvas(pixels, values)
    return _Canvas(pixels, values, masking.synthesizer.plan(values, image.faces, pixels.mode, masking.style, name))


def _draw(opened: Sequence[_Opened | Settled], synthesizer: Synthesizer) -> list[_Opened | Settled]:
    """Has the faces of all records drawn together."""
    plans = [
        canvas.plan
        for item in opened
        if isinstance(item, _Opened)
        for canvas in item.canvases
        if canvas is not None and canvas.plan is not None
    ]
    faces = iter(synthesizer.draw(plans))

    def with_faces(item: _Opened) -> _Opened:
        return replace(item, canvases=tuple(canvas and replace(canvas, drawn=next(faces)) for canvas in item.canvases))

    return [with_faces(item) if isinstance(item, _Opened) else item for item in opened]


def _finish(opened: _Opened, masking: Masking, roles: FeatureRoles) -> Finished:
    """Paints and encodes; an image without faces keeps its compressed data."""
    record = opened.record
    with needs_memory(_memory_for(opened)):
        images = [
            _finish_image(*parts, masking) for parts in zip(record.images, opened.images, opened.canvases, strict=True)
        ]
    main, *others = images
    row = Row(
        record.key,
        Status.ANONYMIZED if any(len(image.faces) for image in images) else Status.NO_FACES,
        None,
        *(main.info.upright_width, main.info.upright_height, main.faces),
        reencoded=any(image.reencoded for image in images),
        other_images=tuple(
            OtherImage(name, image.info.upright_width, image.info.upright_height, image.faces)
            for name, image in zip(roles.images[1:], others, strict=False)
        ),
        fallback_faces=sum(
            int((~canvas.plan.drawn).sum()) for canvas in opened.canvases if canvas is not None and canvas.plan
        ),
    )
    return Finished(row, compose_example(record, images, roles))


def _finish_image(data: bytes, image: DetectedImage, canvas: _Canvas | None, masking: Masking) -> AnonymizedImage:
    info, faces = image.info, image.faces
    if canvas is None and not image.hides_pixels:
        stripped = strip_metadata(data, info, faultless=image.faultless)
        return AnonymizedImage(stripped, info, faces, reencoded=False)
    if canvas is None:
        pixels = image.pixels or decode_pixels(data, info)
        return AnonymizedImage(encode_pixels(pixels, data, info), info, faces, is_lossy(data, info))
    masked, painted = _paint(canvas, image, masking)
    stored_pixels = replace(canvas.pixels, values=stored(masked, info.orientation))
    encoded, reencoded = _encode(stored_pixels, stored(painted, info.orientation), data, info)
    return AnonymizedImage(encoded, info, faces, reencoded)


def _paint(canvas: _Canvas, image: DetectedImage, masking: Masking) -> tuple[Values, BoolMask]:
    """The masked image, and which pixels were painted on."""
    values, faces, style, black = canvas.values, image.faces, masking.style, canvas.pixels.black
    height, width = values.shape[:2]
    if masking.synthesizer and canvas.plan is not None and canvas.drawn is not None:
        masked = masking.synthesizer.paint(values, faces, style, black, canvas.plan, canvas.drawn)
        return masked, masking.synthesizer.painted_pixels(faces, style, canvas.plan, height, width)
    masked = METHODS[masking.method](values, faces, style, black)
    return masked, painted_pixels(masking.method, faces, style, height, width)


def _encode(pixels: Pixels, painted: BoolMask, original: bytes, info: ImageInfo) -> tuple[bytes, bool]:
    """The masked image in its own format, and whether pixels outside the masks may have changed."""
    spliced = splice(pixels, painted, original, info) if info.format == "jpeg" else None
    if spliced is not None:
        return spliced, False
    return encode_pixels(pixels, original, info), is_lossy(original, info)
