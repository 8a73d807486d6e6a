"""Which way up a picture is, by what its file says beside EXIF: XMP and raw profiles, by which only some readers go.

XMP, part 2 (Adobe, 2016), section 3.1 has ``tiff:Orientation``; its numbers are EXIF's. Raw profiles are ImageMagick's
way to put EXIF and XMP into a PNG's texts: a name, a length and hexadecimal digits, each on lines of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from PIL import ExifTags, Image

from faceveil.transforms.runtime.memory import is_out_of_memory

_XMP = re.compile(rb"tiff:Orientation\s*(?:=\s*[\"']|>)\s*([1-8])")
_RAW_PROFILE, _XMP_KEYWORD = b"raw profile type ", b"xml:com.adobe.xmp"
_HEADER_LINES = 3  # an empty one, the name, the length


def of_exif(exif: bytes) -> int | None:
    """The orientation tag, 1 to 8; None where there is none, or a wrong one.

    Args:
        exif: with or without ``Exif\\0\\0`` before its TIFF header; may be damaged or empty.
    """
    tags = Image.Exif()
    try:
        tags.load(exif)
        tag = tags.get(ExifTags.Base.Orientation)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return None  # EXIF that cannot be read does not matter: it goes anyway
    return tag if isinstance(tag, int) and 1 <= tag <= 8 else None


def of_xmp(xmp: bytes) -> set[int]:
    """The orientations that XMP names.

    Example usage::

        >>> of_xmp(b'<rdf:Description tiff:Orientation="6"/>'), of_xmp(b"<tiff:Orientation>8</tiff:Orientation>")
        ({6}, {8})
    """
    return {int(number) for number in _XMP.findall(xmp)}


def of_text(keyword: bytes, text: bytes) -> set[int]:
    """The orientations that a PNG's text names, if it is XMP or a raw profile.

    Args:
        keyword: of the text.
        text: inflated.
    """
    if keyword.lower() == _XMP_KEYWORD:
        return of_xmp(text)
    if not keyword.lower().startswith(_RAW_PROFILE):
        return set()
    digits = b"".join(text.split(b"\n")[_HEADER_LINES:]).split()
    try:
        profile = bytes.fromhex(b"".join(digits).decode("latin-1"))
    except ValueError:
        return set()
    return of_xmp(profile) | ({number} if (number := of_exif(profile)) else set())


def may_claim(keyword: bytes) -> bool:
    """Whether a PNG's text of this keyword may name an orientation."""
    return keyword.lower().startswith((_RAW_PROFILE, _XMP_KEYWORD))


def others(orientation: int, claims: Iterable[int]) -> tuple[int, ...]:
    """The claimed orientations but one, in order."""
    return tuple(sorted({*claims} - {orientation}))
