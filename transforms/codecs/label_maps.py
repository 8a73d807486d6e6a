"""Pictures whose values are labels or distances, not brightness: painting a face's mask on one makes its labels wrong.

They lie beside photos in many data sets, and now and then a detector takes a blob in one for a face. What they are,
their values tell: even areas, of which neighbouring ones have nothing in common; or 16 bits in which nothing varies as
in a photo.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.arrays import Values
from faceveil.transforms.codecs.image import Pixels

_MAX_LABELS = 256
_SAMPLES = 64
"""Rows and columns that tell a picture of many colours at once."""

_MAX_ROWS = 512
"""Rows, evenly spread, whose pixels are compared with their neighbours."""

_MIN_EVEN, _MIN_EVEN_OF_TWO = 0.75, 0.85
"""Share of pixels beside one of the same value, of those that are not of the most frequent value. Label maps have 0.81
(64 px) to 0.99, photos of 256 colours 0.19 to 0.84, dithered ones of 16 colours up to 0.73, of two up to 0.76."""

_MIN_STEP = 0.42
"""From a value to its neighbour in the picture: how many other values are more alike, as a share, on average. Label
maps have 0.45 to 0.9, photos of 256 to 8 colours 0.02 to 0.35: their areas shade into each other."""

_MIN_TEXTURE = 0.0075
"""Of the square roots of the levels, in which the noise of photos is even: the upper quartile of the second
differences' amounts, as a share of the range. Of 74 photos in 16 bits of grey none has less than 0.008, or 0.009 where
they are linear in light; maps of distances have less than 0.0055, but for those with a noise of a hundredth of their
range."""

_MIN_KNOWN = 0.5  # share of pixels that are not 0, which stands for "not known"


def kind_of_labels(pixels: Pixels) -> str:
    """What a losslessly coded picture holds instead of brightness; empty for a photo.

    Args:
        pixels: as they are stored.
    """
    if pixels.mode == "I;16" and not _has_texture(pixels.values[..., 0]):
        return "16 bits per pixel without the texture of a photo"
    if pixels.values.dtype == np.uint8 and (labels := _labels(pixels.values)):
        return f"even areas of {labels} values"
    return ""


def _has_texture(values: Values) -> bool:
    known = values > 0
    if known.mean() < _MIN_KNOWN:
        return False
    roots = np.sqrt(values, dtype=np.float32)
    low, high = np.percentile(roots[known], (1, 99))
    second = np.abs(cv2.Laplacian(roots, cv2.CV_32F))
    inside = cv2.erode(known.view(np.uint8), np.ones((3, 3), np.uint8)).astype(np.bool_)
    return bool(inside.any() and high > low and np.percentile(second[inside], 75) >= _MIN_TEXTURE * (high - low))


def _labels(values: Values) -> int:
    """How many labels a picture has; 0 if it is a photo."""
    height, width = values.shape[:2]
    sample = values[:: -(-height // _SAMPLES), :: -(-width // _SAMPLES)].reshape(-1, values.shape[2])
    if len(np.unique(sample, axis=0)) > _MAX_LABELS:
        return 0
    codes = _codes(values[:: -(-height // _MAX_ROWS)])
    colours, numbers = np.unique(codes, return_inverse=True)
    if not 1 < len(colours) <= _MAX_LABELS or width < 2:
        return 0
    rows = numbers.reshape(codes.shape)
    left, right = rows[:, :-1].ravel(), rows[:, 1:].ravel()
    beside = np.bincount(left * len(colours) + right, minlength=len(colours) ** 2).reshape(len(colours), len(colours))
    others = np.delete(beside, beside.sum(axis=1).argmax(), axis=0)
    even = (beside.diagonal().sum() - beside.diagonal()[beside.sum(axis=1).argmax()]) / max(others.sum(), 1)
    if len(colours) == 2:
        return 2 if even >= _MIN_EVEN_OF_TWO else 0
    return len(colours) if even >= _MIN_EVEN and _step(colours, beside) >= _MIN_STEP else 0


def _codes(values: Values) -> NDArray[np.uint32]:
    """Each pixel's channels as one number."""
    codes: NDArray[np.uint32] = np.zeros(values.shape[:2], np.uint32)
    for channel in range(values.shape[2]):
        codes = codes << np.uint32(8) | values[..., channel].astype(np.uint32)
    return codes


def _step(colours: NDArray[np.uint32], beside: NDArray[np.int64]) -> float:
    """The mean over neighbours of unlike values of how many others are more alike, as a share."""
    channels = np.stack([colours >> shift & 0xFF for shift in (0, 8, 16, 24)], axis=-1).astype(np.int64)
    distances = ((channels[:, np.newaxis] - channels) ** 2).sum(axis=-1)
    in_order = np.sort(distances, axis=1)
    # Of others that are as much alike, half; less the value itself.
    ranks = [
        np.searchsorted(ordered, row, "left") + np.searchsorted(ordered, row, "right")
        for ordered, row in zip(in_order, distances, strict=True)
    ]
    more_alike = (np.array(ranks) - 1) / 2 - 1
    unlike = beside * ~np.eye(len(colours), dtype=np.bool_)
    return float((unlike * more_alike).sum() / max(unlike.sum(), 1) / (len(colours) - 2))
