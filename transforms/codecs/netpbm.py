"""Netpbm's bitmaps (PBM), greymaps (PGM) and pixmaps (PPM), plain and raw: reading, and writing like for like.

A file is written with the same magic number and the same maximum, and holds nothing but header and pixels: comments,
white space that says nothing and what stands behind the pixels go.

Sources: https://netpbm.sourceforge.net/doc/pbm.html, https://netpbm.sourceforge.net/doc/pgm.html and
https://netpbm.sourceforge.net/doc/ppm.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.arrays import Values
from faceveil.transforms.codecs.image import ImageInfo, Pixels
from faceveil.transforms.quarantine import Quarantine, Reason

# A comment stands behind white space: within a number, or right behind one, readers differ in what it means.
_GAP = rb"\s(?:\s|#[^\n\r]*[\n\r])*"
_BITMAP = re.compile(rb"P(?P<kind>[14])%b(\d{1,9})%b(\d{1,9})\s" % (_GAP, _GAP))
_MAP = re.compile(rb"P(?P<kind>[2356])%b(\d{1,9})%b(\d{1,9})%b(\d{1,9})\s" % (_GAP, _GAP, _GAP))
_NO_NUMBER, _SPACE, _LINE_END = re.compile(rb"[^\d\s]"), re.compile(rb"\s"), re.compile(rb"[\n\r]")
_TOO_LONG = re.compile(rb"\d{10}")  # nine digits fit into 32 bits, and no value has more than five
_TEXT_AT_ONCE = 2**20
_LINE = 70  # characters of a line, at most, in the plain formats
_LINES_AT_ONCE = 4096


class _Header(NamedTuple):
    """What the header says, and where it ends.

    A bitmap's greatest value is 1, though there 1 is black; samples are turned round on the way in and out.
    """

    kind: int
    width: int
    height: int
    greatest: int
    end: int

    @property
    def is_plain(self) -> bool:
        return self.kind <= 3

    @property
    def is_bitmap(self) -> bool:
        return self.kind in (1, 4)

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, 3 if self.kind in (3, 6) else 1

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(np.uint8 if self.greatest < 256 else np.uint16)

    @property
    def row_bytes(self) -> int:
        """Of a raw row."""
        return (self.width + 7) // 8 if self.is_bitmap else self.width * self.shape[2] * self.dtype.itemsize


def probe(data: bytes) -> ImageInfo:
    """What the header says.

    Raises:
        Quarantine: UNSUPPORTED_IMAGE for PAM and PFM, CORRUPT_IMAGE for a header that readers would not agree on,
            MULTIPLE_FRAMES where another picture follows.
    """
    if data[1:2] not in b"123456":
        raise Quarantine(Reason.UNSUPPORTED_IMAGE, "netpbm other than PBM, PGM and PPM; convert it to PNG first")
    header = _header(data)
    if not header.is_plain:
        _refuse_another(data[header.end + header.row_bytes * header.height :][:4096])
    mode = "RGB" if header.shape[2] == 3 else "L"
    if header.dtype == np.uint16:
        mode = "RGB;16" if mode == "RGB" else "I;16"
    return ImageInfo("netpbm", header.width, header.height, 1, mode)


def decode(data: bytes, info: ImageInfo) -> Pixels:
    """The pixels, scaled so that the greatest value that the header allows is the greatest of 8 or 16 bits.

    Raises:
        Quarantine: TRUNCATED, or CORRUPT_IMAGE where a value is greater than the header allows.
    """
    header = _header(data)
    full = int(np.iinfo(header.dtype).max)
    return Pixels(_scaled(_samples(data, header), header.greatest, full), info.mode)


def encode(pixels: Pixels, data: bytes) -> bytes:
    """Encode pixels as the original is: plain or raw, with its greatest value. What is not painted keeps its value.

    Args:
        pixels: as `decode` returned them, painted on.
        data: the original.
    """
    header = _header(data)
    full = int(np.iinfo(header.dtype).max)
    return _written(_scaled(pixels.values, full, header.greatest), header)


def strip(data: bytes, exif: bytes) -> bytes:  # noqa: ARG001  there is no place for EXIF
    """The same picture, its header and numbers written in one way, without comments and what stands behind the pixels.

    Raises:
        Quarantine: as `decode`, or MULTIPLE_FRAMES where another picture follows.
    """
    header = _header(data)
    return _written(_samples(data, header), header)


def _header(data: bytes) -> _Header:
    found = _BITMAP.match(data) or _MAP.match(data)
    if not found:
        raise Quarantine(Reason.CORRUPT_IMAGE, "netpbm: the header cannot be read")
    kind, width, height, *greatest = map(int, found.groups())
    header = _Header(kind, width, height, greatest[0] if greatest else 1, found.end())
    if not width or not height or not 0 < header.greatest < 2**16:
        raise Quarantine(Reason.CORRUPT_IMAGE, "netpbm: its size or greatest value is none")
    return header


def _refuse_another(rest: bytes) -> None:
    """Refuses a file in which another picture follows; other bytes there mean nothing to readers."""
    following = rest.lstrip()
    if _BITMAP.match(following) or _MAP.match(following):
        raise Quarantine(Reason.MULTIPLE_FRAMES, "several pictures in one file")


def _scaled(values: Values, greatest: int, wanted: int) -> Values:
    """Values of one range in another, rounded: there and back again is the same where the other range is larger."""
    if greatest == wanted:
        return values
    table = (np.arange(greatest + 1, dtype=np.uint32) * wanted + greatest // 2) // greatest
    return cast("Values", table.astype(values.dtype)[values])


def _samples(data: bytes, header: _Header) -> Values:
    """The values as they are stored, `[H, W, C]`, 0 being black."""
    stored = _plain_samples(data, header) if header.is_plain else _raw_samples(data, header)
    samples = cast("Values", stored.astype(header.dtype, copy=False).reshape(header.shape))
    return 1 - samples if header.is_bitmap else samples


def _raw_samples(data: bytes, header: _Header) -> NDArray[Any]:
    length = header.row_bytes * header.height
    if len(data) - header.end < length:
        raise Quarantine(Reason.TRUNCATED, f"netpbm: {len(data) - header.end} of {length} bytes of pixels")
    stored = np.frombuffer(data, np.uint8, length, header.end)
    if header.is_bitmap:
        return np.unpackbits(stored.reshape(header.height, -1), axis=1, count=header.width)
    return _checked(stored.view(header.dtype.newbyteorder(">")), header)


def _plain_samples(data: bytes, header: _Header) -> NDArray[Any]:
    count = int(np.prod(header.shape))
    if len(data) - header.end < (count if header.is_bitmap else 2 * count - 1):  # before memory is taken for them
        raise Quarantine(Reason.TRUNCATED, "netpbm: there are fewer numbers than values")
    values = np.empty(count, header.dtype)
    filled = 0
    for text in _texts(data, header.end):
        numbers = _checked(_numbers(text, header)[: count - filled], header)
        values[filled : filled + len(numbers)] = numbers
        filled += len(numbers)
    if filled < count:
        raise Quarantine(Reason.TRUNCATED, f"netpbm: {filled} of {count} values")
    return values


def _texts(data: bytes, start: int) -> Iterator[bytes]:
    """The digits and white space of plain pixels in pieces, numbers whole, without comments and what stands behind."""
    while start < len(data):
        other = _NO_NUMBER.search(data, start)
        end = other.start() if other else len(data)
        while start < end:
            gap = _SPACE.search(data, min(start + _TEXT_AT_ONCE, end), end)
            cut = gap.start() if gap else end
            yield data[start:cut]
            start = cut
        if other and other[0] != b"#":
            _refuse_another(data[end : end + 4096])
            return
        line_end = _LINE_END.search(data, end)
        start = line_end.start() if line_end else len(data)


def _numbers(text: bytes, header: _Header) -> NDArray[Any]:
    if header.is_bitmap:  # digits need no white space between them
        return np.frombuffer(text.translate(None, b" \t\n\v\f\r"), np.uint8) - ord("0")
    if _TOO_LONG.search(text):
        raise Quarantine(Reason.CORRUPT_IMAGE, "netpbm: a number is longer than any value")
    return np.fromstring(text, np.uint32, sep=" ") if text.strip() else np.empty(0, np.uint32)


def _checked(values: NDArray[Any], header: _Header) -> NDArray[Any]:
    """Refuses values that readers would show in different ways."""
    if values.size and values.max() > header.greatest:
        raise Quarantine(
            Reason.CORRUPT_IMAGE, f"netpbm: a value is greater than {header.greatest}, as the header has it"
        )
    return values


def _written(samples: Values, header: _Header) -> bytes:
    greatest = "" if header.is_bitmap else f"{header.greatest}\n"
    start = f"P{header.kind}\n{header.width} {header.height}\n{greatest}".encode()
    stored = 1 - samples if header.is_bitmap else samples
    if header.is_plain:
        return b"".join([start, *_lines(stored.reshape(-1), header)])
    if header.is_bitmap:
        return start + np.packbits(stored[..., 0], axis=1).tobytes()
    return start + stored.astype(header.dtype.newbyteorder(">"), copy=False).tobytes()


def _lines(values: Values, header: _Header) -> Iterator[bytes]:
    """The numbers as text, in lines that are no longer than they may be."""
    gap = "" if header.is_bitmap else " "
    spelt = [str(value) for value in range(header.greatest + 1)]
    in_a_line = _LINE // (len(spelt[-1]) + len(gap))
    for start in range(0, len(values), in_a_line * _LINES_AT_ONCE):
        some = [spelt[value] for value in values[start : start + in_a_line * _LINES_AT_ONCE].tolist()]
        lines = (gap.join(some[place : place + in_a_line]) for place in range(0, len(some), in_a_line))
        yield "".join(f"{line}\n" for line in lines).encode()
