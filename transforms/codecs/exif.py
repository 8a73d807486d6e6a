"""The EXIF that is written: the orientation, and the groups of tags that a user has asked to keep.

Tags and types are those of Exif 2.32 (CIPA DC-008-2019), tables 4 to 8.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from faceveil.transforms.codecs import tiff, tiff_directory
from faceveil.transforms.codecs.orientation import orientation_exif
from faceveil.transforms.kept_exif import KEEPABLE
from faceveil.transforms.quarantine import Quarantine

_DATE_TIME = 0x0132  # the only one of them in the first directory; the others are in EXIF's own
_ASCII, _NUMERIC = 2, (1, 3, 4, 5, 9, 10)
_DATE = re.compile(rb"[0-9: .+\-]{1,19}\0*")
_MAX_DATE_BYTES = 20  # so that no zeros behind a date are a hiding place


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
        flavour, start = tiff_directory.flavour_of(source)
        first, _ = tiff_directory.read_directory(source, flavour, start)
        pointer = first.get(tiff_directory.EXIF_DIRECTORY)
        own, _ = tiff_directory.read_directory(source, flavour, pointer.numbers(flavour)[0]) if pointer else ({}, 0)
    except (Quarantine, IndexError):
        return only_orientation
    allowed = {tag for group in keep for tag in KEEPABLE[group]}
    directory = {tag: entry for tag, entry in first.items() if tag == _DATE_TIME and tag in allowed and _is_safe(entry)}
    exif = {tag: entry for tag, entry in own.items() if tag != _DATE_TIME and tag in allowed and _is_safe(entry)}
    if not directory and not exif:
        return only_orientation
    flavour = tiff_directory.Flavour(flavour.order)
    if orientation != 1:
        directory[tiff.ORIENTATION] = tiff_directory.shorts(flavour, orientation)
    return tiff_directory.write(flavour, directory, exif)


def _is_safe(entry: tiff_directory.Entry) -> bool:
    if entry.type == _ASCII:
        return _DATE.fullmatch(entry.value) is not None and len(entry.value) <= _MAX_DATE_BYTES
    return entry.type in _NUMERIC and entry.count <= 2
