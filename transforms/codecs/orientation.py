"""EXIF's orientation tag: views of stored pixels as they are meant to be seen, and back."""

from __future__ import annotations

import struct
from typing import TypeVar

import numpy as np

from faceveil.transforms.arrays import FloatArray
from faceveil.transforms.faces import Faces

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
    return upright(values, _inverse(orientation))


def stored_boxes(boxes: FloatArray, orientation: int) -> FloatArray:
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


def reoriented(faces: Faces, shown: int, wanted: int, width: int, height: int) -> Faces:
    """Faces that were found in an image turned by one orientation, in pixels of the image turned by another.

    Args:
        faces: in pixels of the image as it was shown.
        shown: 1 to 8, by which it was turned.
        wanted: 1 to 8.
        width: of the stored image, in pixels.
        height: of the stored image, in pixels.

    Example usage::

        >>> upper_left = Faces(np.array([[0, 0, 16, 8]], np.float32), np.ones(1, np.float32))
        >>> reoriented(upper_left, shown=6, wanted=1, width=128, height=64).boxes.tolist()  # it was turned clockwise
        [[0.0, 48.0, 8.0, 64.0]]
    """
    if shown == wanted or not len(faces):
        return faces
    sides = np.array([width, height], np.float32)
    before = sides[::-1] if swaps_sides(shown) else sides
    after = sides[::-1] if swaps_sides(wanted) else sides
    shares = stored_boxes(faces.boxes / np.concatenate([before, before]), shown)
    boxes = stored_boxes(shares, _inverse(wanted)) * np.concatenate([after, after])
    if faces.keypoints is None:
        return Faces(boxes, faces.scores)
    points = _stored_points(_stored_points(faces.keypoints / before, shown), _inverse(wanted)) * after
    if (shown in _MIRRORED) != (wanted in _MIRRORED) and points.shape[1] >= 2:
        points = points[:, [1, 0, *range(2, points.shape[1])]]  # the eyes, named by the side they are on
    return Faces(boxes, faces.scores, points)


def _stored_points(points: FloatArray, orientation: int) -> FloatArray:
    """Points x, y ``[..., 2]`` of the upright image in the stored one, as shares of their sides."""
    x, y = points[..., 0], points[..., 1]
    flip_rows, flip_columns = _FLIPS[orientation]
    x, y = 1 - x if flip_columns else x, 1 - y if flip_rows else y
    return np.stack((y, x) if swaps_sides(orientation) else (x, y), axis=-1)


def _inverse(orientation: int) -> int:
    """Only a quarter turn is not its own inverse; 6 and 8 are each other's."""
    return {6: 8, 8: 6}.get(orientation, orientation)


def orientation_exif(orientation: int) -> bytes:
    """The smallest EXIF that holds the orientation: a TIFF header and one entry, no ``Exif\\0\\0`` before it.

    Example usage::

        >>> len(orientation_exif(6))
        26
    """
    header = struct.pack("<2sHI", b"II", 42, 8)
    entry = struct.pack("<HHHIHH", 1, 0x0112, 3, 1, orientation, 0)  # count, tag, type SHORT, number, value
    return header + entry + struct.pack("<I", 0)


_MIRRORED = {2, 4, 5, 7}

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
