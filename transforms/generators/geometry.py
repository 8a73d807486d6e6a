"""Where a generator's crop lies in the image: geometry only, no pixels."""

from __future__ import annotations

import math

import numpy as np

from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.anonymizers.masks import scale_box
from faceveil.transforms.arrays import Affine, FloatArray

_SIDES = 1.75
"""The crop's side in long sides of the face's box."""

_ROOM = 1.08
"""How much larger than the mask the crop is at least."""


def crop_affine(box: FloatArray, tilt: float, geometry: MaskGeometry, size: int) -> Affine:
    """The square around a face that a generator is shown: centred on its box, turned by its tilt.

    Args:
        box: x0, y0, x1, y1 in pixels of the upright image.
        tilt: of the line from the left to the right eye, in radians, clockwise as seen.
        geometry: the mask's shape; the crop holds all of it.
        size: of the crop's side, in pixels.
    """
    x, y, half_width, half_height = scale_box(box, geometry.margin)
    if geometry.shape == "ellipse":
        reach = math.sqrt(2) * max(half_width, half_height)
    else:
        reach = math.hypot(half_width, half_height)
    long_side = 2 * max(half_width, half_height) / (1 + geometry.margin)
    side = max(_SIDES * long_side, _ROOM * 2 * reach, 1.0)
    scale = size / side
    cos, sin = scale * math.cos(tilt), scale * math.sin(tilt)
    middle = size / 2
    return np.array([[cos, sin, middle - cos * x - sin * y], [-sin, cos, middle + sin * x - cos * y]])
