"""Which detections are which annotated faces, and how well boxes cover a face."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.arrays import BoolMask, FloatArray
from faceveil.transforms.detectors.nms import iou

MATCH_IOU = 0.5
"""Least intersection over union of a detection with the face that it found, as PASCAL VOC and WIDER FACE have it."""

COVERED_SHARE = 0.5
"""Share of a face's area that has to lie under the detected boxes: with half of it hidden, eyes or mouth are."""

NEVER = -1.0
"""Stands for the score of a detection that does not exist; less than any."""


@dataclass(frozen=True)
class Matching:
    """What became of an image's detections.

    Attributes:
        found: int ``[M]``: which face that counts a detection has found; -1 where it found none.
        neutral: bool ``[M]``: it counts neither as correct nor as wrong. All others are false positives.
    """

    found: NDArray[np.intp]
    neutral: BoolMask

    @property
    def correct(self) -> BoolMask:
        """Bool ``[M]``: the detection found a face that counts."""
        correct: BoolMask = self.found >= 0
        return correct


def match(faces: FloatArray, ignored: BoolMask, boxes: FloatArray, neutral: BoolMask) -> Matching:
    """Assigns detections to annotated faces, greedily from the best score down.

    Each detection takes, of the faces that count and are not taken, the one it overlaps most, by ``MATCH_IOU`` at
    least. Without one, it is neutral if it overlaps an ignored face that much (any number of detections may), else a
    false positive; so is a second detection of a face. This is COCO's protocol at one threshold
    (``COCOeval.evaluateImg``, https://github.com/cocodataset/cocoapi) and, but for which of several faces a detection
    takes, that of WIDER FACE.

    Since better detections choose first, the result for detections above any threshold is the first part of this one.

    Args:
        faces: float32 ``[N, 4]``, x0, y0, x1, y1.
        ignored: bool ``[N]``: faces that count neither as found nor as missed.
        boxes: float32 ``[M, 4]``, the detections, best score first.
        neutral: bool ``[M]``: detections that are no false positives even where they match nothing.

    Example usage::

        >>> face = np.array([[0, 0, 10, 10]], np.float32)
        >>> match(face, np.array([False]), np.repeat(face, 2, axis=0), np.array([False, False])).correct
        array([ True, False])
    """
    overlaps = iou(boxes, faces)
    free = np.where(ignored, 0, overlaps)
    found = np.full(len(boxes), -1)
    if len(faces):
        for detection in range(len(boxes)):
            best = free[detection].argmax()
            if free[detection, best] >= MATCH_IOU:
                found[detection] = best
                free[:, best] = 0
    on_ignored = ((overlaps >= MATCH_IOU) & ignored).any(axis=1)
    return Matching(found, (found < 0) & (on_ignored | neutral))


def unmatched(faces: FloatArray, boxes: FloatArray) -> BoolMask:
    """Which detections ``[M, 4]`` overlap none of all annotated faces ``[N, 4]``, ignored ones included, enough."""
    best: FloatArray = iou(boxes, faces).max(axis=1, initial=0)
    return best < MATCH_IOU


def covering_scores(faces: FloatArray, boxes: FloatArray, scores: FloatArray) -> FloatArray:
    """For every face the highest score threshold at which the boxes left cover it.

    A face is covered when at least ``COVERED_SHARE`` of its area lies in the union of the boxes; so it is at every
    threshold up to the returned one. The union is exact: the boxes' edges cut the face into cells, each of which is
    covered from the best score of its boxes down.

    Args:
        faces: ``[N, 4]``, x0, y0, x1, y1, all with an area.
        boxes: ``[M, 4]``, the detections.
        scores: ``[M]``, 0 to 1.

    Returns:
        float32 ``[N]``; ``NEVER`` where all boxes together do not cover the face.

    Example usage::

        >>> faces = np.array([[0, 0, 10, 10]])
        >>> covering_scores(faces, np.array([[0, 0, 3, 10], [3, 0, 6, 10]]), np.array([0.75, 0.5]))
        array([0.5], dtype=float32)
    """
    return np.array([_covering_score(face, boxes, scores) for face in faces.astype(np.float64)], np.float32)


def _covering_score(face: NDArray[np.float64], boxes: FloatArray, scores: FloatArray) -> float:
    low, high = face[:2], face[2:]
    overlapping = ((boxes[:, :2] < high) & (boxes[:, 2:] > low)).all(axis=1)
    if not overlapping.any():
        return NEVER
    cut = np.clip(boxes[overlapping].astype(np.float64), np.tile(low, 2), np.tile(high, 2))
    xs, ys = (np.unique(np.append(cut[:, [axis, axis + 2]], face[[axis, axis + 2]])) for axis in (0, 1))
    cells = np.full((len(ys) - 1, len(xs) - 1), NEVER)
    overlapping_scores = scores[overlapping]
    # Better ones paint over worse ones, since boxes by cells would be too many to hold at once.
    for i in np.argsort(overlapping_scores):
        (left, right), (top, bottom) = np.searchsorted(xs, cut[i, [0, 2]]), np.searchsorted(ys, cut[i, [1, 3]])
        cells[top:bottom, left:right] = overlapping_scores[i]
    best = cells.ravel()
    area = np.outer(np.diff(ys), np.diff(xs)).ravel()
    order = np.argsort(-best)
    covered = np.cumsum(area[order])
    # The cells' areas add up to the face's only up to rounding.
    enough = covered >= COVERED_SHARE * (high - low).prod() * (1 - 1e-9)
    return float(best[order][enough.argmax()])
