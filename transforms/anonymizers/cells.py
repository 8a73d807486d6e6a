"""Averaging a face to a few cells: what blur and pixelate have in common."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.anonymizers.masks import face_mask, mask_extent
from faceveil.transforms.anonymizers.paint import paint
from faceveil.transforms.anonymizers.style import Style, Values
from faceveil.transforms.faces import Faces

Edges = NDArray[np.intp]

_SMALLEST_CELL = 4
"""Pixels. A face of 12 px is not recognisable, but cells of 2 px would leave it as it is; so that a cell is
always an average of 16 pixels or more, tiny faces get fewer cells."""


def fill_from_cells(
    values: Values,
    faces: Faces,
    style: Style,
    expand: Callable[[Values, Edges, Edges], Values],
) -> Values:
    """Replace each face by what can be drawn from its cells' averages and nothing else.

    Averages are those of the original, so the order of overlapping faces decides only which fill is on top:
    the best score's, the first.

    Args:
        values: uint8 or uint16 ``[H, W, C]``, upright; not modified.
        faces: the faces in it.
        style: the masks' shape and the cells' size.
        expand: draws ``[h, w, C]`` from averages ``[k, l, C]`` and the edges of their rows and columns.
    """
    filled = values.copy()
    for box in faces.boxes[::-1]:
        rectangle, mask = face_mask(box, style.geometry, *values.shape[:2])
        if not mask.any():
            continue
        extent = mask_extent(box, style.geometry)
        down = _cell_edges(mask.shape[0], extent.bottom - extent.top, style.strength)
        across = _cell_edges(mask.shape[1], extent.right - extent.left, style.strength)
        averages = block_averages(values[rectangle], down, across)
        paint(filled, rectangle, mask, expand(averages, down, across))
    return filled


def block_averages(region: Values, down: Edges, across: Edges) -> Values:
    """The rounded average of every block of pixels: exact, since sums of integers are.

    Args:
        region: uint8 or uint16 ``[h, w, C]``.
        down: the k + 1 edges of the rows of blocks, from 0 to h.
        across: the l + 1 edges of the columns of blocks, from 0 to w.

    Returns:
        ``[k, l, C]`` of the region's type.
    """
    lines = np.ascontiguousarray(region).reshape(len(region), -1)
    # OpenCV adds up rows ten times as fast as NumPy's reduceat; sums below 2**53 are exact in float64.
    blocks = itertools.pairwise(down)
    rows = np.concatenate([cv2.reduce(lines[a:b], 0, cv2.REDUCE_SUM, dtype=cv2.CV_64F) for a, b in blocks])
    sums = np.add.reduceat(rows.reshape(-1, *region.shape[1:]), across[:-1], axis=1).astype(np.uint64)
    areas = (cell_sides(down)[:, np.newaxis] * cell_sides(across)).astype(np.uint64)[..., np.newaxis]
    averages: NDArray[Any] = ((2 * sums + areas) // (2 * areas)).astype(region.dtype)  # halves up
    return averages


def cell_sides(edges: Edges) -> Edges:
    """The length of each cell in pixels."""
    sides: Edges = edges[1:] - edges[:-1]  # np.diff, at a fifth of its overhead: a crowd has hundreds of faces
    return sides


def _cell_edges(visible: int, full: int, strength: float) -> Edges:
    """The edges of the cells along one side, as even as whole pixels allow, from 0 to `visible`.

    Cells are measured by the whole mask: a face half outside the image gets half as many, not finer ones.
    """
    cells = visible / max(full * strength, _SMALLEST_CELL)
    count = max(1, int(cells + 1e-6))  # 35 / (35 * 0.2) is a little less than 5
    return np.arange(count + 1) * visible // count
