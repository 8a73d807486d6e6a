"""How good a detector is while it is trained: its faces on photos that it does not learn from."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from faceveil.evaluation.detect import MIN_SCORE
from faceveil.evaluation.measures import BANDS, ImageResult, measure
from faceveil.training.anchors import decode_boxes
from faceveil.training.augment import fit_into
from faceveil.training.model import BOXES, LOGITS
from faceveil.training.photos import AnnotatedPhoto, show
from faceveil.transforms.arrays import RGB, FloatArray
from faceveil.transforms.detectors.merge import suppress_overlaps
from faceveil.transforms.faces import Faces
from faceveil.transforms.quarantine import Quarantine
from faceveil.transforms.runtime.pool import usable_cores

_LOGGER = logging.getLogger(__name__)
_MOST = 1000
"""Candidates of a photo, the best ones, that are looked at."""


def validate(
    model: Any, photos: Sequence[AnnotatedPhoto], anchors: FloatArray, size: int, batch_size: int
) -> dict[str, float | None]:
    """The average precision of a model on photos, by band of the faces' heights; None for bands without faces.

    A face of any label counts as found by a box of any label: what is found is masked. Each photo is seen once, fitted
    into the model's square, so small faces are missed that ``faceveil run`` may find in its larger views.

    Raises:
        AccessError: a photo cannot be read.
    """
    results = list(detect_photos(model, photos, anchors, size, batch_size))
    return {str(band): measure(results, band).average_precision() for band in BANDS}


def detect_photos(
    model: Any, photos: Sequence[AnnotatedPhoto], anchors: FloatArray, size: int, batch_size: int
) -> Iterator[ImageResult]:
    """Annotated and detected faces of each photo that can be decoded, in pixels of the upright image."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        for start in range(0, len(photos), batch_size):
            some = photos[start : start + batch_size]
            shown = [each for each in pool.map(lambda photo: _fitted(photo, size), some) if each]
            # Always as many, so that the model is compiled for one shape.
            batch = np.zeros((batch_size, size, size, 3), np.float32)
            for place, (pixels, _, _, _) in enumerate(shown):
                batch[place] = pixels
            outputs = model.predict_on_batch(batch)
            for place, (_, photo, boxes, scale) in enumerate(shown):
                faces = _faces(outputs[LOGITS][place], outputs[BOXES][place], anchors)
                yield ImageResult(boxes, photo.annotated.ignored, faces.boxes / scale, faces.scores)


def _fitted(photo: AnnotatedPhoto, size: int) -> tuple[RGB, AnnotatedPhoto, FloatArray, float] | None:
    """A photo in the model's square, its boxes in pixels of the upright image, and by what scale it got there."""
    try:
        shown = show(photo, size)
    except Quarantine as error:
        _LOGGER.warning("%s is left out: it cannot be decoded: %s", photo.name, error)
        return None
    pixels, scale = fit_into(shown.pixels, size)
    enlarged = shown.width / shown.pixels.shape[1]
    return pixels, photo, shown.boxes * np.float32(enlarged), scale / enlarged


def _faces(logits: FloatArray, encoded: FloatArray, anchors: FloatArray) -> Faces:
    """The faces of one image, best score first, in pixels of the square."""
    scores = 1 / (1 + np.exp(-logits.max(axis=1)))
    best = np.argsort(-scores, kind="stable")[:_MOST]
    best = best[scores[best] >= MIN_SCORE]
    return suppress_overlaps(Faces(decode_boxes(encoded[best], anchors[best]), scores[best]))
