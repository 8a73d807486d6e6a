"""PNG's chunks (PNG specification, third edition, https://www.w3.org/TR/png-3/, section 5)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from faceveil.transforms.codecs import icc, orientation_claims, palettes, png_chunks
from faceveil.transforms.codecs.accounting import Unaccounted
from faceveil.transforms.codecs.image import Pixels
from faceveil.transforms.quarantine import Quarantine, Reason

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_CHUNKS = (b"cHRM", b"cICP", b"gAMA", b"sRGB")
"""Chunks that say how values show as colours; an ICC profile (iCCP) does too."""

# What is drawn or says how it looks; not text, times, EXIF, animation, nor anything private.
_KEPT = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"bKGD", b"iCCP", b"sBIT", b"pHYs", *COLOUR_CHUNKS}
_KEPT_WITH_16_BITS = (*COLOUR_CHUNKS, b"iCCP", b"pHYs")
_DRAWN = (b"IHDR", b"PLTE", b"tRNS", b"pHYs", b"IDAT", b"IEND")
_ANCILLARY = 0x20  # a bit of the name's first letter, which then is a small one (section 5.4)
_TRANSPARENT_COLOUR = {0: 2, 2: 6}  # bytes of tRNS by the colour type (section 11.3.1.1)
_COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by the number of channels
_DENSITY_LENGTH = 9
_MAX_TEXT = 8_000_000
"""Bytes of all texts together, inflated, that are searched for an orientation: libpng reads none that is longer
(PNG_USER_CHUNK_MALLOC_MAX in its pnglibconf.h)."""

_UP = 2  # the filter that takes each byte's difference to the one above (section 9.2)


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
        Quarantine: TRUNCATED when the data end before IEND, CORRUPT_IMAGE when there are no chunks in them,
            UNSUPPORTED_IMAGE for Apple's own kind.
    """
    position, name = len(SIGNATURE), b""
    while name != b"IEND":
        if position + 12 > len(data):
            raise Quarantine(Reason.TRUNCATED, f"png: ends at byte {len(data)}, before its IEND chunk")
        length, name = struct.unpack_from(">I4s", data, position)
        end = position + 12 + length
        if name == b"CgBI":
            raise Quarantine(Reason.UNSUPPORTED_IMAGE, "png of Apple's own kind (CgBI), which other readers refuse")
        if not name.isalpha() or (position == len(SIGNATURE)) != (name == b"IHDR"):
            raise Quarantine(Reason.CORRUPT_IMAGE, f"png: no proper chunk at byte {position}")
        if end > len(data):
            raise Quarantine(Reason.TRUNCATED, f"png: ends at byte {len(data)}, within a {name.decode()} chunk")
        yield name, position, end
        position = end


def sound_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The chunks that count: not those beside the picture whose checksum is wrong, which decoders leave out.

    Raises:
        Quarantine: as `chunks`.
    """
    for name, start, end in chunks(data):
        if not name[0] & _ANCILLARY or zlib.crc32(data[start + 4 : end - 4]).to_bytes(4, "big") == data[end - 4 : end]:
            yield name, start, end


def header(data: bytes) -> Header:
    """The image header, which every PNG begins with."""
    _, start, end = next(chunks(data))
    if end - start != 25:
        raise Quarantine(Reason.CORRUPT_IMAGE, "png: its IHDR chunk has a wrong length")
    return Header(*struct.unpack_from(">IIBB", data, start + 8))


def drawn(data: bytes, *, pixels: bool = True) -> bytes:
    """The same PNG with its picture and density alone, for decoders: they refuse some for what goes anyway.

    Pillow reads no profile or text that takes more than a megabyte when it is inflated, and nothing with a wrong
    checksum, and decodes the pixels to find texts behind them.

    Args:
        data: the PNG.
        pixels: whether they are wanted, and not only the header.

    Raises:
        Quarantine: as `chunks`.
    """
    colour_type = header(data).colour_type
    kept = []
    for name, start, end in sound_chunks(data):
        is_drawn = name in _DRAWN and (pixels or name != b"IDAT")
        length = end - start - 12
        if name == b"tRNS":
            is_drawn = length == _TRANSPARENT_COLOUR.get(colour_type, length)
        elif name == b"pHYs":
            is_drawn = length == _DENSITY_LENGTH
        if is_drawn:
            kept.append(data[start:end])
    return b"".join((SIGNATURE, *kept))


def profile(data: bytes) -> bytes:
    """The ICC profile, inflated; empty where there is none."""
    return next(
        (icc.unpack_png(data[at + 8 : end - 4]) for name, at, end in sound_chunks(data) if name == b"iCCP"), b""
    )


def exif(data: bytes) -> bytes:
    """EXIF as decoders read it, a TIFF header first; empty where there is none."""
    return _first(data, b"eXIf")


def _first(data: bytes, wanted: bytes) -> bytes:
    """The content of the first chunk of a name; empty where there is none."""
    return next((data[start + 8 : end - 4] for name, start, end in sound_chunks(data) if name == wanted), b"")


def claimed_orientations(data: bytes) -> set[int]:
    """The orientations that any EXIF, XMP or raw profile in it names."""
    claims: set[int] = set()
    left = _MAX_TEXT
    for name, start, end in chunks(data):
        if name not in (b"eXIf", b"tEXt", b"zTXt", b"iTXt"):
            continue
        content = data[start + 8 : end - 4]
        if name == b"eXIf":
            claims.add(orientation_claims.of_exif(content) or 1)
        elif orientation_claims.may_claim(content):
            text = png_chunks.read_text(name, content, left)
            left = max(left - len(text), 0)
            claims |= orientation_claims.of_text(content.partition(b"\0")[0], text)
    return claims


def chunk(name: bytes, content: bytes) -> bytes:
    """One chunk with its length and checksum."""
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def strip(data: bytes, exif: bytes) -> bytes:
    """The same PNG with the chunks that are drawn or say how it looks, and with this EXIF, if any.

    Chunks that are repeated, or do not have the length and values of their kind, go too.

    Raises:
        Quarantine: CORRUPT_IMAGE or TRUNCATED when its chunks cannot be followed to the end.
        Unaccounted: there is more in its compressed data than the picture.
    """
    contents = [(name, data[start + 8 : end - 4]) for name, start, end in sound_chunks(data) if name in _KEPT]
    names = [name for name, _ in contents]
    if b"IDAT" not in names:
        raise Quarantine(Reason.CORRUPT_IMAGE, "png: ends without a picture")
    header = png_chunks.read_header(contents[0][1])
    pixels = [content for name, content in contents if name == b"IDAT"]
    pixels_at = names.index(b"IDAT")
    drawn_with = [name for name in names if name in (b"PLTE", b"tRNS", b"IDAT")]
    expected = [name for name in (b"PLTE", b"tRNS") if name in names] + [b"IDAT"] * len(pixels)
    if drawn_with != expected or names[pixels_at : pixels_at + len(pixels)] != [b"IDAT"] * len(pixels):
        raise Unaccounted("its chunks are repeated or out of order")
    png_chunks.check_pixels(b"".join(pixels), header)
    kept = [SIGNATURE]
    seen: set[bytes] = set()
    palette = b""
    for name, content in contents:
        if name == b"IDAT":
            if exif and name not in seen:
                kept.append(chunk(b"eXIf", exif))
            kept += [chunk(name, content)] if content else []
        elif name in seen:
            continue
        elif name in (b"PLTE", b"tRNS"):
            if name == b"PLTE":
                wanted = palette = png_chunks.read_palette(content, header)
            else:
                wanted = png_chunks.read_transparency(content, header, len(palette) // 3)
            kept += [chunk(name, wanted)] if wanted else []
        elif name == b"iCCP":
            profile = icc.clean_png(content)
            kept += [chunk(name, profile)] if profile else []
        elif name in (b"IHDR", b"IEND"):
            kept.append(chunk(name, content if name == b"IHDR" else b""))
        elif png_chunks.is_proper(name, content, header, len(palette) // 3):
            kept.append(chunk(name, content))
        seen.add(name)
    stripped = b"".join(kept)
    if b"PLTE" in names and header.has_palette:
        palettes.check_indices(stripped, "png")
    return stripped


def encode_16_bit(pixels: Pixels, data: bytes) -> bytes:
    """Encode pixels of 16 bits per channel, with the original's density and chunks about colour.

    Pillow writes such PNGs in grey only, OpenCV none of grey and alpha.

    Args:
        pixels: uint16, of mode I;16, LA;16, RGB;16 or RGBA;16.
        data: the original.
    """
    height, width, channels = pixels.values.shape
    kept = b"".join(data[start:end] for name, start, end in sound_chunks(data) if name in _KEPT_WITH_16_BITS)
    rows = pixels.values.astype(">u2").reshape(height, -1).view(np.uint8)
    filtered = np.full((height, rows.shape[1] + 1), _UP, np.uint8)
    filtered[0, 1:] = rows[0]
    filtered[1:, 1:] = rows[1:] - rows[:-1]  # modulo 256
    parts = (
        chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPES[channels], 0, 0, 0)),
        kept,
        chunk(b"IDAT", zlib.compress(filtered.tobytes())),
        chunk(b"IEND", b""),
    )
    return SIGNATURE + b"".join(parts)
