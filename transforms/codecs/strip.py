"""Which function drops the metadata of which format."""

from __future__ import annotations

from faceveil.transforms.codecs import bmp, gif, isobmff, jpeg_strip, netpbm, png, tiff, webp
from faceveil.transforms.codecs.image import ImageInfo

_STRIP = {
    "png": png.strip,
    "webp": webp.strip,
    "bmp": bmp.strip,
    "netpbm": netpbm.strip,
    "gif": gif.strip,
    "tiff": tiff.strip,
    "avif": isobmff.strip,
    "heif": isobmff.strip,
}


def strip(data: bytes, info: ImageInfo, *, faultless: bool = False) -> bytes:
    """The same image with what `strip_metadata` keeps, its compressed data as they are.

    Args:
        data: the image.
        info: its header's facts.
        faultless: of a JPEG: whether libjpeg is known to decode it without a complaint; else that is tried.

    Raises:
        Quarantine: CORRUPT_IMAGE or TRUNCATED when the file's structure cannot be followed to its end.
        Unaccounted: its compressed data hold more than the picture.
    """
    if info.format == "jpeg":
        stripped = jpeg_strip.strip(data, info.exif, faultless=faultless)
    else:
        stripped = _STRIP[info.format](data, info.exif)
    return data if stripped == data else stripped
