"""The types of arrays that are handed around."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
"""Boxes, scores, keypoints, and pixels on their way through a network."""

Values = NDArray[np.uint8] | NDArray[np.uint16]
"""``[H, W, C]``, an image's pixels in the depth in which they are stored."""

RGB = NDArray[np.uint8]
"""``[H, W, 3]`` or ``[N, H, W, 3]``, pixels as a detector is shown them."""

BoolMask = NDArray[np.bool_]
"""``[H, W]`` of an image's pixels, or ``[N]`` of faces: those that are chosen."""

Affine = NDArray[np.float64]
"""``[2, 3]``, maps x, y, 1 to x, y."""
