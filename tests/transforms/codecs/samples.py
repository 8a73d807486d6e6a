"""Images made for the codecs' tests."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageFilter

ICC = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><dc:creator>somebody</dc:creator></x:xmpmeta>'
GPS_IFD, THUMBNAIL_SECRET = 0x8825, b"THUMBNAIL OF A FACE"


def picture(mode: str = "RGB", width: int = 97, height: int = 61, seed: int = 0) -> Image.Image:
    """A smooth picture with structure in every channel, with odd sides by default."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 4), np.uint8)
    image = Image.fromarray(noise, "RGBA").filter(ImageFilter.GaussianBlur(4))
    if mode == "CMYK":
        return Image.merge("CMYK", image.split())
    return image if mode == "RGBA" else image.convert("RGB").convert(mode)


def exif(orientation: int = 1) -> bytes:
    """EXIF as a camera writes it: maker, GPS position, orientation."""
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010F] = "Secret Camera Maker"
    tags[0x9003] = "2024:05:06 07:08:09"
    tags.get_ifd(GPS_IFD)[2] = (52.0, 31.0, 12.0)
    return tags.tobytes() + THUMBNAIL_SECRET


def encode(image: Image.Image, image_format: str, **options: Any) -> bytes:
    """The image in a format, with Pillow."""
    output = io.BytesIO()
    image.save(output, image_format, **options)
    return output.getvalue()


def pillow(data: bytes, mode: str | None = None) -> np.ndarray:
    """What Pillow decodes."""
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image if mode is None else image.convert(mode))


def opencv(data: bytes, flags: int = cv2.IMREAD_UNCHANGED) -> np.ndarray:
    """What OpenCV decodes."""
    values = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    assert values is not None
    return np.asarray(values)
