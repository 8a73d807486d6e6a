"""Radiance HDR, or RGBE (https://radsite.lbl.gov/radiance/refer/filefmts.pdf): its header, and whether all is there.

The reader in tensorflow-io never ends where a file is cut off, so its lines are followed first.
"""

from __future__ import annotations

import re

from faceveil.transforms.codecs.image import ImageInfo
from faceveil.transforms.quarantine import Quarantine, Reason

_SIZE = re.compile(rb"([-+][XY]) (\d{1,9}) ([-+][XY]) (\d{1,9})\n")
_FORMAT = b"FORMAT=32-bit_rle_rgbe"
_MAX_HEADER = 2**16
_NARROWEST, _WIDEST = 8, 0x7FFF  # of lines in run lengths


def probe(data: bytes) -> ImageInfo:
    """What the header says, and that all lines are there; becomes RGB of 8 bits.

    Raises:
        Quarantine: UNSUPPORTED_IMAGE, TRUNCATED or CORRUPT_IMAGE.
    """
    end = data.find(b"\n\n", 0, _MAX_HEADER)
    found = _SIZE.match(data, end + 2) if end >= 0 else None
    if not found:
        raise Quarantine(Reason.CORRUPT_IMAGE, "radiance hdr: the header has no end or no size")
    lines = data[:end].split(b"\n")
    if lines[0] not in (b"#?RADIANCE", b"#?RGBE") or _FORMAT not in lines[1:]:
        raise _unsupported("of another kind than 32-bit_rle_rgbe")
    if (found[1], found[3]) != (b"-Y", b"+X"):
        raise _unsupported("whose lines do not go from the top left")
    height, width = int(found[2]), int(found[4])
    if not width or not height:
        raise Quarantine(Reason.CORRUPT_IMAGE, "radiance hdr: it has no pixels")
    _check_lines(data, found.end(), width, height)
    return ImageInfo("png", width, height, 1, "RGB", hides_pixels=True, source="radiance hdr")


def _check_lines(data: bytes, at: int, width: int, height: int) -> None:
    start = data[at : at + 3]
    if not _NARROWEST <= width <= _WIDEST or start[:2] != b"\2\2" or start[2:] >= b"\x80":
        if len(data) - at < 4 * width * height:
            raise _truncated(data) if start[:2] != b"\1\1" else _unsupported("of run lengths of the old kind")
        return
    begin = b"\2\2" + width.to_bytes(2, "big")
    try:
        for _ in range(height):
            if data[at : at + 4] != begin:
                raise _truncated(data) if at + 4 > len(data) else _corrupt()
            at += 4
            for _ in range(4):  # red, green, blue, the exponent
                at = _end_of_channel(data, at, width)
    except IndexError:
        raise _truncated(data) from None
    if at > len(data):
        raise _truncated(data)


def _end_of_channel(data: bytes, at: int, left: int) -> int:
    while left > 0:
        count = data[at]
        if count > 128:  # so many times the next value
            left -= count - 128
            at += 2
        else:
            left -= count
            at += 1 + count
        if left < 0 or not count:
            raise _corrupt()
    return at


def _unsupported(kind: str) -> Quarantine:
    return Quarantine(Reason.UNSUPPORTED_IMAGE, f"radiance hdr {kind}, which is not read here")


def _corrupt() -> Quarantine:
    return Quarantine(Reason.CORRUPT_IMAGE, "radiance hdr: its lines are not as long as it is wide")


def _truncated(data: bytes) -> Quarantine:
    return Quarantine(Reason.TRUNCATED, f"radiance hdr: ends at byte {len(data)}, before its pixels do")
