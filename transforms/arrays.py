"""The types of arrays that are handed around, and a check of those that come from outside."""

from __future__ import annotations

from typing import Any

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


def check_rgb(image: NDArray[Any]) -> None:
    """Refuses an array that is no picture for a detector.

    Raises:
        ValueError: it is not uint8 ``[H, W, 3]``, or has no pixels; says how to make it so.

    Example usage::

        >>> check_rgb(np.zeros((4, 6), np.uint8))
        Traceback (most recent call last):
        ValueError: an image is uint8 of shape (height, width, 3), not uint8 of (4, 6); \
np.stack([image] * 3, axis=-1) makes RGB of grey
    """
    if image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size:
        return
    advice = ""
    if image.dtype != np.uint8:
        advice = "; scale its values to 0 to 255, then take .astype(np.uint8)"
    elif image.ndim == 2:
        advice = "; np.stack([image] * 3, axis=-1) makes RGB of grey"
    elif image.ndim == 3 and image.shape[2] == 4:
        advice = "; image[..., :3] leaves alpha out"
    raise ValueError(f"an image is uint8 of shape (height, width, 3), not {image.dtype} of {image.shape}{advice}")
