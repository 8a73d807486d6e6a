"""Running a detector over annotated images."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from faceveil.evaluation.annotations import AnnotatedImage, AnnotationError
from faceveil.evaluation.measures import ImageResult
from faceveil.transforms.codecs import ImageInfo, decode_for_detection, probe, reoriented, stored_boxes
from faceveil.transforms.codecs.orientation import swaps_sides
from faceveil.transforms.detectors.detector import Detector
from faceveil.transforms.errors import AccessError
from faceveil.transforms.faces import Faces
from faceveil.transforms.quarantine import Quarantine

MIN_SCORE = 0.02
"""The threshold at which a detector runs to be evaluated; higher ones are applied to what it found. It is low since
average precision counts what is found among many false positives, too."""


def detect_all(
    detector: Detector, images: Sequence[AnnotatedImage], paths: Sequence[str], read: Callable[[str], bytes]
) -> Iterator[ImageResult]:
    """Finds the faces of annotated images, on as many threads as the detector was loaded for.

    Merging the views at ``MIN_SCORE`` and then leaving out what is below a threshold yields the same faces as the
    other way round: whether a box is suppressed depends on better ones alone, and where scores are averaged, candidates
    of that score count at any threshold.

    Args:
        detector: loaded with a ``score_threshold`` of ``MIN_SCORE``.
        images: what is annotated.
        paths: where each of them is.
        read: returns the bytes at a path, or raises OSError.

    Yields:
        The results, in the order of the images.

    Raises:
        AccessError: an image cannot be read or decoded.
        AnnotationError: an image is not of the size that its annotations say.
        ModelError: the detector failed.
    """

    def detect(image: AnnotatedImage, path: str) -> ImageResult:
        try:
            data = read(path)
            info = probe(data)
            check_size(image, info, path)
            faces = find_faces(detector, data, info)
        except OSError as error:
            raise AccessError(f"{path}: cannot be read: {error}") from error
        except Quarantine as error:
            raise AccessError(f"{path}: cannot be decoded: {error}; take it out of the annotations") from error
        boxes = _in_stored_image(faces, info)
        return ImageResult(image.boxes, image.ignored, boxes, faces.scores, swaps_sides(info.orientation))

    pool = ThreadPoolExecutor(detector.config.threads)
    try:
        yield from pool.map(detect, images, paths)
    finally:
        pool.shutdown(cancel_futures=True)


def find_faces(detector: Detector, data: bytes, info: ImageInfo) -> Faces:
    """The faces of one encoded image, in pixels of its upright size, best score first.

    Raises:
        Quarantine: it cannot be decoded.
        ModelError: the detector failed.
    """
    preview = decode_for_detection(data, info, detector.side_needed(info.upright_width, info.upright_height))
    shown = [
        (detector.prepare(rgb, *info.upright_size(orientation)), orientation)
        for rgb, orientation in preview.renderings()
    ]
    found = detector.detect([image for image, _ in shown])
    return detector.unite(
        [
            reoriented(faces, orientation, info.orientation, info.width, info.height)
            for faces, (_, orientation) in zip(found, shown, strict=True)
        ]
    )


def _in_stored_image(faces: Faces, info: ImageInfo) -> np.ndarray:
    """The boxes ``[M, 4]`` in pixels of the stored image, as annotations are."""
    upright = np.tile(np.array([info.upright_width, info.upright_height], np.float32), 2)
    return stored_boxes(faces.boxes / upright, info.orientation) * np.tile(
        np.array([info.width, info.height], np.float32), 2
    )


def check_size(image: AnnotatedImage, info: ImageInfo, path: str) -> None:
    """Refuses an image that is not of the size that its annotations say.

    Raises:
        AnnotationError: it is of another.
    """
    if image.size not in (None, (info.width, info.height)):
        assert image.size
        raise AnnotationError(
            f"{image.file} is annotated as {image.size[0]} x {image.size[1]} px, but {path} is stored as "
            f"{info.width} x {info.height}; boxes must be in pixels of the stored image"
        )
