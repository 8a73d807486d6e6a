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
from faceveil.transforms.generators.synthesize import FacePlan, Synthesizer
from faceveil.transforms.limits import memory_for
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.runtime.memory import needs_memory, out_of_memory_errors
from faceveil.transforms.shard.compose import AnonymizedImage, Compose, compose_example
from faceveil.transforms.shard.detect import DetectedImage
from faceveil.transforms.shard.read import image_names
from faceveil.transforms.shard.record import (
    MAX_HELD_BYTES,
    Batch,
    Outcome,
    Record,
    guarded,
    one_by_one_on_failure,
)


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
    def batch_size(self) -> int:
        """How many records `anonymize` wants at once."""
        return self.synthesizer.images_at_once if self.synthesizer else 1


def batch_by_pixels(
    items: Iterable[Record[DetectedImage] | Outcome], size: int
) -> Iterator[Batch[Record[DetectedImage] | Outcome]]:
    """Puts `size` records into each batch, fewer where their pixels are many; this depends on the records alone."""
    batch: list[Record[DetectedImage] | Outcome] = []
    pixels = place = 0
    for place, item in enumerate(items, start=1):
        batch.append(item)
        pixels += _decoded_bytes(item)
        if len(batch) == size or pixels >= MAX_HELD_BYTES:
            yield Batch(batch, range(place - len(batch), place))
            batch, pixels = [], 0
    if batch:
        yield Batch(batch, range(place - len(batch), place))


def _decoded_bytes(item: Record[DetectedImage] | Outcome) -> int:
    images = item.images if isinstance(item, Record) else ()
    return sum(3 * image.info.width * image.info.height for image in images if len(image.faces))


@dataclass(frozen=True)
class Canvas:
    """An image with faces, decoded, so that masks can be painted.

    Attributes:
        image: what is known of it.
        pixels: as stored.
        values: the same, upright.
        plan: which faces are to be drawn, and from what; None where the method draws none.
        drawn: the faces that were drawn for it.
    """

    image: DetectedImage
    pixels: Pixels
    values: Values
    plan: FacePlan | None = None
    drawn: FloatArray | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return self.image.nbytes + self.pixels.nbytes + self.values.nbytes


def anonymize(
    items: Sequence[Record[DetectedImage] | Outcome],
    masking: Masking,
    roles: FeatureRoles,
    compose: Compose = compose_example,
) -> list[Outcome]:
    """Masks the faces of some records and makes what is written of them; a record that fails is quarantined alone.

    Args:
        items: the records.
        masking: how.
        roles: what the features of Examples are.
        compose: what is written of a record, see ``composer``.

    Raises:
        OutOfMemoryError: memory ran out.
    """
    open_one = guarded(functools.partial(_open, masking=masking), Reason.ANONYMIZATION_FAILED)
    finish = functools.partial(_finish, masking=masking, roles=roles, compose=compose)
    finish_one = guarded(finish, Reason.ANONYMIZATION_FAILED)
    opened = [open_one(item) for item in items]
    if masking.synthesizer:
        draw = functools.partial(_draw, synthesizer=masking.synthesizer)
        opened = one_by_one_on_failure(draw, Reason.ANONYMIZATION_FAILED)(opened)
    return [finish_one(item) for item in opened]


# Of a record on its way, images with faces are open, and those without are not.
_Open = Record[Canvas | DetectedImage]


def _memory_for(images: Iterable[DetectedImage]) -> int:
    return sum(memory_for(image.info.width * image.info.height, len(image.data)) for image in images)


def _open(record: Record[DetectedImage], masking: Masking) -> _Open:
    with needs_memory(_memory_for(record.images)):
        images = tuple(
            _open_image(image, f"{record.key}\0{number}", masking) if len(image.faces) else image
            for number, image in enumerate(record.images)
        )
    return Record(record.key, images, record.example)


def _open_image(image: DetectedImage, name: str, masking: Masking) -> Canvas:
    pixels = image.pixels or decode_pixels(image.data, image.info)
    if not masking.allow_label_maps and not is_lossy(image.data, image.info) and (kind := kind_of_labels(pixels)):
        found = "a face" if len(image.faces) == 1 else f"{len(image.faces)} faces"
        raise Quarantine(Reason.LABEL_MAP, f"{found} found in {kind}; --allow_label_maps masks faces all the same")
    values = upright(pixels.values, image.info.orientation)
    if masking.synthesizer is None:
        return Canvas(image, pixels, values)
    plan = masking.synthesizer.plan(values, image.faces, pixels.mode, masking.style, name, image.given)
    return Canvas(image, pixels, values, plan)


def _draw(records: Sequence[_Open], synthesizer: Synthesizer) -> list[_Open]:
    """Has the faces of all records drawn together."""
    plans = [
        image.plan
        for record in records
        for image in record.images
        if isinstance(image, Canvas) and image.plan is not None
    ]
    with out_of_memory_errors():
        faces = iter(synthesizer.draw(plans))

    def with_faces(image: Canvas | DetectedImage) -> Canvas | DetectedImage:
        return replace(image, drawn=next(faces)) if isinstance(image, Canvas) else image

    return [replace(record, images=tuple(map(with_faces, record.images))) for record in records]


def _finish(record: _Open, masking: Masking, roles: FeatureRoles, compose: Compose) -> Outcome:
    """Paints and encodes; an image without faces keeps its compressed data."""
    detected = [image.image if isinstance(image, Canvas) else image for image in record.images]
    with needs_memory(_memory_for(detected)):
        images = [
            _painted(image, masking) if isinstance(image, Canvas) else _faceless(image) for image in record.images
        ]
    main, *others = images
    row = Row(
        record.key,
        Status.ANONYMIZED if any(len(image.faces) for image in images) else Status.NO_FACES,
        None,
        *(main.info.upright_width, main.info.upright_height, main.faces),
        reencoded=any(image.reencoded for image in images),
        detail=_told_conversion(images),
        other_images=tuple(
            OtherImage(name, image.info.upright_width, image.info.upright_height, image.faces)
            for name, image in zip(image_names(record.example, roles)[1:], others, strict=True)
        ),
        fallback_faces=sum(
            int((~image.plan.drawn).sum()) for image in record.images if isinstance(image, Canvas) and image.plan
        ),
        given_faces=sum(image.given for image in detected),
    )
    originals = [image.data for image in detected]
    return Outcome(row, compose(record.key, record.example, originals, images, roles))


def _told_conversion(images: Sequence[AnonymizedImage]) -> str | None:
    """Says of images that they are written in another format; None where all keep theirs."""
    read = sorted({image.info.source for image in images} - {""})
    return f"read as {', '.join(read)}, written as png" if read else None


def _faceless(image: DetectedImage) -> AnonymizedImage:
    data, info = image.data, image.info
    if not image.hides_pixels:
        stripped = strip_metadata(data, info, faultless=image.faultless)
        return AnonymizedImage(stripped, info, image.faces, reencoded=False)
    pixels = image.pixels or decode_pixels(data, info)
    return AnonymizedImage(encode_pixels(pixels, data, info), info, image.faces, is_lossy(data, info))


def _painted(canvas: Canvas, masking: Masking) -> AnonymizedImage:
    data, info = canvas.image.data, canvas.image.info
    masked, painted = _paint(canvas, masking)
    stored_pixels = replace(canvas.pixels, values=stored(masked, info.orientation))
    encoded, reencoded = _encode(stored_pixels, stored(painted, info.orientation), data, info)
    return AnonymizedImage(encoded, info, canvas.image.faces, reencoded)


def _paint(canvas: Canvas, masking: Masking) -> tuple[Values, BoolMask]:
    """The masked image, and which pixels were painted on."""
    values, faces, style, black = canvas.values, canvas.image.faces, masking.style, canvas.pixels.black
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
