"""Leave out of a JPEG what is not its picture, and let its compressed data pass only if they are accounted for.

Every byte of what passes as it was has been decoded, or is a header or a table that was used (`jpeg_stream.follow`, and
libjpeg without a complaint). Where that is not so, the picture's coefficients are written anew, which loses nothing of
what is shown, and everything else.
"""

from __future__ import annotations

from collections.abc import Sequence

from faceveil.transforms.codecs import icc, jpeg
from faceveil.transforms.codecs.image import ImageInfo
from faceveil.transforms.codecs.jpeg_coefficients import transcode
from faceveil.transforms.codecs.jpeg_markers import (
    ADOBE,
    ADOBE_LENGTH,
    APP0,
    APP1,
    APP2,
    APP14,
    EXIF,
    FRAMES,
    JFIF,
    JFIF_LENGTH,
    SOS,
    segment,
    segments,
)
from faceveil.transforms.codecs.jpeg_stream import Stream, follow, used_tables
from faceveil.transforms.quarantine import Quarantine, Reason

_SOI, _EOI = b"\xff\xd8", b"\xff\xd9"
_ICC = b"ICC_PROFILE\0"
_JFIF_VERSIONS = (b"\1\0", b"\1\1", b"\1\2")  # https://www.w3.org/Graphics/JPEG/jfif3.pdf, and the two before it
_LARGEST_CHUNK = 65519  # of an ICC profile, so that with its header it fits into a segment
_MODES = {1: "L", 3: "RGB", 4: "CMYK"}
_SHRINK = 8  # all coded data are read, at whatever fraction of the size pixels are made


def strip(data: bytes, exif: bytes, *, faultless: bool = False) -> bytes:
    """The same JPEG up to its end marker, with no metadata but JFIF's density, ICC profile, Adobe's colour transform.

    Its coded data stay as they are if every byte of them is accounted for; else its coefficients are coded again.

    Args:
        data: the JPEG.
        exif: EXIF to write, a TIFF header first; none if empty.
        faultless: whether libjpeg is known to decode it without a complaint; else that is tried.

    Raises:
        Quarantine: CORRUPT_IMAGE or TRUNCATED when its segments cannot be followed to the end marker, CORRUPT_IMAGE
            when it holds more than its picture and its coefficients cannot be coded again.
    """
    try:
        jfif, kept = _kept_segments(data)
    except Quarantine:
        ended = jpeg.with_missing_end(data)
        stream = follow(ended) if ended else None
        if ended is None or stream is None or not _is_faultless(stream, b""):
            raise  # what is cut off would else pass for a whole picture
        return strip(ended, exif, faultless=True)
    parts = {**kept, **_picture(data, b"", faultless=faultless)}
    first = jfif + (segment(APP1, EXIF + exif) if exif else b"")
    return _SOI + first + b"".join(parts[start] for start in sorted(parts)) + _EOI


def strip_in_tiff(pictures: Sequence[bytes], tables: bytes) -> tuple[list[bytes], bytes]:
    """The strips or tiles of a TIFF and its JPEGTables, likewise, with no metadata at all.

    Args:
        pictures: abbreviated JPEGs, or whole ones, or nothing.
        tables: JPEGTables, a JPEG without a picture; may be empty.

    Raises:
        Quarantine: as `strip`.
    """
    if tables and not all(_is_accounted_for(picture, tables) for picture in pictures if picture):
        # Those that are coded again have tables of their own, which libtiff would go on using for others.
        pictures = [_with_tables(picture, tables) if picture else b"" for picture in pictures]
        tables = b""
    stripped = [
        _SOI + b"".join(_picture(picture, tables, faultless=False).values()) + _EOI if picture else b""
        for picture in pictures
    ]
    return stripped, used_tables(tables, filter(None, stripped)) if tables else b""


def _kept_segments(data: bytes) -> tuple[bytes, dict[int, bytes]]:
    """JFIF's segment, and those of Adobe's colour transform and the ICC profile by the byte they began at.

    Of each kind the last one before the first scan, as decoders have it.
    """
    jfif, adobe = b"", {}
    profile: dict[int, bytes] = {}
    seen = set()
    for marker, start, end in segments(data):
        content = data[start + 4 : end]
        if marker == APP0 and content.startswith(JFIF) and len(content) >= JFIF_LENGTH and SOS not in seen:
            jfif = _jfif(content)
        elif marker == APP14 and content.startswith(ADOBE) and len(content) >= ADOBE_LENGTH and SOS not in seen:
            adobe = {start: segment(APP14, content[:ADOBE_LENGTH])}
        elif marker == APP2 and content.startswith(_ICC) and SOS not in seen:
            profile[start] = content[len(_ICC) :]
        seen.add(marker)
    if not seen & FRAMES or SOS not in seen:
        raise Quarantine(Reason.CORRUPT_IMAGE, "jpeg: ends without a picture")
    return jfif, {**adobe, **_profile(profile)}


def _jfif(content: bytes) -> bytes:
    """JFIF's version, unit and densities, where they are what they may be; no thumbnail."""
    version, unit, density = content[5:7], content[7], content[8:12]
    if unit > 2 or not int.from_bytes(density[:2], "big") or not int.from_bytes(density[2:], "big"):
        unit, density = 0, b"\0\1\0\1"
    return segment(
        APP0, JFIF + (version if version in _JFIF_VERSIONS else b"\1\1") + bytes((unit,)) + density + b"\0\0"
    )


def _profile(chunks: dict[int, bytes]) -> dict[int, bytes]:
    """The segments of the ICC profile (ICC.1:2022, annex B.4); none where they are not numbered as they have to be."""
    if not chunks or sorted(chunk[:2] for chunk in chunks.values()) != [
        bytes((number, len(chunks))) for number in range(1, len(chunks) + 1)
    ]:
        return {}
    profile = b"".join(chunk[2:] for chunk in sorted(chunks.values()))
    clean = icc.clean(profile)
    if clean == profile:
        return {start: segment(APP2, _ICC + chunk) for start, chunk in chunks.items()}
    pieces = [clean[start : start + _LARGEST_CHUNK] for start in range(0, len(clean), _LARGEST_CHUNK)]
    written = (segment(APP2, _ICC + bytes((n, len(pieces))) + piece) for n, piece in enumerate(pieces, 1))
    return {min(chunks): b"".join(written)}


def _picture(data: bytes, tables: bytes, *, faultless: bool) -> dict[int, bytes]:
    """Tables, frame and scans, by the byte they began at."""
    stream = follow(data, tables)
    faultless = stream is not None and (faultless or _is_faultless(stream, tables))
    if stream and faultless and not stream.needs_proof:
        return stream.parts
    whole = _with_tables(data, tables) if tables else data
    written = transcode(whole, keep_tables=stream is not None and stream.keeps_tables, faultless=faultless)
    again = follow(written) if written else None
    if again is None:
        raise Quarantine(Reason.CORRUPT_IMAGE, "jpeg: holds more than its picture, and cannot be coded again without")
    if stream and again.scans == stream.scans:  # so there is nothing else in them
        return stream.parts
    last = len(data)  # behind what is kept
    return {last + start: part for start, part in again.parts.items()}


def _is_accounted_for(data: bytes, tables: bytes) -> bool:
    """Whether a picture is to stay as it is."""
    stream = follow(data, tables)
    return stream is not None and not stream.needs_proof and _is_faultless(stream, tables)


def _with_tables(data: bytes, tables: bytes) -> bytes:
    _, start, _ = [*segments(tables)][-1]
    return tables[:start] + data[2:]


def _is_faultless(stream: Stream, tables: bytes) -> bool:
    """Whether libjpeg decodes what is left without a complaint."""
    frame = stream.frame
    mode = _MODES.get(len(frame.components))
    data = _SOI + b"".join(stream.parts.values()) + _EOI
    whole = _with_tables(data, tables) if tables else data
    return (
        mode is not None
        and jpeg.decode(whole, ImageInfo("jpeg", frame.width, frame.height, 1, mode), _SHRINK) is not None
    )
