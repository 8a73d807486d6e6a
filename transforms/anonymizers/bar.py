"""Bar: a black bar over the eyes."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.anonymizers.masks import Extent, Rectangle, face_mask, scale_box
from faceveil.transforms.anonymizers.paint import paint
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.arrays import BoolMask, FloatArray, Values
from faceveil.transforms.faces import Faces

_HALF_THICKNESS = 0.2
"""Of the face's extent across the eye line. Brows lie about 0.1 above the eyes, raised ones 0.15; the bar
reaches as far below as above, so that it holds for faces upside down too, whose eyes a detector may name
either way round."""

_UPPER_SHARE = 0.6
"""Of the box's height: without eyes to go by, all above the nose's tip. Eyes lie at 0.3 to 0.5."""

_EYE_DISTANCES = 0.1, 0.8
"""Of the square root of the box's area. Frontal faces have about 0.45; closer than the least, a profile's,
the direction of the eye line is noise; further than the most, the points are not this face's eyes."""


def bar(values: Values, faces: Faces, style: Style, black: tuple[int, ...]) -> Values:
    """Paint a black bar over both eyes and brows, turned with the line through the eyes.

    The bar is as long as the box scaled by the style's margin is along the eye line. Without keypoints, or
    with implausible ones (not finite, outside the scaled box, too close together or too far apart), the upper
    0.6 of the scaled box is painted. The style's coverage and shape do not apply.

    Args:
        values: uint8 or uint16 ``[H, W, C]``, upright; not modified.
        faces: the faces in it; the first two keypoints of each are the eyes.
        style: its margin is used.
        black: the value of each channel, C of them.

    Returns:
        A new array like `values`.
    """
    filled = values.copy()
    for rectangle, mask in bar_masks(faces, style.geometry, *values.shape[:2]):
        paint(filled, rectangle, mask, black)
    return filled


def bar_masks(faces: Faces, geometry: MaskGeometry, height: int, width: int) -> Iterator[tuple[Rectangle, BoolMask]]:
    """The bars of all faces of an image, each as `bar_mask` returns it; of the geometry, the margin is used."""
    for index, box in enumerate(faces.boxes):
        eyes = None if faces.keypoints is None else faces.keypoints[index, :2].astype(np.float64)
        yield bar_mask(box, eyes, geometry.margin, height, width)


def bar_mask(
    box: FloatArray, eyes: NDArray[np.float64] | None, margin: float, height: int, width: int
) -> tuple[Rectangle, BoolMask]:
    """The pixels of one face's bar, as `face_mask` returns them.

    Args:
        box: x0, y0, x1, y1 in pixels of the upright image.
        eyes: float64 ``[2, 2]``, x, y of either eye; or None.
        margin: by which the box is enlarged.
        height: of the image.
        width: of the image.
    """
    x, y, half_width, half_height = scale_box(box, margin)
    if eyes is None or not _plausible(eyes, x, y, half_width, half_height):
        return face_mask(box, MaskGeometry(coverage=_UPPER_SHARE, margin=margin, shape="box"), height, width)
    along_x, along_y = (eyes[1] - eyes[0]) / math.dist(*eyes)
    # Half the box's extent along the eye line and across it; every pixel that the bar touches belongs to it,
    # so it is widened by half a pixel's extent in that direction.
    pixel = (abs(along_x) + abs(along_y)) / 2
    half_length = abs(along_x) * half_width + abs(along_y) * half_height + pixel
    half_thickness = 2 * _HALF_THICKNESS * (abs(along_y) * half_width + abs(along_x) * half_height) + pixel

    # The bar's centre: on the eye line, where the box's centre projects to it.
    eye_x, eye_y = eyes.mean(axis=0)
    along = (x - eye_x) * along_x + (y - eye_y) * along_y
    x, y = eye_x + along * along_x, eye_y + along * along_y

    reach_x = abs(along_x) * half_length + abs(along_y) * half_thickness
    reach_y = abs(along_y) * half_length + abs(along_x) * half_thickness
    extent = Extent(math.floor(x - reach_x), math.floor(y - reach_y), math.ceil(x + reach_x), math.ceil(y + reach_y))
    rows, columns = rectangle = extent.clip(height, width)
    right = np.arange(columns.start, columns.stop) + (0.5 - x)
    down = (np.arange(rows.start, rows.stop) + (0.5 - y))[:, np.newaxis]
    inside_length = np.abs(right * along_x + down * along_y) <= half_length
    inside_thickness = np.abs(down * along_x - right * along_y) <= half_thickness
    return rectangle, inside_length & inside_thickness


def _plausible(eyes: NDArray[np.float64], x: float, y: float, half_width: float, half_height: float) -> bool:
    if len(eyes) < 2 or not np.isfinite(eyes).all():
        return False
    inside = (np.abs(eyes - (x, y)) <= (half_width, half_height)).all()
    least, most = (share * 2 * math.sqrt(half_width * half_height) for share in _EYE_DISTANCES)
    return bool(inside and least <= math.dist(*eyes) <= most and math.dist(*eyes) > 0)
