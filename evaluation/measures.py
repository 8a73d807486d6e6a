"""What the detections on annotated images are worth: average precision, recall, coverage, false positives."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from faceveil.evaluation.matching import covering_scores, match, unmatched
from faceveil.transforms.arrays import BoolMask, FloatArray


@dataclass(frozen=True)
class ImageResult:
    """The annotated and the detected faces of one image.

    Attributes:
        faces: float32 ``[N, 4]``, the annotated ones, x0, y0, x1, y1 in pixels of the stored image.
        ignored: bool ``[N]``: which of them count neither as found nor as missed.
        boxes: float32 ``[M, 4]``, the detections, likewise, best score first.
        scores: float32 ``[M]``, 0 to 1.
        turned: whether the stored image lies on its side, so that what is high in the upright image is wide in it.
    """

    faces: FloatArray
    ignored: BoolMask
    boxes: FloatArray
    scores: FloatArray
    turned: bool = False

    def heights(self, boxes: FloatArray) -> FloatArray:
        """The heights ``[K]`` of boxes ``[K, 4]`` in the upright image, in pixels."""
        x0, y0, x1, y1 = boxes.T
        heights: FloatArray = x1 - x0 if self.turned else y1 - y0
        return heights


@dataclass(frozen=True)
class Band:
    """Faces of some heights: from ``low`` pixels of the upright image up to, but not with, ``high``."""

    low: float
    high: float

    def holds(self, heights: FloatArray) -> BoolMask:
        """Which of the heights ``[K]`` in pixels are in the band."""
        return (heights >= self.low) & (heights < self.high)

    def __str__(self) -> str:
        """Its name in tables.

        Example usage::

            >>> str(Band(0, math.inf)), str(Band(16, math.inf)), str(Band(16, 32))
            ('all', '>= 16', '16-32')
        """
        if not math.isinf(self.high):
            return f"{self.low:g}-{self.high:g}"
        return f">= {self.low:g}" if self.low else "all"


BANDS = (
    *(Band(0, math.inf), Band(16, math.inf)),
    *(Band(0, 16), Band(16, 32), Band(32, 64), Band(64, math.inf)),
)


@dataclass(frozen=True)
class Point:
    """The measures of one band at one score threshold; None where there is nothing to divide by.

    Attributes:
        threshold: detections of this score and more count.
        recall: share of the faces that a detection of their own matches (see ``matching.match``).
        precision: share of the detections that match a face of their own; neutral ones do not count.
        covered: share of the faces that all detections together cover (see ``matching.covering_scores``).
        false_positives_per_image: detections of the band's heights that overlap no annotated face, ignored ones
            included, by ``matching.MATCH_IOU``. A second detection of a face is none: it hides nothing else.
    """

    threshold: float
    recall: float | None
    precision: float | None
    covered: float | None
    false_positives_per_image: float


@dataclass(frozen=True)
class BandResult:
    """All detections on all images, as they concern one band.

    Faces beyond the band are ignored, and detections beyond it that match nothing are neutral: COCO's way to
    evaluate by object size.

    Attributes:
        band: the heights.
        images: number of images.
        faces: number of annotated faces that count.
        scores: float32 ``[D]``: of the detections that are not neutral.
        correct: bool ``[D]``: which of them found a face of their own.
        covering: float32 ``[faces]``: the highest threshold at which each face is covered.
        unmatched: float32 ``[U]``: scores of the detections in the band that overlap no annotated face.
    """

    band: Band
    images: int
    faces: int
    scores: FloatArray
    correct: BoolMask
    covering: FloatArray
    unmatched: FloatArray

    def average_precision(self) -> float | None:
        """``average_precision`` of the band; None without faces."""
        return average_precision(self.scores, self.correct, self.faces) if self.faces else None

    def at(self, threshold: float) -> Point:
        """The measures at a score threshold of at least that at which the detector ran."""
        counted = self.scores >= threshold
        detections, found = int(counted.sum()), int(self.correct[counted].sum())
        return Point(
            threshold,
            recall=found / self.faces if self.faces else None,
            precision=found / detections if detections else None,
            covered=float((self.covering >= threshold).mean()) if self.faces else None,
            false_positives_per_image=float((self.unmatched >= threshold).sum()) / self.images,
        )


def measure(results: Sequence[ImageResult], band: Band) -> BandResult:
    """Compares detections with annotations, for the faces of one band.

    Args:
        results: one for every image, detected at a threshold below all that will be asked for.
        band: which faces count.
    """
    parts = [_measure_image(result, band) for result in results]
    scores, correct, covering, false = zip(*parts, strict=True) if parts else ((), (), (), ())
    covering_all = _joined(covering)
    return BandResult(
        band=band,
        images=len(parts),
        faces=len(covering_all),
        scores=_joined(scores),
        correct=_joined(correct).astype(bool),
        covering=covering_all,
        unmatched=_joined(false),
    )


def _measure_image(result: ImageResult, band: Band) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """Of one image: scores and correctness of the detections that count, covering scores, unmatched scores."""
    counts = ~result.ignored & band.holds(result.heights(result.faces))
    inside = band.holds(result.heights(result.boxes))
    matching = match(result.faces, ~counts, result.boxes, ~inside)
    judged = ~matching.neutral
    return (
        result.scores[judged],
        matching.correct[judged].astype(np.float32),
        covering_scores(result.faces[counts], result.boxes, result.scores),
        result.scores[inside & unmatched(result.faces, result.boxes)],
    )


def _joined(parts: Iterable[FloatArray]) -> FloatArray:
    return np.concatenate([np.zeros(0, np.float32), *parts])


def average_precision(scores: FloatArray, correct: BoolMask, faces: int) -> float:
    """The area under the curve of precision over recall, all points interpolated.

    Precision at a recall is the best at that recall or a higher one, as in PASCAL VOC since 2010 (Everingham et al.,
    "The PASCAL Visual Object Classes Challenge: A Retrospective", 2015, section 3.2.1); WIDER FACE's area is the
    same, but for its 1000 steps of the threshold, and COCO's is sampled at 101 recalls. Detections of equal score count
    at once, so the result does not depend on the order of images.

    Args:
        scores: ``[D]``, of all detections on all images.
        correct: bool ``[D]``: which of them found a face of their own.
        faces: how many there were to find, at least 1.

    Returns:
        0 to 1.

    Example usage::

        >>> average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), 2)  # 1/2 + 1/2 * 2/3
        0.8333333333333333
    """
    order = np.argsort(-scores, kind="stable")
    found = np.cumsum(correct[order])
    last_of_score = np.append(np.diff(scores[order]) != 0, True)[: len(order)]
    precision = (found / np.arange(1, len(order) + 1))[last_of_score]
    recall = (found / faces)[last_of_score]
    best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0) * best_from_here).sum())
