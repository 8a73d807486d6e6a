"""Drop an image's metadata and keep its compressed data bit for bit, where they hold the picture and nothing else.

What is kept is listed, what is not listed goes: EXIF (but the orientation), XMP, IPTC, MakerNotes, comments,
thumbnails, second pictures, and whatever stands after the image's end. The lists are with the formats: `strip` in
`jpeg_strip`, `png`, `webp`, `bmp`, `gif`, `tiff` and `isobmff`; `exif` has those of ``--keep_metadata``.

Compressed data that hold more than the picture, such as rows below the last, are not copied: see `accounting`.
"""

from __future__ import annotations

from faceveil.transforms.codecs.accounting import Unaccounted
from faceveil.transforms.codecs.decode import decode_pixels
from faceveil.transforms.codecs.encode import encode_losslessly, encode_pixels
from faceveil.transforms.codecs.image import ImageInfo
from faceveil.transforms.codecs.strip import strip


def strip_metadata(data: bytes, info: ImageInfo, *, faultless: bool = False) -> bytes:
    """The same image with no metadata but ICC profile, density, colour description, orientation and `info.exif`.

    Where its compressed data are not wholly accounted for, the image is encoded again from its pixels, which stay.

    Args:
        data: the image.
        info: its header's facts.
        faultless: of a JPEG: whether libjpeg is known to decode it without a complaint; else that is tried.

    Returns:
        `data` itself when nothing has to go.

    Raises:
        Quarantine: CORRUPT_IMAGE or TRUNCATED when the file's structure cannot be followed to its end, or its data
            are not accounted for and its pixels cannot be written without loss.
    """
    if info.source:
        return encode_pixels(decode_pixels(data, info), data, info)
    try:
        return strip(data, info, faultless=faultless)
    except Unaccounted as error:
        return encode_losslessly(decode_pixels(data, info), data, info, str(error))
