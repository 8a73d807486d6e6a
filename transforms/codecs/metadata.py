"""Drop an image's metadata and keep its compressed data bit for bit.

What is kept is listed, what is not listed goes: EXIF (but the orientation), XMP, IPTC, MakerNotes, comments,
thumbnails, second pictures, and whatever stands after the image's end. The lists are with the formats: `strip` in
`jpeg_markers`, `png`, `webp`, `bmp`, `gif`, `tiff` and `isobmff`; `exif` has those of ``--keep_metadata``.
"""

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


def strip_metadata(data: bytes, info: ImageInfo) -> bytes:
    """The same image with no metadata but ICC profile, density, colour description, orientation and `info.exif`.

    Returns:
        `data` itself when nothing has to go.

    Raises:
        Quarantine: CORRUPT_IMAGE or TRUNCATED when the file's structure cannot be followed to its end.
    """
    stripped = _STRIP[info.format](data, info.exif)
    return data if stripped == data else stripped
