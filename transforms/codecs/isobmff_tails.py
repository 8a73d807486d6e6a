"""Cutting off what no decoder reads at the ends of AV1's and HEVC's data.

How far arithmetic codes reach, only decoding them tells. Decoders do not refuse data that are too short, but they show
other pixels then. So where the pixels stay the same without the last few bytes, nobody read these bytes.
"""

from __future__ import annotations

import functools
import io
import struct
from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from faceveil.transforms.codecs import av1, heif, hevc
from faceveil.transforms.codecs.accounting import Unaccounted, without_tail
from faceveil.transforms.codecs.isobmff_boxes import write_box, write_full_box
from faceveil.transforms.memory import is_out_of_memory

_SLACK = 32
"""Bytes at the end of a unit that encoders may write in vain: x265 writes up to 27 for a white picture, else 1 or 2."""

_MOST_UNITS = 16  # slices or groups of tiles of one picture; each takes a decoding
_NEEDED = (b"av1C", b"hvcC", b"ispe", b"pixi")


def without_tails(kind: bytes, data: bytes, properties: Sequence[bytes]) -> bytes:
    """A coded item's data without the bytes at the ends of its units that no decoder reads.

    Args:
        kind: av01 or hvc1.
        data: of the item, as `isobmff_payloads.item` returns them.
        properties: the item's boxes.

    Raises:
        Unaccounted: it cannot be decoded alone, or consists of too many units.
    """
    boxes = [box for box in properties if box[4:8] in _NEEDED]
    units, join = _av1_units(data) if kind == b"av01" else _hevc_units(data, boxes)
    if sum(is_coded for is_coded, _, _ in units) > _MOST_UNITS:
        raise Unaccounted("a picture consists of too many units")
    pixels = _pixels(kind, data, boxes)
    if pixels is None:
        raise Unaccounted("an item cannot be decoded alone")

    def is_same(body: bytes, index: int) -> bool:
        """Whether the picture stays the same with this body of a unit."""
        other = _pixels(kind, join([*units[:index], (True, units[index][1], body), *units[index + 1 :]]), boxes)
        return other is not None and np.array_equal(other, pixels)

    before = [body for _, _, body in units]
    for index, (is_coded, head, body) in enumerate(units):
        if is_coded:
            units[index] = (True, head, without_tail(body, functools.partial(is_same, index=index), _SLACK))
    return data if [body for _, _, body in units] == before else join(units)


_Unit = tuple[bool, bytes, bytes]
"""Whether it holds pixels, what stands before its body, and its body."""


def _av1_units(data: bytes) -> tuple[list[_Unit], Callable[[list[_Unit]], bytes]]:
    units = [(kind in (av1.FRAME, av1.TILE_GROUP), *av1.split(unit)) for kind, unit in av1.units(data)]
    return units, lambda parts: b"".join(av1.join(head, body) for _, head, body in parts)


def _hevc_units(data: bytes, boxes: Sequence[bytes]) -> tuple[list[_Unit], Callable[[list[_Unit]], bytes]]:
    size = hevc.length_size(next((box[8:] for box in boxes if box[4:8] == b"hvcC"), b""))
    units = [(not hevc.is_parameters(unit), b"", unit) for unit in hevc.units(data, size)]
    return units, lambda parts: b"".join(len(body).to_bytes(size, "big") + body for _, _, body in parts)


def _pixels(kind: bytes, data: bytes, boxes: Sequence[bytes]) -> np.ndarray | None:
    """The decoded item; None when it cannot be decoded."""
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
