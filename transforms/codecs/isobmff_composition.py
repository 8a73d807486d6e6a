"""How AVIF and HEIF pictures are put together from items, and whether the parts hold more than the whole shows.

ISO/IEC 23008-12, section 6.6.2: an item may be a grid of others (``grid``), others laid over a canvas (``iovl``), or
another one as it is (``iden``); and a property may cut an item (``clap``, ISO/IEC 14496-12, section 12.1.4). Readers of
the parts see what the composed picture hides.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from faceveil.transforms.arrays import Values
from faceveil.transforms.codecs.isobmff_items import Meta, boxes_of
from faceveil.transforms.quarantine import Quarantine, Reason

DERIVED = {b"grid", b"iovl", b"iden"}
"""Items that are made from others, to which they refer; what a coded item refers to is another matter."""

_LAYERED = {b"a1op", b"lsel", b"a1lx"}  # AV1 in several layers, of which one is shown

_PADDING_LEVELS = 4
"""How far, of 255, padding may be from its median along the way from the edge: as much as coding usually does to it."""

_PADDING_SHARE = 0.995
"""Of the padding's pixels that have to be as near."""


class Grid(NamedTuple):
    """A grid item: tiles of one size, and the canvas that is cut from them, from the upper left corner, in pixels."""

    rows: int
    columns: int
    width: int
    height: int
    tile_width: int
    tile_height: int

    @property
    def is_cut(self) -> bool:
        """Whether the tiles reach beyond the canvas."""
        return (self.columns * self.tile_width, self.rows * self.tile_height) != (self.width, self.height)


Parts = Mapping[int, Sequence[int]]
"""The items that each derived one is made from, in order."""


def parts_of(meta: Meta) -> Parts:
    """What the derived items are made from; what a coded one refers to is no part of it."""
    parts: defaultdict[int, list[int]] = defaultdict(list)
    for kind, source, to in meta.references:
        if kind == b"dimg" and source in meta.items and meta.items[source].type in DERIVED:
            parts[source].append(to)
    return parts


def hides_pixels(meta: Meta, needed: set[int], parts: Parts, alpha: Sequence[int]) -> bool:
    """Whether the parts of a picture hold pixels that it does not show, but for what its tiles hold beyond its edge.

    What lies beyond the crop of an AVIF is shown: libavif hands out the whole picture, and leaves it to who shows it.

    Args:
        meta: the items.
        needed: those that the picture is made from, its own included.
        parts: as `parts_of` returns them.
        alpha: the items that are its alpha.

    Raises:
        Quarantine: CORRUPT_IMAGE for a grid that its tiles do not make.
    """
    is_hevc = any(meta.items[number].type == b"hvc1" for number in needed)
    alike = {number for number in (meta.primary, *alpha) if _crops(meta, number) == _crops(meta, meta.primary)}
    whole = set() if is_hevc else alike
    for number in needed:
        item = meta.items[number]
        names = {box[4:8] for box in boxes_of(meta, number)}
        if item.type in (b"iovl", b"iden") or names & _LAYERED or (number not in whole and _is_cropped(meta, number)):
            return True
        # The tiles of the picture itself may be padded; see `is_padding`.
        if item.type == b"grid" and grid_of(meta, number, parts).is_cut and number != meta.primary:
            return True
    return False


def grid_of(meta: Meta, number: int, parts: Parts) -> Grid:
    """The grid that an item describes (ISO/IEC 23008-12, section 6.6.2.3.2).

    Raises:
        Quarantine: CORRUPT_IMAGE when its tiles are not as many as it says, of different sizes or too small.
    """
    data, tiles = meta.items[number].data, parts.get(number, ())
    sizes = {size_of(meta, tile) for tile in tiles}
    try:
        _, flags, rows, columns = data[:4]
        width, height = struct.unpack_from(">II" if flags & 1 else ">HH", data, 4)
    except (ValueError, struct.error):
        sizes = set()
    if len(sizes) != 1 or None in sizes or len(tiles) != (rows + 1) * (columns + 1):
        raise Quarantine(Reason.CORRUPT_IMAGE, "heif: its grid is not made of as many tiles of one size as it says")
    [tile] = sizes
    assert tile
    grid = Grid(rows + 1, columns + 1, width, height, *tile)
    if not 0 < width <= grid.columns * grid.tile_width or not 0 < height <= grid.rows * grid.tile_height:
        raise Quarantine(Reason.CORRUPT_IMAGE, "heif: its grid is larger than its tiles")
    if (grid.columns - 1) * grid.tile_width >= width or (grid.rows - 1) * grid.tile_height >= height:
        raise Quarantine(Reason.CORRUPT_IMAGE, "heif: its grid has tiles that lie wholly outside")
    return grid


def size_of(meta: Meta, number: int) -> tuple[int, int] | None:
    """Width and height that an item is said to have (its ispe property)."""
    if number not in meta.items:
        return None
    return next((struct.unpack_from(">II", b, 12) for b in boxes_of(meta, number) if b[4:8] == b"ispe"), None)


def _crops(meta: Meta, number: int) -> list[bytes]:
    return [box for box in boxes_of(meta, number) if box[4:8] == b"clap"]


def _is_cropped(meta: Meta, number: int) -> bool:
    """Whether a clap property leaves anything out: width and height as fractions, before the offsets."""
    size = size_of(meta, number)
    for box in _crops(meta, number):
        if size is None or len(box) != 8 + 32:
            return True
        width, width_divisor, height, height_divisor = struct.unpack_from(">IIII", box, 8)
        if (width, height) != (size[0] * width_divisor, size[1] * height_divisor):
            return True
    return False


def is_padding(whole: Values, width: int, height: int) -> bool:
    """Whether what lies beyond a canvas only continues its edge, or is of one colour, as encoders fill up tiles.

    It then is the same along the way from the edge, but for what coding does to it; no picture is.

    Args:
        whole: the tiles' pixels, ``[H, W, C]``, as they are stored.
        width: the canvas's, from the left.
        height: the canvas's, from the top.
    """
    levels = _PADDING_LEVELS * (np.iinfo(whole.dtype).max // 255)
    for beyond, away in ((whole[:, width:], 1), (whole[height:, :width], 0)):
        if beyond.size:
            values = beyond.astype(np.int32)
            near = np.abs(values - np.median(values, axis=away, keepdims=True)) <= levels
            if near.mean() < _PADDING_SHARE:
                return False
    return True
