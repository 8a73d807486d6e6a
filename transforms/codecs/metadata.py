"""Drop an image's metadata and keep its compressed data bit for bit.

What is kept is listed, what is not listed goes: EXIF (but the orientation), XMP, IPTC, MakerNotes, comments,
thumbnails, second pictures, and whatever stands after the image's end. The lists are with the formats: `strip` in
`jpeg_strip`, `png`, `webp`, `bmp`, `gif`, `tiff` and `isobmff`; `exif` has those of ``--keep_metadata``.
"""

from __future__ import annotations

from faceveil.transforms.codecs import bmp, gif, isobmff, jpeg_strip, png, tiff, webp
from faceveil.transforms.codecs.image import ImageInfo

_STRIP = {
    "png": png.strip,
    "webp": webp.strip,
    "bmp": bmp.strip,
    "gif": gif.strip,
    "tiff": tiff.strip,
    "avif": isobmff.strip,
    "heif": isobmff.strip,
}


def strip_metadata(data: bytes, info: ImageInfo, *, faultless: bool = False) -> bytes:
    """The same image with no metadata but ICC profile, density, colour description, orientation and `info.exif`.

    Args:
        data: the image.
        info: its header's facts.
        faultless: of a JPEG: whether libjpeg is known to decode it without a complaint; else that is tried.

    Returns:
        `data` itself when nothing has to go.

    Raises:
        Quarantine: CORRUPT_IMAGE or TRUNCATED when the file's structure cannot be followed to its end.
    """
    if info.format == "jpeg":
        stripped = jpeg_strip.strip(data, info.exif, faultless=faultless)
    else:
        stripped = _STRIP[info.format](data, info.exif)
    return data if stripped == data else stripped
