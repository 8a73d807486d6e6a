"""Putting a fill where a mask is: the one place where pixels are overwritten."""

from __future__ import annotations

import cv2
import numpy as np

from faceveil.transforms.anonymizers.masks import Rectangle
from faceveil.transforms.arrays import BoolMask, Values


def paint(values: Values, rectangle: Rectangle, mask: BoolMask, fill: Values | tuple[int, ...]) -> None:
    """Overwrite the masked pixels of a rectangle, in place.

    Args:
        values: ``[H, W, C]``, C-contiguous, with at most 4 channels.
        rectangle: rows and columns, within the image.
        mask: ``[h, w]`` of the rectangle.
        fill: ``[h, w, C]`` of the type of `values`, or one value for each channel.

    Raises:
        ValueError: when `values` is not contiguous: OpenCV would paint on a copy.
    """
    if not values.flags.c_contiguous:
        raise ValueError("values must be C-contiguous to be painted on")
    if not mask.any():
        return
    region = values[rectangle]
    if isinstance(fill, tuple):
        fill = np.full_like(region, fill)
    cv2.copyTo(np.ascontiguousarray(fill), mask.view(np.uint8), region)  # 70 times as fast as NumPy's copyto
