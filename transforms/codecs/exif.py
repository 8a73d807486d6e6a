"""The EXIF that is written: the orientation, and the groups of tags that a user has asked to keep.

Tags and types are those of Exif 2.32 (CIPA DC-008-2019), tables 4 to 8.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from faceveil.transforms.codecs import tiff
from faceveil.transforms.codecs.orientation import orientation_exif
from faceveil.transforms.quarantine import Quarantine

KEEPABLE = {
    # DateTimeOriginal, DateTimeDigitized, DateTime; their offsets from UTC; their fractions of a second.
    "dates": (0x9003, 0x9004, 0x0132, 0x9010, 0x9011, 0x9012, 0x9290, 0x9291, 0x9292),
    "exposure": (
        *(0x829A, 0x829D, 0x8822),  # ExposureTime, FNumber, ExposureProgram
        *(0x8827, 0x8830, 0x8831, 0x8832),  # ISO speed, what it means, output sensitivity, exposure index
        *(0x9201, 0x9202, 0x9203, 0x9204, 0x9205),  # ShutterSpeed, Aperture, Brightness, ExposureBias, MaxAperture
        *(0x9207, 0x9208, 0x9209, 0x920A),  # MeteringMode, LightSource, Flash, FocalLength
        *(0xA402, 0xA403, 0xA404, 0xA405),  # ExposureMode, WhiteBalance, DigitalZoomRatio, FocalLengthIn35mmFilm
        0xA406,  # SceneCaptureType
    ),
}
"""Groups of tags that may be kept. None holds free text, a place, a number of a camera or a picture."""

_DATE_TIME = 0x0132  # the only one of them in the first directory; the others are in EXIF's own
_ASCII, _NUMERIC = 2, (1, 3, 4, 5, 9, 10)
_DATE = re.compile(rb"[0-9: .+\-]{1,19}\0*")
_LONGEST = 20  # bytes; so that no number is a hiding place


def exif_to_write(source: bytes, orientation: int, keep: Collection[str]) -> bytes:
    """EXIF with the orientation and the kept tags of the original's.

    A date that is not made of digits and their separators, or an exposure that is not a number or two, is dropped.

    Args:
        source: the original's EXIF, with or without ``Exif\\0\\0`` before its TIFF header; may be damaged or empty.
        orientation: 1 to 8; 1 is not written.
        keep: names from `KEEPABLE`.

    Returns:
        A TIFF header and directories; empty when there is nothing to write.

    Example usage::

        >>> exif_to_write(orientation_exif(6), 6, ["dates"]) == orientation_exif(6)
        True
    """
    only_orientation = orientation_exif(orientation) if orientation != 1 else b""
    try:
        source = source.removeprefix(b"Exif\0\0")
        flavour, start = tiff.flavour_of(source)
        first, _ = tiff.read_directory(source, flavour, start)
        pointer = first.get(tiff.EXIF_DIRECTORY)
        own, _ = tiff.read_directory(source, flavour, pointer.numbers(flavour)[0]) if pointer else ({}, 0)
    except (Quarantine, IndexError):
        return only_orientation
    allowed = {tag for group in keep for tag in KEEPABLE[group]}
    directory = {tag: entry for tag, entry in first.items() if tag == _DATE_TIME and tag in allowed and _is_safe(entry)}
    exif = {tag: entry for tag, entry in own.items() if tag != _DATE_TIME and tag in allowed and _is_safe(entry)}
    if not directory and not exif:
        return only_orientation
    flavour = tiff.Flavour(flavour.order)
    if orientation != 1:
        directory[tiff.ORIENTATION] = tiff.shorts(flavour, orientation)
    return tiff.write(flavour, directory, exif)


def _is_safe(entry: tiff.Entry) -> bool:
    if entry.type == _ASCII:
        return _DATE.fullmatch(entry.value) is not None and len(entry.value) <= _LONGEST
    return entry.type in _NUMERIC and len(entry.value) <= _LONGEST and entry.count <= 2
