"""Where a face is masked: geometry only, no pixels of the image."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.arrays import BoolMask, FloatArray
from faceveil.transforms.faces import Faces

Rectangle = tuple[slice, slice]

_ROUNDING = 1e-9
"""Relative slack, so that rounding never leaves out a pixel that the mask just touches."""


class Extent(NamedTuple):
    """A mask's bounding rectangle in whole pixels, before it is clipped to the image; ends exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    def clip(self, height: int, width: int) -> Rectangle:
        """The rows and columns of it that lie in the image; empty slices where none do."""
        return (
            slice(min(max(self.top, 0), height), min(max(self.bottom, 0), height)),
            slice(min(max(self.left, 0), width), min(max(self.right, 0), width)),
        )


def scale_box(box: FloatArray, margin: float) -> tuple[float, float, float, float]:
    """Scale a box about its centre by ``1 + margin``.

    Args:
        box: x0, y0, x1, y1 in pixels.
        margin: 0 or more.

    Returns:
        centre x, centre y, half the width, half the height, in pixels.

    Raises:
        ValueError: when the box is not finite or ends before it begins. A detector that returns such boxes
            has failed, and a mask must not guess.
    """
    x0, y0, x1, y1 = (float(side) for side in box)
    if not (math.isfinite(x0 + y0 + x1 + y1) and x0 <= x1 and y0 <= y1):
        raise ValueError(f"no proper box: x0 = {x0}, y0 = {y0}, x1 = {x1}, y1 = {y1}")
    scale = (1 + margin) / 2
    return (x0 + x1) / 2, (y0 + y1) / 2, (x1 - x0) * scale, (y1 - y0) * scale


def mask_extent(box: FloatArray, geometry: MaskGeometry) -> Extent:
    """The bounding rectangle of a face's mask, which may reach beyond the image.

    Args:
        box: x0, y0, x1, y1 in pixels of the upright image.
        geometry: the mask's shape.
    """
    x, y, half_width, half_height = scale_box(box, geometry.margin)
    stretch = math.sqrt(2) if geometry.shape == "ellipse" else 1.0
    end = y + half_height * stretch if geometry.coverage == 1 else _cut(y, half_height, geometry.coverage)
    left, top = math.floor(x - half_width * stretch), math.floor(y - half_height * stretch)
    # At least one pixel: a box without area that lies on a pixel's edge still marks a face.
    return Extent(left, top, max(math.ceil(x + half_width * stretch), left + 1), max(math.ceil(end), top + 1))


def face_mask(box: FloatArray, geometry: MaskGeometry, height: int, width: int) -> tuple[Rectangle, BoolMask]:
    """The pixels to mask for one face: every pixel that the scaled and cut box touches, and maybe more.

    The ellipse goes through the corners of the scaled box (its half-axes are the box's half-sides times √2),
    so it covers the box whole; where `coverage` is below 1 it ends at the same line as the box. Its edge is
    hard, since a soft one can be inverted.

    Args:
        box: x0, y0, x1, y1 in pixels of the upright image; may reach beyond it.
        geometry: the mask's shape.
        height: of the image.
        width: of the image.

    Returns:
        The rows and columns of the mask's rectangle, clipped to the image (empty where it lies outside), and
        bool ``[h, w]``, which of its pixels are masked.

    Raises:
        ValueError: when the box is not finite or ends before it begins.

    Example usage::

        >>> box = np.array([1, 1, 3, 3], np.float32)
        >>> rectangle, mask = face_mask(box, MaskGeometry(margin=0, shape="box"), height=4, width=4)
        >>> rectangle, mask.shape
        ((slice(1, 3, None), slice(1, 3, None)), (2, 2))
    """
    rows, columns = rectangle = mask_extent(box, geometry).clip(height, width)
    if geometry.shape == "box":
        return rectangle, np.ones((rows.stop - rows.start, columns.stop - columns.start), np.bool_)
    x, y, half_width, half_height = scale_box(box, geometry.margin)
    across = _squared_distances(columns, x, half_width)
    down = _squared_distances(rows, y, half_height)
    # With half-axes √2 times the half-sides, the ellipse is u² + v² = 2 in units of the half-sides.
    return rectangle, down[:, np.newaxis] + across <= 2 + _ROUNDING


def face_masks(faces: Faces, geometry: MaskGeometry, height: int, width: int) -> Iterator[tuple[Rectangle, BoolMask]]:
    """The masks of all faces of an image, each as `face_mask` returns it."""
    return (face_mask(box, geometry, height, width) for box in faces.boxes)


def _cut(y: float, half_height: float, coverage: float) -> float:
    return y - half_height + 2 * half_height * coverage


def _squared_distances(pixels: slice, centre: float, half_side: float) -> NDArray[np.float64]:
    """How far each pixel's nearest point is from the centre, in half-sides, squared."""
    starts = np.arange(pixels.start, pixels.stop, dtype=np.float64)
    nearest = np.maximum(np.maximum(starts - centre, centre - starts - 1), 0)
    squared: NDArray[np.float64] = (nearest / max(half_side, _ROUNDING)) ** 2
    return squared
