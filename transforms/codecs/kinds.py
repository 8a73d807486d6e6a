"""Kinds of images that are sound, but that no decoder here reads: what they are, by their headers."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from faceveil.transforms.codecs import jpeg_markers, tiff, tiff_directory
from faceveil.transforms.codecs.pillow import decoder_errors
from faceveil.transforms.codecs.tiff_tags import number
from faceveil.transforms.quarantine import Quarantine, Reason

_COMPRESSIONS = {
    6: "JPEG of the old kind",
    9: "JBIG",
    10: "JBIG",
    34661: "JBIG",
    32766: "NeXT's run lengths",
    32809: "ThunderScan",
    32867: "Kodak's coding",
    32909: "Pixar's logarithms",
    34925: "LZMA",
    50000: "Zstandard",
    34676: "SGI's logarithms",
    34677: "SGI's logarithms",
    34887: "LERC",
    34892: "lossy JPEG of raw pixels",
    **dict.fromkeys((33003, 33004, 33005, 34712), "JPEG 2000"),
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
    34933: "PNG",
    22610: "JPEG XR",
    34934: "JPEG XR",
}
"""By the tag's number: TIFF 6.0, and libtiff's list (https://libtiff.gitlab.io/libtiff/specification/)."""

_SAMPLE_FORMATS = {2: "signed whole numbers", 3: "floating point", 5: "complex numbers", 6: "complex numbers"}
_COLOUR_SPACES = {
    8: "LAB",
    9: "LAB",
    10: "LAB",
    32803: "a colour filter's mosaic",
    34892: "raw light",
    32844: "logarithms of brightness",
    32845: "logarithms of brightness",
    51177: "depth",
}
_BITS = (1, 2, 4, 8, 16)
_MAX_CHANNELS = 5  # CMYK and alpha

_JPEG_LS = 0xF7  # ITU-T T.87, table C.1
_LOSSLESS, _HIERARCHICAL = {0xC3, 0xC7, 0xCB, 0xCF}, {0xC5, 0xC6, 0xCD, 0xCE}
"""Frames of T.81, table B.1; the lossless ones may be hierarchical too."""

_EMBEDDED_IN_BMP = {4: "JPEG", 5: "PNG"}
"""BMP's values are those of BITMAPINFOHEADER (https://learn.microsoft.com/windows/win32/api/wingdi/)."""

_NONE_OR_RUN_LENGTHS = (0, 1, 2)
_BIT_FIELDS = (3, 6)
_BMP_BITS = (1, 2, 4, 8, 16, 24, 32)


@contextmanager
def explained_errors(data: bytes, image_format: str) -> Iterator[None]:
    """As `decoder_errors`, but UNSUPPORTED_IMAGE where the image is of a kind that no decoder here reads."""
    try:
        with decoder_errors(image_format):
            yield
    except Quarantine as error:
        name = _KINDS.get(image_format)
        kind = name(data) if name and error.reason in (Reason.CORRUPT_IMAGE, Reason.TRUNCATED) else ""
        if not kind:
            raise
        raise Quarantine(
            Reason.UNSUPPORTED_IMAGE, f"{image_format} {kind}, which is not read here; convert it to PNG or TIFF"
        ) from error


def _of_tiff(data: bytes) -> str:
    try:
        flavour, directories = tiff_directory.pages(data)
    except Quarantine:
        return ""
    directory = directories[0]
    compression = number(directory, flavour, tiff.COMPRESSION, 1)
    samples, bits = (number(directory, flavour, tag, 1) for tag in (tiff.SAMPLES_PER_PIXEL, tiff.BITS_PER_SAMPLE))
    if compression in _COMPRESSIONS:
        return f"compressed with {_COMPRESSIONS[compression]}"
    if (sample_format := number(directory, flavour, tiff.SAMPLE_FORMAT, 1)) in _SAMPLE_FORMATS:
        return f"of {_SAMPLE_FORMATS[sample_format]}"
    if (space := number(directory, flavour, tiff.PHOTOMETRIC, 1)) in _COLOUR_SPACES:
        return f"of {_COLOUR_SPACES[space]}"
    if samples > _MAX_CHANNELS:
        return f"with {samples} channels"
    return f"with {bits} bits per channel" if bits not in _BITS and 0 < bits <= 64 else ""


def _of_jpeg(data: bytes) -> str:
    """By its frame header (T.81, section B.2.2), whatever the segments before it hold."""
    position = 2
    while position + 10 <= len(data) and data[position] == 0xFF:
        marker, length = data[position + 1], int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == _JPEG_LS:
            return "of JPEG-LS"
        if marker in jpeg_markers.FRAMES:
            bits, channels = data[position + 4], data[position + 9]
            if marker in _LOSSLESS:
                return "of the lossless process"
            if marker in _HIERARCHICAL:
                return "of hierarchical frames"
            if bits != 8:
                return f"with {bits} bits per channel"
            return f"with {channels} channels" if channels not in (1, 3, 4) else ""
        position += 2 + length if marker != 0xFF else 1
    return ""


def _of_bmp(data: bytes) -> str:
    try:
        size, _, _, _, bits, compression = struct.unpack_from("<IiiHHI", data, 14)
    except struct.error:
        return ""
    if size == 16:
        return "with OS/2's short header"
    if size < 40:
        return ""
    if compression in _EMBEDDED_IN_BMP:
        return f"that holds a {_EMBEDDED_IN_BMP[compression]}"
    if compression in _BIT_FIELDS and bits in _BMP_BITS:
        return "of unusual bit fields"
    if compression not in _NONE_OR_RUN_LENGTHS:
        return f"of compression {compression}" if compression < 16 else ""
    return "with 64 bits per pixel" if bits == 64 else ""


_KINDS: dict[str, Callable[[bytes], str]] = {"tiff": _of_tiff, "jpeg": _of_jpeg, "bmp": _of_bmp}
