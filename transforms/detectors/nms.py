"""Non-maximum suppression: of boxes that overlap, the best stays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.arrays import FloatArray


def nms(boxes: FloatArray, scores: FloatArray, iou_threshold: float) -> NDArray[np.intp]:
    """Greedy suppression: from the best score down, a box goes if it overlaps one that was kept.

    Args:
        boxes: float32 ``[N, 4]``: x0, y0, x1, y1 or y0, x0, y1, x1.
        scores: float32 ``[N]``.
        iou_threshold: a box goes if its intersection over union with a better one is at least this.

    Returns:
        The indices of the boxes kept, best score first; of equal scores the lower index.

    Example usage::

        >>> boxes = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [20, 0, 30, 10]], np.float32)
        >>> nms(boxes, np.array([0.8, 0.9, 0.5], np.float32), 0.3)
        array([1, 2])
    """
    return group_overlaps(boxes, scores, iou_threshold)[0]


def group_overlaps(
    boxes: FloatArray, scores: FloatArray, iou_threshold: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Greedy suppression that tells which box suppressed which; arguments as for ``nms``.

    Returns:
        The indices of the boxes kept, as from ``nms``, and for each box ``[N]`` the place among them of the one that
        stands for it: itself, or the best that it overlaps.
    """
    rest = np.argsort(-scores, kind="stable")
    group = np.zeros(len(boxes), np.intp)
    kept: list[np.intp] = []
    while rest.size:
        best = rest[0]
        overlaps = iou(boxes[best][None], boxes[rest])[0] >= iou_threshold
        overlaps[0] = True  # itself, even without an area
        group[rest[overlaps]] = len(kept)
        kept.append(best)
        rest = rest[~overlaps]
    return np.array(kept, np.intp), group


def iou(a: FloatArray, b: FloatArray) -> FloatArray:
    """Intersection over union of every box of ``a`` ``[N, 4]`` with every box of ``b`` ``[M, 4]``.

    Returns:
        float32 ``[N, M]``, 0 to 1; 0 between two boxes without area.

    Example usage::

        >>> iou(np.array([[0, 0, 2, 2]], np.float32), np.array([[0, 0, 1, 2], [5, 5, 6, 6]], np.float32))
        array([[0.5, 0. ]], dtype=float32)
    """
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    intersection = np.clip(high - low, 0, None).prod(axis=2)
    union = _area(a)[:, None] + _area(b)[None] - intersection
    ratio: FloatArray = np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
    return ratio


def _area(boxes: FloatArray) -> FloatArray:
    area: FloatArray = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return area
