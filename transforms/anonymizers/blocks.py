"""Sums and averages of blocks of pixels, in whole numbers."""

from __future__ import annotations

import itertools
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.arrays import Values

Edges = NDArray[np.intp]


def block_sums(region: Values, down: Edges, across: Edges) -> NDArray[np.int64]:
    """The sum of every block of pixels.

    Args:
        region: uint8 or uint16 ``[h, w, C]``.
        down: the k + 1 edges of the rows of blocks, from 0 to h.
        across: the l + 1 edges of the columns of blocks, from 0 to w.

    Returns:
        ``[k, l, C]``.
    """
    lines = np.ascontiguousarray(region).reshape(len(region), -1)
    # OpenCV adds up rows ten times as fast as NumPy's reduceat; sums below 2**53 are exact in float64.
    blocks = itertools.pairwise(down)
    rows = np.concatenate([cv2.reduce(lines[a:b], 0, cv2.REDUCE_SUM, dtype=cv2.CV_64F) for a, b in blocks])
    sums: NDArray[Any] = np.add.reduceat(rows.reshape(-1, *region.shape[1:]), across[:-1], axis=1)
    return sums.astype(np.int64)


def block_averages(region: Values, down: Edges, across: Edges) -> Values:
    """The rounded average of every block of pixels, as `block_sums` takes them: exact, since sums of integers are.

    Returns:
        ``[k, l, C]`` of the region's type.
    """
    areas = (cell_sides(down)[:, np.newaxis] * cell_sides(across))[..., np.newaxis]
    averages: NDArray[Any] = rounded_quotient(block_sums(region, down, across), areas).astype(region.dtype)
    return averages


def rounded_quotient(numbers: NDArray[np.int64], divisors: NDArray[np.int64]) -> NDArray[np.int64]:
    """Whole numbers divided by such above 0, halves rounded up."""
    quotient: NDArray[np.int64] = (2 * numbers + divisors) // (2 * divisors)
    return quotient


def cell_sides(edges: Edges) -> Edges:
    """The length of each cell in pixels."""
    sides: Edges = edges[1:] - edges[:-1]  # np.diff, at a fifth of its overhead: a crowd has hundreds of faces
    return sides
