"""Anchors: the boxes from which a detector says where faces are, and which of them stands for which face."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from faceveil.training.architectures import Architecture
from faceveil.transforms.arrays import BoolMask, FloatArray
from faceveil.transforms.detectors.nms import iou

_SIDE = 2.5
"""Of a level's smallest anchor, in cells. EfficientDet's is 4, for objects; faces are smaller."""

_SCALES = (1.0, 2**0.5)
_LARGEST = 0.9
"""Of the image's side: the coarsest level's anchors are spread from the next finer one's up to this."""

_RATIOS = (1.0, 1.3)
"""Height over width: annotated faces are mostly between the two."""

ANCHORS_PER_CELL = len(_SCALES) * len(_RATIOS)

_POSITIVE, _NEGATIVE = 0.4, 0.3
"""An anchor stands for a face that it overlaps by the first, for background if it overlaps none by the second. They are
0.1 less than RetinaNet's: small faces between cells overlap no anchor by more (Zhang et al., "S³FD", 2017,
https://arxiv.org/abs/1708.05237, section 3.2)."""

MAX_LOG = math.log(1000 / 16)
"""A face is this many times larger or smaller than its anchor at most, so that no exponential overflows."""

BACKGROUND, IGNORED = 0, -1
"""What an anchor stands for in place of a label, of which the first is 1."""

_PART = 2**22
"""Overlaps that are computed at once: a crowd has a thousand faces."""


def make_anchors(architecture: Architecture) -> FloatArray:
    """All anchors, level by level, row by row: float32 ``[A, 4]``, x0, y0, x1, y1 in pixels of the input.

    Example usage::

        >>> from faceveil.training.architectures import ARCHITECTURES
        >>> make_anchors(ARCHITECTURES["d0"]).shape  # 64² + 32² + 16² + 8² + 4² cells
        (21824, 4)
    """
    sides = {level: [_SIDE * 2**level * scale for scale in _SCALES] for level in architecture.levels}
    finer = sides[architecture.max_level - 1][-1]
    step = (_LARGEST * architecture.size / finer) ** (1 / len(_SCALES))
    sides[architecture.max_level] = [finer * step ** (1 + place) for place in range(len(_SCALES))]
    return np.concatenate([_level_anchors(2**level, architecture.size, sides[level]) for level in architecture.levels])


def _level_anchors(stride: int, size: int, sides: Sequence[float]) -> FloatArray:
    centres = (np.arange(math.ceil(size / stride)) + 0.5) * stride
    half = np.array([(side / ratio**0.5, side * ratio**0.5) for side in sides for ratio in _RATIOS]) / 2
    y, x = np.meshgrid(centres, centres, indexing="ij")
    middle = np.stack([x, y], axis=-1)[:, :, None]
    return np.concatenate([middle - half, middle + half], axis=-1).reshape(-1, 4).astype(np.float32)


def encode_boxes(boxes: FloatArray, anchors: FloatArray) -> FloatArray:
    """Boxes as seen from their anchors, as in Ren et al., "Faster R-CNN", 2015, https://arxiv.org/abs/1506.01497, (2).

    Args:
        boxes: ``[N, 4]``, x0, y0, x1, y1, all with an area.
        anchors: ``[N, 4]``, likewise.

    Returns:
        float32 ``[N, 4]``: the distance of the centres in x and y, in sides of the anchor; the logarithms of width and
        height, in sides of the anchor.

    Example usage::

        >>> encode_boxes(np.array([[2, 0, 6, 4]]), np.array([[0, 0, 4, 4]])).tolist()
        [[0.5, 0.0, 0.0, 0.0]]
    """
    sides, of_anchors = boxes[:, 2:] - boxes[:, :2], anchors[:, 2:] - anchors[:, :2]
    moved = (boxes[:, :2] + boxes[:, 2:] - anchors[:, :2] - anchors[:, 2:]) / (2 * of_anchors)
    grown = np.clip(np.log(sides / of_anchors), -MAX_LOG, MAX_LOG)
    return np.concatenate([moved, grown], axis=1).astype(np.float32)


def decode_boxes(encoded: FloatArray, anchors: FloatArray) -> FloatArray:
    """The inverse of `encode_boxes`: float32 ``[..., N, 4]``, x0, y0, x1, y1."""
    of_anchors = anchors[:, 2:] - anchors[:, :2]
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2 + encoded[..., :2] * of_anchors
    half = np.exp(np.clip(encoded[..., 2:], -MAX_LOG, MAX_LOG)) * (of_anchors / 2)
    return np.concatenate([centres - half, centres + half], axis=-1).astype(np.float32)


def assign(
    boxes: FloatArray, labels: NDArray[np.int64], ignored: BoolMask, anchors: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """What each anchor has to say of an image.

    An anchor stands for the face that it overlaps most, if that is enough. Each face also gets the anchor that overlaps
    it most, since small ones overlap none enough. What lies half in an ignored face counts neither way.

    Args:
        boxes: float32 ``[N, 4]``, x0, y0, x1, y1 in pixels of the input, all with an area.
        labels: ``[N]``, from 1.
        ignored: bool ``[N]``.
        anchors: from `make_anchors`.

    Returns:
        What it stands for, float32 ``[A]``: a label, ``BACKGROUND`` or ``IGNORED``; and the box, as `encode_boxes` has
        it, float32 ``[A, 4]``, zeros where there is none.
    """
    meant = np.full(len(anchors), BACKGROUND, np.float32)
    encoded = np.zeros((len(anchors), 4), np.float32)
    if ignored.any():
        meant[_share_inside(anchors, boxes[ignored]) >= 0.5] = IGNORED
    faces, kinds = boxes[~ignored], labels[~ignored]
    if not len(faces):
        return meant, encoded
    overlap, face, best = _best_overlaps(faces, anchors)
    meant[(overlap >= _NEGATIVE) & (overlap < _POSITIVE)] = IGNORED
    chosen = overlap >= _POSITIVE
    # Of faces with the same best anchor the last gets it: there is no other that would be better than by chance.
    face[best], chosen[best] = np.arange(len(faces)), True
    meant[chosen] = kinds[face[chosen]]
    encoded[chosen] = encode_boxes(faces[face[chosen]], anchors[chosen])
    return meant, encoded


def _best_overlaps(faces: FloatArray, anchors: FloatArray) -> tuple[FloatArray, NDArray[np.intp], NDArray[np.intp]]:
    """For every anchor its best overlap and the face of that, and for every face its best anchor."""
    overlap, face = np.zeros(len(anchors), np.float32), np.zeros(len(anchors), np.intp)
    best, best_overlap = np.zeros(len(faces), np.intp), np.full(len(faces), -1, np.float32)
    step = max(1, _PART // len(faces))
    for start in range(0, len(anchors), step):
        part = iou(anchors[start : start + step], faces)
        face[start : start + step], overlap[start : start + step] = part.argmax(axis=1), part.max(axis=1)
        better = part.max(axis=0) > best_overlap
        best[better] = start + part.argmax(axis=0)[better]
        best_overlap = np.maximum(best_overlap, part.max(axis=0))
    return overlap, face, best


def _share_inside(anchors: FloatArray, boxes: FloatArray) -> FloatArray:
    """The largest share ``[A]`` of each anchor's area that lies in one of the boxes ``[N, 4]``."""
    area = (anchors[:, 2:] - anchors[:, :2]).prod(axis=1)
    largest = np.zeros(len(anchors), np.float32)
    for x0, y0, x1, y1 in boxes:
        low, high = np.maximum(anchors[:, :2], (x0, y0)), np.minimum(anchors[:, 2:], (x1, y1))
        largest = np.maximum(largest, np.clip(high - low, 0, None).prod(axis=1) / area)
    return largest
