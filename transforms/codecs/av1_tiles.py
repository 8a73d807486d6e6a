"""Which tiles of an AV1 picture decoders read to their ends, from one or a few decodings for all tiles together.

Where a tile shows other pixels with other bytes at its end, decoders read these. All tiles get other ends at once.
Filters blend the pixels of neighbouring tiles, so those are turned off whose strengths are in the frame's header alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from faceveil.transforms.codecs.accounting import Unaccounted
from faceveil.transforms.codecs.av1 import Picture

_SLACK, _SLACK_OF_A_PICTURE = 8, 128
"""Bytes at the end of a tile of which one has to be read. All tiles together may have so many that are not."""

_ROOM = 4096
"""Zeros behind a tile's other end: it may take more bytes to read, and dav1d shows no picture that ends too early."""

_MAX_HALVED = 64  # tiles that are told apart by decoding half of them again and again

Decode = Callable[[bytes], np.ndarray | None]


def slack(tiles: int) -> int:
    """How many bytes at the end of each of so many tiles are looked at, of which one has to be read."""
    return min(_SLACK, 1 + _SLACK_OF_A_PICTURE // tiles)


def suspects(picture: Picture, decode: Decode) -> list[int]:
    """The numbers of the tiles that show the same pixels with other bytes at their ends, or may do so.

    Args:
        picture: of several tiles.
        decode: the pixels of units, ``[H, W]`` or ``[H, W, C]``; None where they cannot be decoded.

    Raises:
        Unaccounted: the picture cannot be decoded.
    """
    pixels = decode(picture.joined(picture.tiles, plain=True))
    if pixels is None:
        raise Unaccounted("an AV1 picture cannot be decoded alone")
    long = [number for number, tile in enumerate(picture.tiles) if len(tile) > slack(len(picture.tiles))]
    rest = _unchanged(long, picture, pixels, decode)
    # Tiles that do not touch: what changes in one of them has its cause there, however near the edge it is.
    columns = len(picture.frame.columns) - 1
    for parity in ((0, 0), (0, 1), (1, 0), (1, 1)):
        apart = [number for number in rest if (number // columns % 2, number % columns % 2) == parity]
        still = _unchanged(apart, picture, pixels, decode)
        rest = [number for number in rest if number not in apart or number in still]
    return rest


def _unchanged(numbers: Sequence[int], picture: Picture, pixels: np.ndarray, decode: Decode) -> list[int]:
    """Those of some tiles that are not seen to change when all of them get other ends."""
    if not numbers:
        return []
    other = decode(picture.joined(_with_other_ends(numbers, picture), plain=True))
    if other is None:  # one of them no longer is a tile, so its end is read
        if len(numbers) > _MAX_HALVED:
            return list(numbers)
        half = len(numbers) // 2
        parts = (numbers[:half], numbers[half:]) if len(numbers) > 1 else ()
        return [number for part in parts for number in _unchanged(part, picture, pixels, decode)]
    areas = {number: _area(number, numbers, picture, pixels) for number in numbers}
    return [number for number, area in areas.items() if np.array_equal(other[area], pixels[area])]


def _with_other_ends(numbers: Sequence[int], picture: Picture) -> list[bytes]:
    tiles = list(picture.tiles)
    count = slack(len(tiles))
    for number in numbers:
        tile = tiles[number]
        end = bytes(byte ^ 0xFF for byte in tile[-count:])
        tiles[number] = tile[:-count] + end + bytes(_ROOM)
    return tiles


def _area(number: int, numbers: Sequence[int], picture: Picture, pixels: np.ndarray) -> tuple[slice, slice]:
    """The part of the pixels that a tile tells on, and none of its neighbours among these tiles."""
    frame = picture.frame
    row, column = divmod(number, len(frame.columns) - 1)
    neighbours = {
        (down, across)
        for down, across in (divmod(other, len(frame.columns) - 1) for other in numbers)
        if abs(down - row) <= 1 and abs(across - column) <= 1
    }
    return (
        _span(frame.rows, row, {down for down, _ in neighbours}, frame.reach, pixels.shape[0]),
        _span(frame.columns, column, {across for _, across in neighbours}, frame.reach, pixels.shape[1]),
    )


def _span(borders: Sequence[int], place: int, among: set[int], reach: int, length: int) -> slice:
    """A tile's rows or columns, less those near to a neighbour, scaled to a picture's side, as superres has it."""
    begin = borders[place] + reach * (place - 1 in among)
    end = borders[place + 1] - reach * (place + 1 in among)
    return slice(-(-begin * length // borders[-1]), end * length // borders[-1])
