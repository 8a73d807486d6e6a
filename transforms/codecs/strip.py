"""Which function drops the metadata of which format."""

from __future__ import annotations

from faceveil.transforms.codecs import bmp, gif, isobmff, jpeg_markers, png, tiff, webp
from faceveil.transforms.codecs.image import ImageInfo

_STRIP = {
    "jpeg": jpeg_markers.strip,
    "png": png.strip,
    "webp": webp.strip,
    "bmp": bmp.strip,
    "gif": gif.strip,
    "tiff": tiff.strip,
    "avif": isobmff.strip,
    "heif": isobmff.strip,
}


def strip(data: bytes, info: ImageInfo) -> bytes:
    """The same image with what `strip_metadata` keeps, its compressed data as they are.

    Raises:
        Quarantine: CORRUPT_IMAGE or TRUNCATED when the file's structure cannot be followed to its end.
        Unaccounted: its compressed data hold more than the picture.
    """
    stripped = _STRIP[info.format](data, info.exif)
    return data if stripped == data else stripped
