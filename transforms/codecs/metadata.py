"""Drop an image's metadata and keep its compressed data bit for bit.

What is kept is listed, what is not listed goes: EXIF (but the orientation), XMP, IPTC, MakerNotes, comments,
thumbnails, second pictures, and whatever stands after the image's end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from transforms.codecs import png, webp
from transforms.codecs.image import ImageInfo
from transforms.codecs.orientation import orientation_exif
from transforms.quarantine import Quarantine, Reason


def strip_metadata(data: bytes, info: ImageInfo) -> bytes:
    """The same image with no metadata but ICC profile, density, colour description and orientation.

    JPEG, PNG and WebP. Other formats come back as they are, for now.

    Returns:
        `data` itself when nothing has to go.

    Raises:
        Quarantine: CORRUPT_IMAGE or TRUNCATED when the file's structure cannot be followed to its end.
    """
    strip = {"jpeg": _strip_jpeg, "png": _strip_png, "webp": _strip_webp}.get(info.format)
    if strip is None:
        return data
    stripped = strip(data, info.orientation)
    return data if stripped == data else stripped


# JPEG markers (ITU-T T.81, table B.1), and what may stand between a scan's header and the next marker:
# coded data (FF 00 is a coded FF), restart markers, and any number of FF as fill.
_SOI, _EOI, _SOS, _COM, _APP0, _APP1, _APP2, _APP14, _APP15 = (
    0xD8,
    0xD9,
    0xDA,
    0xFE,
    0xE0,
    0xE1,
    0xE2,
    0xEE,
    0xEF,
)
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_TABLES = {0xC4, 0xCC, 0xDB, 0xDC, 0xDD}  # DHT, DAC, DQT, DNL, DRI
_NEXT_MARKER = re.compile(rb"\xff([^\x00\xd0-\xd7\xff])", re.DOTALL)
_JFIF_LENGTH, _ADOBE_LENGTH = 14, 12


def _strip_jpeg(data: bytes, orientation: int) -> bytes:
    jfif = exif = b""  # they come first, in this order
    if orientation != 1:
        exif = _segment(_APP1, b"Exif\0\0" + orientation_exif(orientation))
    kept, seen = [], set()
    for marker, start, end in _jpeg_segments(data):
        content = data[start + 4 : end]
        seen.add(marker)
        if marker == _APP0 and content.startswith(b"JFIF\0") and len(content) >= _JFIF_LENGTH:
            jfif = _segment(_APP0, content[: _JFIF_LENGTH - 2] + b"\0\0")  # no thumbnail: 0 x 0 pixels
        elif marker == _APP2 and content.startswith(b"ICC_PROFILE\0"):
            kept.append(data[start:end])
        elif marker == _APP14 and content.startswith(b"Adobe") and len(content) >= _ADOBE_LENGTH:
            kept.append(_segment(_APP14, content[:_ADOBE_LENGTH]))
        elif marker in _FRAMES or marker in _TABLES or marker in (_SOS, _EOI):
            kept.append(data[start:end])
    if not seen & _FRAMES or _SOS not in seen:
        raise Quarantine(Reason.CORRUPT_IMAGE, "jpeg: ends without a picture")
    return data[:2] + jfif + exif + b"".join(kept)


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and end in bytes of every segment up to EOI; a scan's coded data belong to its SOS.

    What stands between segments is skipped, as libjpeg does.
    """
    position, marker = 2, _SOI
    while marker != _EOI:
        found = _NEXT_MARKER.search(data, position)
        if found is None:
            raise Quarantine(Reason.TRUNCATED, f"jpeg: ends at byte {len(data)}, before its end marker")
        start, marker = found.start(), found[1][0]
        end = start + 2
        if marker != _EOI:
            length = int.from_bytes(data[end : end + 2], "big")
            known = marker in _FRAMES or marker in _TABLES or marker in (_SOS, _COM) or _APP0 <= marker <= _APP15
            if length < 2 or not known:
                raise Quarantine(Reason.CORRUPT_IMAGE, f"jpeg: no proper segment at byte {start}")
            end += length
            if end > len(data):
                raise Quarantine(Reason.TRUNCATED, f"jpeg: ends at byte {len(data)}, within a segment")
        if marker == _SOS:
            following = _NEXT_MARKER.search(data, end)
            end = following.start() if following else end
        yield marker, start, end
        position = end


def _segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


# What is drawn or says how it looks; not text, times, EXIF, animation, nor anything private.
_PNG_KEPT = {
    b"IHDR",
    b"PLTE",
    b"IDAT",
    b"IEND",
    b"tRNS",
    b"bKGD",
    b"iCCP",
    b"sBIT",
    b"pHYs",
    *png.COLOUR_CHUNKS,
}


def _strip_png(data: bytes, orientation: int) -> bytes:
    kept = [png.SIGNATURE]
    pixels_at = 0
    for name, start, end in png.chunks(data):
        if name == b"IDAT" and not pixels_at:
            pixels_at = len(kept)
        if name in _PNG_KEPT:
            kept.append(data[start:end])
    if not pixels_at:
        raise Quarantine(Reason.CORRUPT_IMAGE, "png: ends without a picture")
    if orientation != 1:
        kept.insert(pixels_at, png.chunk(b"eXIf", orientation_exif(orientation)))
    return b"".join(kept)


_WEBP_KEPT = {b"VP8X", b"ICCP", b"ALPH", b"VP8 ", b"VP8L"}


def _strip_webp(data: bytes, orientation: int) -> bytes:
    kept: dict[bytes, bytes] = {}
    for name, content in webp.chunks(data):
        if name in _WEBP_KEPT:
            kept.setdefault(name, content)  # decoders use the first of each
    if not kept.keys() & {b"VP8 ", b"VP8L"}:
        raise Quarantine(Reason.CORRUPT_IMAGE, "webp: ends without a picture")
    if extended := kept.get(b"VP8X"):
        flags = extended[0] & ~(webp.EXIF_FLAG | webp.XMP_FLAG)
        if orientation != 1:
            flags |= webp.EXIF_FLAG
            kept[b"EXIF"] = orientation_exif(orientation)
        kept[b"VP8X"] = bytes((flags,)) + extended[1:]
    return webp.join(list(kept.items()))
