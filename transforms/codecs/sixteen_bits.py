"""Colour of 16 bits per channel through OpenCV, since Pillow hands out 8."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.codecs import png, tiff
from faceveil.transforms.codecs.image import ImageInfo, Pixels
from faceveil.transforms.quarantine import Quarantine, Reason

_RGBA = [2, 1, 0, 3]  # OpenCV's order is blue, green, red


def decode(data: bytes, info: ImageInfo) -> Pixels:
    """Decode a PNG or TIFF of mode LA;16, RGB;16, RGBA;16, RGBa;16 or CMYK;16, as it is stored: not turned upright.

    A single transparent colour (PNG's tRNS) becomes an alpha channel.

    Raises:
        Quarantine: CORRUPT_IMAGE.
    """
    if info.format == "tiff" and tiff.has_planes(data):
        values = np.stack([_read(plane) for plane in tiff.planes(data)], axis=-1)
        return Pixels(values, info.mode)
    if info.format == "png":
        data = png.drawn(data)
    values = _read(tiff.as_rgba(data) if info.mode == "CMYK;16" else data)
    values = values[..., [0, 3]] if info.mode == "LA;16" else values[..., _RGBA[: values.shape[2]]]
    if info.mode == "RGB;16" and values.shape[2] == 4:
        return Pixels(values, "RGBA;16")
    return Pixels(values, info.mode)


def _read(data: bytes) -> NDArray[np.uint16]:
    values: NDArray[np.uint16] | None = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if values is None or values.dtype != np.uint16:
        raise Quarantine(Reason.CORRUPT_IMAGE, "the pixels of 16 bits cannot be decoded")
    return values
