"""EXIF's orientation tag: views of stored pixels as they are meant to be seen, and back."""

from __future__ import annotations

import struct
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Array = TypeVar("Array", bound=np.ndarray)


def swaps_sides(orientation: int) -> bool:
    """Whether the upright image is as wide as the stored one is high."""
    return orientation >= 5


def upright(values: Array, orientation: int) -> Array:
    """Stored pixels as they are meant to be seen, as a view: painting on it paints the stored pixels.

    Args:
        values: ``[H, W, ...]``, stored.
        orientation: 1 to 8, as in Exif 2.32 (CIPA DC-008), table 4, tag 0x0112.

    Example usage::

        >>> upright(np.array([[1, 2], [3, 4]]), 6).tolist()  # turned clockwise
        [[3, 1], [4, 2]]
    """
    if swaps_sides(orientation):
        values = values.swapaxes(0, 1)
    flip_rows, flip_columns = _FLIPS[orientation]
    return values[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]  # type: ignore[return-value]


def stored(values: Array, orientation: int) -> Array:
    """The inverse of `upright`, as a view too.

    Example usage::

        >>> stored(np.array([[3, 1], [4, 2]]), 6).tolist()
        [[1, 2], [3, 4]]
    """
    # Only a quarter turn is not its own inverse; 6 and 8 are each other's.
    return upright(values, {6: 8, 8: 6}.get(orientation, orientation))


def stored_boxes(boxes: NDArray[np.float32], orientation: int) -> NDArray[np.float32]:
    """Boxes of the upright image in the stored one.

    Args:
        boxes: ``[N, 4]``, x0, y0, x1, y1 as shares of the upright image's sides.
        orientation: 1 to 8.

    Returns:
        ``[N, 4]``, x0, y0, x1, y1 as shares of the stored image's sides.

    Example usage::

        >>> lower_left = np.array([[0, 0.75, 0.5, 1]], np.float32)
        >>> stored_boxes(lower_left, 6).tolist()
        [[0.75, 0.5, 1.0, 1.0]]
    """
    x0, y0, x1, y1 = boxes.T
    flip_rows, flip_columns = _FLIPS[orientation]
    if flip_rows:
        y0, y1 = 1 - y1, 1 - y0
    if flip_columns:
        x0, x1 = 1 - x1, 1 - x0
    sides = (y0, x0, y1, x1) if swaps_sides(orientation) else (x0, y0, x1, y1)
    return np.stack(sides, axis=1)


def orientation_exif(orientation: int) -> bytes:
    """The smallest EXIF that holds the orientation: a TIFF header and one entry, no ``Exif\\0\\0`` before it.

    Example usage::

        >>> len(orientation_exif(6))
        26
    """
    header = struct.pack("<2sHI", b"II", 42, 8)
    entry = struct.pack("<HHHIHH", 1, 0x0112, 3, 1, orientation, 0)  # count, tag, type SHORT, number, value
    return header + entry + struct.pack("<I", 0)


# Orientation -> whether rows, then columns, are flipped, once the sides are swapped where they are.
_FLIPS = {
    1: (False, False),
    2: (False, True),
    3: (True, True),
    4: (True, False),
    5: (False, False),
    6: (False, True),
    7: (True, True),
    8: (True, False),
}
