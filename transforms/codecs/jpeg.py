"""JPEG pixels through libjpeg-turbo: whole, reduced, and encoded again with the original's own tables."""

from __future__ import annotations

import io

import simplejpeg
from PIL import Image, JpegImagePlugin

from faceveil.transforms.arrays import Values
from faceveil.transforms.codecs.image import ImageInfo
from faceveil.transforms.codecs.jpeg_markers import segments, with_end
from faceveil.transforms.codecs.jpeg_stream import follow
from faceveil.transforms.codecs.orientation import orientation_exif
from faceveil.transforms.quarantine import Quarantine

_SUBSAMPLING_444 = 0  # Pillow's number for it
_RESTART_INTERVAL = b"\xff\xdd\0\4"


def shrink_factor(info: ImageInfo, long_side: int) -> int:
    """The largest of 8, 4, 2 and 1 that leaves the longer side at least `long_side` pixels (or as it is).

    Example usage::

        >>> shrink_factor(ImageInfo("jpeg", 4000, 3000, 1, "RGB"), long_side=1024)
        2
    """
    longest = max(info.width, info.height)
    return next((factor for factor in (8, 4, 2) if -(-longest // factor) >= long_side), 1)


def decode(data: bytes, info: ImageInfo, shrink: int = 1) -> Values | None:
    """Decode a JPEG bit for bit as Pillow does, but twice as fast.

    Args:
        data: the JPEG.
        info: its header's facts.
        shrink: 1, 2, 4 or 8: decode at this fraction of the size, sides rounded up.

    Returns:
        uint8 ``[ceil(H / shrink), ceil(W / shrink), C]``, C = 3, 1 or 4; or None when libjpeg has anything to
        complain about: truncation, bytes that it did not need, but also harmless faults. Pillow tells these apart.
        That its end marker is missing does not count where all of its scans are there.
    """
    values = _decode(data, info, shrink)
    if values is None and (ended := with_missing_end(data)) is not None:
        values = _decode(ended, info, shrink)
    return values


def with_missing_end(data: bytes) -> bytes | None:
    """The JPEG with its end marker, if that alone may be missing, as decoding will tell; None otherwise."""
    try:
        ended = with_end(data)
        if ended is data:
            return None
        stream = follow(ended)
    except Quarantine:
        return None
    return ended if stream and stream.is_complete else None


def _decode(data: bytes, info: ImageInfo, shrink: int) -> Values | None:
    try:
        values: Values = simplejpeg.decode_jpeg(
            _with_last_word(data) if _RESTART_INTERVAL in data else data,
            colorspace="GRAY" if info.mode == "L" else info.mode,
            min_height=-(-info.height // shrink),
            min_width=-(-info.width // shrink),
            strict=True,
        )
    except (ValueError, Quarantine):
        return None
    return 255 - values if info.mode == "CMYK" else values  # Pillow takes all CMYK for Adobe's, stored inverted


def _with_last_word(data: bytes) -> bytes:
    """The JPEG with an empty comment before its end marker.

    Of bytes between a restart interval's data and its marker libjpeg keeps count, but it complains of them only when it
    looks for another marker: if it has come upon all of them while it read ahead, never, unless one more follows.
    """
    *_, (_, end, _) = segments(data)
    return data[:end] + b"\xff\xfe\0\2" + data[end:]


def encode(image: Image.Image, original: JpegImagePlugin.JpegImageFile, orientation: int, **common: object) -> bytes:
    """Encode with the original's quantisation tables, subsampling, colour space and progression.

    Subsampling that Pillow cannot write (4:1:1, 4:4:0) becomes 4:4:4, which loses nothing.

    Args:
        image: the pixels, in the original's mode.
        original: the original, its header read.
        orientation: written as the only EXIF tag, unless it is 1.
        common: Pillow's options for the ICC profile and density.
    """
    sampling = JpegImagePlugin.get_sampling(original)
    output = io.BytesIO()
    image.save(
        output,
        "JPEG",
        qtables=_tables(original),
        subsampling=_SUBSAMPLING_444 if sampling == -1 and image.mode == "RGB" else sampling,
        progressive="progressive" in original.info,
        keep_rgb=_is_stored_as_rgb(original),
        exif=b"Exif\0\0" + orientation_exif(orientation) if orientation != 1 else b"",
        **common,
    )
    return output.getvalue()


def _tables(original: JpegImagePlugin.JpegImageFile) -> list[list[int]]:
    """One quantisation table per component, less repeats at the end.

    Pillow gives component i table i, and those beyond the last table the last one, whatever the original's
    numbers were.
    """
    tables = [list(original.quantization[number]) for *_, number in original.layer]
    while len(tables) > 1 and tables[-1] == tables[-2]:
        tables.pop()
    return tables


def _is_stored_as_rgb(original: JpegImagePlugin.JpegImageFile) -> bool:
    """Whether the components are R, G, B themselves, by the rules of libjpeg's default_decompress_parms."""
    if original.layers != 3 or "jfif" in original.info:
        return False
    if "adobe" in original.info:
        return original.info.get("adobe_transform") == 0
    return bytes(component[0] for component in original.layer) == b"RGB"
