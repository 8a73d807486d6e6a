"""Cutting off what no decoder reads at the ends of AV1's and HEVC's data.

How far arithmetic codes reach, only decoding them tells. Decoders refuse data that are too short, or show other pixels
then. So where the pixels stay the same without the last few bytes, no decoder read these bytes.
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from faceveil.transforms.codecs import av1, av1_tiles, heif, hevc, libde265
from faceveil.transforms.codecs.accounting import Unaccounted, without_tail
from faceveil.transforms.codecs.isobmff_boxes import write_box, write_full_box
from faceveil.transforms.runtime.memory import is_out_of_memory

_SLACK = 32
"""Bytes at the end of a unit that encoders may write in vain: x265 writes up to 27 for a white picture, else 1 or 2."""

_MAX_UNITS = 16  # slices, or tiles that are looked at alone, of one picture; each takes a decoding
_NEEDED = (b"av1C", b"hvcC", b"ispe", b"pixi")


def without_tails(kind: bytes, data: bytes, properties: Sequence[bytes]) -> bytes:
    """A coded item's data without the bytes at the ends of its units or tiles that no decoder reads.

    Args:
        kind: av01 or hvc1.
        data: of the item, as `isobmff_payloads.item` returns them.
        properties: the item's boxes.

    Raises:
        Unaccounted: it cannot be decoded alone, is of a kind that is not known, or consists of too many units.
    """
    boxes = [box for box in properties if box[4:8] in _NEEDED]
    decode = functools.partial(_pixels, kind, boxes=boxes)
    pieces, suspects, slack, join = _av1_tiles(data, decode) if kind == b"av01" else _hevc_units(data, boxes)
    if len(suspects) > _MAX_UNITS:
        raise Unaccounted("a picture consists of too many units")
    if not suspects:
        return data
    pixels = decode(data)
    if pixels is None:
        raise Unaccounted("an item cannot be decoded alone, or parts of it do not follow each other")

    def is_same(body: bytes, place: int) -> bool:
        """Whether the picture stays the same with this body of a unit or tile."""
        other = decode(join([*pieces[:place], body, *pieces[place + 1 :]]))
        return other is not None and np.array_equal(other, pixels)

    for place in suspects:
        kept = without_tail(pieces[place], functools.partial(is_same, place=place), slack)
        if any(pieces[place][len(kept) :]):  # zeros stay, since some encoders append them
            pieces[place] = kept
    return join(pieces)


_Pieces = tuple[list[bytes], list[int], int, Callable[[list[bytes]], bytes]]
"""Pieces, the places of those whose ends may be unread, how long such an end may be, and how they are put together."""


def _av1_tiles(data: bytes, decode: av1_tiles.Decode) -> _Pieces:
    picture = av1.picture(data)
    tiles = list(picture.tiles)
    suspects = av1_tiles.suspects(picture, decode) if len(tiles) > 1 else [0]
    return tiles, suspects, av1_tiles.slack(len(tiles)), picture.joined


def _hevc_units(data: bytes, boxes: Sequence[bytes]) -> _Pieces:
    size = hevc.length_size(_configuration(boxes))
    units = list(hevc.units(data, size))
    coded = [place for place, unit in enumerate(units) if not hevc.is_parameters(unit)]
    return units, coded, _SLACK, lambda bodies: b"".join(len(body).to_bytes(size, "big") + body for body in bodies)


def _configuration(boxes: Sequence[bytes]) -> bytes:
    return next((box[8:] for box in boxes if box[4:8] == b"hvcC"), b"")


def _pixels(kind: bytes, data: bytes, *, boxes: Sequence[bytes]) -> np.ndarray | None:
    """The decoded item; None when it cannot be decoded, or has gaps."""
    if kind == b"hvc1":
        parts = hevc.in_parts(data, _configuration(boxes))
        if parts and not libde265.is_contiguous(parts):
            return None
    alone = _file(kind, data, boxes)
    try:
        if kind == b"hvc1":
            return heif.decode(alone)
        with Image.open(io.BytesIO(alone), formats=("AVIF",)) as image:
            return np.asarray(image)
    except Exception as error:
        if is_out_of_memory(error):
            raise
        return None


def _file(kind: bytes, data: bytes, boxes: Sequence[bytes]) -> bytes:
    """A file of one item."""
    uses = b"".join(
        bytes((0x80 | place if box[4:8] in (b"av1C", b"hvcC") else place,)) for place, box in enumerate(boxes, 1)
    )

    def meta(start: int) -> bytes:
        parts = (
            write_full_box(b"hdlr", bytes(4) + b"pict" + bytes(13)),
            write_full_box(b"pitm", struct.pack(">H", 1)),
            write_full_box(b"iloc", struct.pack(">HHHHHII", 0x4400, 1, 1, 0, 1, start, len(data))),
            write_full_box(
                b"iinf",
                struct.pack(">H", 1) + write_full_box(b"infe", struct.pack(">HH", 1, 0) + kind + b"\0", version=2),
            ),
            write_box(
                b"iprp",
                write_box(b"ipco", b"".join(boxes))
                + write_full_box(b"ipma", struct.pack(">IHB", 1, 1, len(boxes)) + uses),
            ),
        )
        return write_full_box(b"meta", b"".join(parts))

    brand = b"avif" if kind == b"av01" else b"heic"
    file_type = write_box(b"ftyp", brand + bytes(4) + brand + b"mif1")
    start = len(file_type) + len(meta(0)) + 8
    return file_type + meta(start) + write_box(b"mdat", data)
