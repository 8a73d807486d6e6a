"""Whether two engines see the same in an image: how a conversion that went wrong in silence is noticed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.arrays import RGB, FloatArray
from faceveil.transforms.detectors.candidates import Candidates

_PROBE_SIZES = ((192, 320), (320, 192))
_BEST = 20
"""Candidates of each engine that must have a counterpart among all of the other's."""

_BOX_TOLERANCE = 0.01
"""Of the image's side."""

_LOGIT_TOLERANCE = 0.1
"""Of log(score / (1 - score)), so that scores near 0, as most are where there are no faces, count as much as others."""


def probe_images() -> list[RGB]:
    """Images of coloured squares of many sizes, uint8 ``[H, W, 3]``, one wide and one high: a detector has much to say
    about them, and other things about their parts or when they are resized wrongly."""
    random = np.random.default_rng(0)
    images = []
    for height, width in _PROBE_SIZES:
        layers = [
            random.integers(0, 256, (height // side, width // side, 3)).repeat(side, axis=0).repeat(side, axis=1)
            for side in (2, 16, 64)
        ]
        images.append(np.mean(layers, axis=0).astype(np.uint8))
    return images


def have_counterparts(candidates: Candidates, others: Candidates) -> bool:
    """Whether the best of one engine's candidates are among those of another.

    A counterpart has the same class, a box within 1 % of the image's sides, and a score within 0.1 as a logit. That is
    a thousand times what rounding does in float32; a detector that sees something else differs by more.
    """
    best = np.argsort(-candidates.scores, kind="stable")[:_BEST]
    near = np.abs(_logits(candidates.scores[best])[:, None] - _logits(others.scores)) <= _LOGIT_TOLERANCE
    boxes, other_boxes = (_within_sight(boxes) for boxes in (candidates.boxes[best], others.boxes))
    near &= np.abs(boxes[:, None] - other_boxes).max(axis=2) <= _BOX_TOLERANCE
    if candidates.classes is not None and others.classes is not None:
        near &= candidates.classes[best][:, None] == others.classes
    return bool(near.any(axis=1).all())


def _logits(scores: FloatArray) -> NDArray[np.float64]:
    clipped = np.clip(scores.astype(np.float64), 1e-6, 1 - 1e-6)
    logits: NDArray[np.float64] = np.log(clipped / (1 - clipped))
    return logits


def _within_sight(boxes: FloatArray) -> FloatArray:
    """How far beyond the image a box ends says nothing; nor do numbers that are none, which detection refuses."""
    return np.clip(np.nan_to_num(boxes), -1, 2)
