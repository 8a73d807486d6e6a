"""The steps from a source to a record whose faces are known: decode its images, then detect faces, a batch at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.codecs import ImageInfo, Pixels, decode_for_detection, probe, reoriented
from faceveil.transforms.detectors.detector import Detector
from faceveil.transforms.detectors.views import ShownImage
from faceveil.transforms.faces import Faces
from faceveil.transforms.formats.features import FeatureRoles
from faceveil.transforms.limits import Limits, memory_for
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.runtime.memory import needs_memory
from faceveil.transforms.shard.given import GivenBoxes, with_given
from faceveil.transforms.shard.read import HoldsRecords, Source, image_names, load, refuse_pixels
from faceveil.transforms.shard.record import MAX_HELD_BYTES, Batch, Outcome, Record

# With so much memory to be had, it is for no lack of it that the detector fails.
_DETECTION_BYTES = 2**30
# That each of a record's many images counts for at least.
_MIN_PIXELS = 2**16


@dataclass(frozen=True)
class DecodedImage:
    """One image ready for the detector.

    Attributes:
        data: the compressed image.
        info: its format, size and orientation.
        renderings: for each way in which readers may show it, what the detector is shown.
        orientations: by which each of them is turned.
        pixels: its stored pixels, if they had to be decoded whole anyway and are not too large to keep.
        faultless: that it is a JPEG that libjpeg decoded without a complaint.
        hides_pixels: whether the compressed data hold others than what was decoded, so that they may not be copied.
        given: its annotated boxes, in pixels of the upright image; None where nothing is known of them.
    """

    data: bytes
    info: ImageInfo
    renderings: tuple[ShownImage, ...]
    orientations: tuple[int, ...]
    pixels: Pixels | None
    faultless: bool
    hides_pixels: bool
    given: Faces | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        shown = sum(rendering.nbytes for rendering in self.renderings)
        return len(self.data) + shown + (self.pixels.nbytes if self.pixels else 0)


@dataclass(frozen=True)
class DetectedImage:
    """One image whose faces are known; the views are no longer held.

    Attributes:
        data: the compressed image.
        info: its format, size and orientation.
        pixels: as ``DecodedImage`` has them.
        faces: in pixels of the upright image.
        faultless: as ``DecodedImage`` has it.
        hides_pixels: as ``DecodedImage`` has it.
        given: how many of the faces, the first ones, are annotated boxes.
    """

    data: bytes
    info: ImageInfo
    pixels: Pixels | None
    faces: Faces
    faultless: bool
    hides_pixels: bool
    given: int = 0

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return len(self.data) + (self.pixels.nbytes if self.pixels else 0)


def decode(
    source: Source,
    roles: FeatureRoles,
    detector: Detector,
    limits: Limits,
    keep_metadata: Collection[str] = (),
    boxes: GivenBoxes | None = None,
) -> Record[DecodedImage] | Source:
    """Reads a record's images and prepares them for the detector; gives a file back that holds records in truth.

    Annotated boxes are those of the main image. Where they replace detection it has no views, all others have.

    Raises:
        Quarantine: one of them cannot be read or decoded, or its boxes are missing or wrong.
        OutOfMemoryError: that may be for want of memory.
        AccessError: as ``load``.
    """
    with needs_memory(memory_for(0, 0) + source.nbytes):
        try:
            compressed, example, others = load(source, roles, limits.max_image_bytes)
        except HoldsRecords:
            return source
        named = list(zip(image_names(example, roles), compressed, strict=True))
        infos = _probe_all(named, roles, limits, keep_metadata)
        numbers = Counter(name for name, _ in named).values()
        refuse_pixels(others, [(info.width, info.height) for info in infos], numbers)
    given = boxes.find(source.key, example, infos[0]) if boxes else None
    if given is not None and len(named) > 1 and named[0][0] == named[1][0]:
        raise Quarantine(
            Reason.INVALID_BOXES, f"--boxes: they are of one image, and feature {named[0][0]} holds several"
        )
    images = []
    for number, ((name, data), info) in enumerate(zip(named, infos, strict=True)):
        with needs_memory(memory_for(info.width * info.height, len(data))), _naming(name, len(named)):
            annotated = (given, not (boxes and boxes.replace)) if number == 0 else ()
            images.append(_decode_image(data, info, detector, *annotated))
    return Record(source.key, tuple(images), example)


def _probe_all(
    named: Sequence[tuple[str, bytes]], roles: FeatureRoles, limits: Limits, keep_metadata: Collection[str]
) -> list[ImageInfo]:
    """What the headers of a record's images say.

    Raises:
        Quarantine: of one of them, or a feature holds more images than can be worked on at once.
    """
    infos: list[ImageInfo] = []
    pixels = 0
    for name, data in named:
        with _naming(name, len(named)):
            infos.append(probe(data, keep_metadata, limits.max_pixels))
        pixels += max(infos[-1].width * infos[-1].height, _MIN_PIXELS)
        if len(named) > len(roles.images) and pixels > limits.max_pixels:
            detail = f"the record's {len(named)} images have too many pixels together (--max_pixels allows more)"
            raise Quarantine(Reason.TOO_LARGE, detail)
    return infos


def with_records(
    items: Iterable[Record[DecodedImage] | Source | Outcome],
    decode_records: Callable[[Source], Iterable[Record[DecodedImage] | Source | Outcome]],
) -> Iterator[Record[DecodedImage] | Outcome]:
    """The decoded records, with those of files of records in the place of files that were taken for images.

    Args:
        items: the decoded records.
        decode_records: reads and decodes the records of a file.
    """
    for item in items:
        if isinstance(item, Source):
            yield from with_records(decode_records(item), decode_records)
        else:
            yield item


@contextmanager
def _naming(feature: str, images: int) -> Iterator[None]:
    """Says of an error which of several images it is about."""
    try:
        yield
    except Quarantine as error:
        if images == 1:
            raise
        raise Quarantine(error.reason, f"feature {feature}: {error.detail}") from error


def _decode_image(
    data: bytes, info: ImageInfo, detector: Detector, given: Faces | None = None, looked_at: bool = True
) -> DecodedImage:
    side = detector.side_needed(info.upright_width, info.upright_height)
    if not looked_at:  # all of it is needed, or no more than shows that it is sound
        side = max(info.width, info.height) if given is not None and len(given) else 1
    preview = decode_for_detection(data, info, side)
    shown, orientations = [], []
    for rgb, orientation in preview.renderings() if looked_at else ():
        shown.append(detector.prepare(rgb, *info.upright_size(orientation)))
        orientations.append(orientation)
    kept = preview.pixels if preview.pixels and preview.pixels.nbytes <= MAX_HELD_BYTES else None
    return DecodedImage(
        *(data, info, tuple(shown), tuple(orientations), kept),
        *(preview.decoded.faultless, preview.hides_pixels, given),
    )


def batch_like_shaped(
    items: Iterable[Record[DecodedImage] | Outcome], size: int
) -> Iterator[Batch[Record[DecodedImage] | Outcome]]:
    """Groups records whose views have the same shapes into batches, within a window of a few batches.

    The batches depend on the order of the records alone, never on timing, so that a rerun forms the same ones.
    """
    waiting: dict[tuple[tuple[int, ...], ...], list[tuple[Record[DecodedImage] | Outcome, int]]] = {}
    waiting_items = 0
    for place, item in enumerate(items):
        shape = _shapes(item) if isinstance(item, Record) else ()
        alike = waiting.setdefault(shape, [])
        alike.append((item, place))
        waiting_items += 1
        if len(alike) == size:
            del waiting[shape]
            waiting_items -= size
            yield Batch(*zip(*alike, strict=True))
        elif waiting_items >= 4 * size:
            # The oldest go first, so nothing waits for long.
            oldest = waiting.pop(next(iter(waiting)))
            waiting_items -= len(oldest)
            yield Batch(*zip(*oldest, strict=True))
    for alike in waiting.values():
        yield Batch(*zip(*alike, strict=True))


def _shapes(record: Record[DecodedImage]) -> tuple[tuple[int, ...], ...]:
    return tuple(view.pixels.shape for image in record.images for shown in image.renderings for view in shown.views)


def detect(
    records: Sequence[Record[DecodedImage]], detector: Detector, geometry: MaskGeometry | None = None
) -> list[Record[DetectedImage]]:
    """Finds the faces of several records, and puts their annotated boxes among them.

    Args:
        records: the records.
        detector: finds the faces.
        geometry: of the masks, by which a face and an annotated box may be one.

    Raises:
        OutOfMemoryError: memory ran out.
        Exception: whatever the model raises.
    """
    with needs_memory(_DETECTION_BYTES):
        shown = [shown for record in records for image in record.images for shown in image.renderings]
        faces = iter(detector.detect(shown) if shown else [])
    return [
        Record(
            record.key,
            tuple(_detected(image, faces, detector, geometry or MaskGeometry()) for image in record.images),
            record.example,
        )
        for record in records
    ]


def _detected(image: DecodedImage, faces: Iterator[Faces], detector: Detector, geometry: MaskGeometry) -> DetectedImage:
    """Takes the faces of each rendering of an image, in their order."""
    info = image.info
    upright = [
        reoriented(next(faces), shown, info.orientation, info.width, info.height) for shown in image.orientations
    ]
    found = detector.unite(upright)
    given = image.given or Faces.none()
    return DetectedImage(
        *(image.data, info, image.pixels, with_given(found, given, geometry)),
        *(image.faultless, image.hides_pixels, len(given)),
    )
