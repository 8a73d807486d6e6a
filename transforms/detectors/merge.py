"""From what was found in each view of an image to the image's faces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from faceveil.transforms.arrays import BoolMask, FloatArray
from faceveil.transforms.detectors.nms import group_overlaps, nms
from faceveil.transforms.detectors.views import View
from faceveil.transforms.faces import Faces

NMS_IOU = 0.3
"""Boxes that overlap by this much are one face. Chosen on 200 photos of WIDER FACE at 1024 px: 0.25 to 0.6 cover the
same faces within 0.2 %, with 0.86, 0.89 (0.3), 1.17 (0.4) and 1.54 (0.5) boxes an image that match none."""

AVERAGED_IOU = 0.4
"""Boxes of several views that overlap by this much are averaged. Less merges neighbours in crowds: with 0.3, 0.4 and
0.5 AP@0.5 is 0.934, 0.936 and 0.933 on 200 photos of WIDER FACE, on 285 of people with masks 0.878, 0.878, 0.881."""

_WEIGHT_POWER = 8
"""Of a box's score, for its weight in the average of a group: the best views count nearly alone. Against the square, it
raises AP@0.5 by 0.018 on 285 photos of people with masks, and leaves it as it is (-0.001) on 200 of WIDER FACE."""

_MIN_SHOWN = 8
"""Pixels of a view. Of smaller faces CenterFace finds few, so that not finding one says nothing."""


def join_faces(parts: Iterable[Faces]) -> Faces:
    """All faces of several views together; they have keypoints if those of all parts do."""
    parts = [part for part in parts if len(part)]
    if not parts:
        return Faces.none()
    keypoints = [part.keypoints for part in parts if part.keypoints is not None]
    return Faces(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        np.concatenate(keypoints) if len(keypoints) == len(parts) else None,
    )


def suppress_overlaps(faces: Faces, iou_threshold: float = NMS_IOU) -> Faces:
    """The best of each group of faces that overlap by the threshold or more, best score first."""
    kept = nms(faces.boxes, faces.scores, iou_threshold)
    return faces.take(kept)


def average_views(parts: Sequence[tuple[View, Faces]]) -> Faces:
    """Groups of overlapping faces as one each, with the views' agreement as its score, best score first.

    Within each view the best of a group counts. A face that all views show scores higher than one that a single view
    believes in: the score is the mean of the best score and the mean over the views, those that show the place large
    enough without finding a face counting as 0. Views that are turned add to the best score alone. The box is the
    average of the views', weighted by a power of the score; the keypoints are those of the best.

    It is a simple kind of weighted box fusion (Solovyev, Wang and Gabruseva, "Weighted boxes fusion", 2021,
    https://arxiv.org/abs/1910.13302).

    Args:
        parts: each view with the faces found in it, in pixels of the image.
    """
    parts = [(view, suppress_overlaps(found)) for view, found in parts]
    faces = join_faces(found for _, found in parts)
    if not len(faces):
        return faces
    best, group = group_overlaps(faces.boxes, faces.scores, AVERAGED_IOU)
    view = np.repeat(np.arange(len(parts)), [len(found) for _, found in parts])
    scores = np.zeros((len(best), len(parts)), np.float32)
    np.maximum.at(scores, (group, view), faces.scores)
    shown = np.stack([_shown(faces.boxes[best], view) for view, _ in parts], axis=1)
    views_showing = shown.sum(axis=1)
    agreed = np.where(views_showing, (scores * shown).sum(axis=1) / np.maximum(views_showing, 1), scores.max(axis=1))
    weights = faces.scores.astype(np.float64) ** _WEIGHT_POWER  # in float32 low scores would come near to 0
    boxes = np.zeros((len(best), 4))
    np.add.at(boxes, group, faces.boxes * weights[:, np.newaxis])
    boxes /= np.bincount(group, weights, len(best))[:, np.newaxis]
    merged = Faces(
        boxes.astype(np.float32),
        (scores.max(axis=1) + agreed) / 2,
        None if faces.keypoints is None else faces.keypoints[best],
    )
    return merged.take(np.argsort(-merged.scores, kind="stable"))


def _shown(boxes: FloatArray, view: View) -> BoolMask:
    """Which boxes ``[N, 4]`` lie wholly in a view, of a size to be found, if it should find what it shows."""
    window = view.window
    if window.turns:
        return np.zeros(len(boxes), np.bool_)
    low, high = boxes[:, :2], boxes[:, 2:]
    inside = ((low >= (window.x0, window.y0)) & (high <= (window.x1, window.y1))).all(axis=1)
    sides = (high - low).max(axis=1)
    large_enough = sides >= _MIN_SHOWN * (window.x1 - window.x0) / window.width
    shown: BoolMask = inside & large_enough & window.counts(sides)
    return shown
