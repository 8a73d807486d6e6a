"""PNG's chunks (PNG specification, third edition, https://www.w3.org/TR/png-3/, section 5)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from transforms.quarantine import Quarantine, Reason

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_CHUNKS = (b"cHRM", b"cICP", b"gAMA", b"sRGB")
"""Chunks that say how values show as colours; an ICC profile (iCCP) does too."""


@dataclass(frozen=True)
class Header:
    """IHDR: the sides in pixels, the bits per channel and the colour type (0 grey, 2 RGB, 3 palette, …)."""

    width: int
    height: int
    bit_depth: int
    colour_type: int


def chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The chunks up to IEND: name, start and end in bytes, from the length field to the checksum.

    Raises:
        Quarantine: TRUNCATED when the data end before IEND, CORRUPT_IMAGE when there are no chunks in them.
    """
    position, name = len(SIGNATURE), b""
    while name != b"IEND":
        if position + 12 > len(data):
            raise Quarantine(Reason.TRUNCATED, f"png: ends at byte {len(data)}, before its IEND chunk")
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if not name.isalpha() or (position == len(SIGNATURE)) != (name == b"IHDR"):
            raise Quarantine(Reason.CORRUPT_IMAGE, f"png: no proper chunk at byte {position}")
        if end > len(data):
            raise Quarantine(Reason.TRUNCATED, f"png: ends at byte {len(data)}, within a {name.decode()} chunk")
        yield name, position, end
        position = end


def header(data: bytes) -> Header:
    """The image header, which every PNG begins with."""
    _, start, end = next(chunks(data))
    if end - start != 25:
        raise Quarantine(Reason.CORRUPT_IMAGE, "png: its IHDR chunk has a wrong length")
    return Header(*struct.unpack_from(">IIBB", data, start + 8))


def without_pixels(data: bytes) -> bytes:
    """The same PNG less its pixels and what refers to them: its metadata, for Pillow to read.

    EXIF and text may stand after the pixels, and Pillow would decode the pixels to get there.
    """
    dropped = (b"IDAT", b"acTL", b"fcTL", b"fdAT")
    kept = [data[start:end] for name, start, end in chunks(data) if name not in dropped]
    return SIGNATURE + b"".join(kept)


def chunk(name: bytes, content: bytes) -> bytes:
    """One chunk with its length and checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
