"""AV1 pictures in several tiles, and bytes that are hidden behind the coded data of these tiles.

Nothing here reads headers: where tiles begin is found by trying. The sizes of all but the last have to lead to the end,
and nothing shows other pixels when there are zeros behind a tile.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from PIL import Image

from tests.transforms.codecs.samples import encode, pillow

FRAME_HEADER, TILE_GROUP, FRAME = 3, 4, 6
_LONGEST_HEADER = 400  # bytes

Rebuild = Callable[[bytes], bytes]
"""A file with other data of its AV1 item."""


def tiled(image: Image.Image, rows: int, columns: int, **options: Any) -> bytes:
    """An AVIF of rows x columns tiles, both powers of two, as aom writes it."""
    logarithms = {"tile_rows": rows.bit_length() - 1, "tile_cols": columns.bit_length() - 1}
    return encode(image, "AVIF", **{"speed": 9, "codec": "aom", "autotiling": False, **logarithms, **options})


def with_hidden(content: bytes, secrets: dict[int, bytes], count: int, rebuild: Rebuild) -> bytes:
    """An item's data with bytes behind the coded data of some of its `count` tiles, by their numbers."""
    units = list(_units(content))
    number = 0
    for place, (kind, body) in enumerate(units):
        if kind in (FRAME, TILE_GROUP):
            at, size_bytes, tiles = _tiles(units, place, count, rebuild)
            changed = [tile + secrets.get(number + index, b"") for index, tile in enumerate(tiles)]
            units[place] = kind, _joined(body[:at], changed, size_bytes)
            number += len(tiles)
    assert number == count
    return _item(units)


def longest_tile(content: bytes, count: int, rebuild: Rebuild) -> int:
    """How many bytes the coded data of a tile of a frame have at most."""
    units = list(_units(content))
    place = next(place for place, (kind, _) in enumerate(units) if kind == FRAME)
    return max(map(len, _tiles(units, place, count, rebuild)[2]))


def _units(content: bytes) -> Iterator[tuple[int, bytes]]:
    position = 0
    while position < len(content):
        kind, size, shift = content[position] >> 3, 0, 0
        assert content[position] & 7 == 2  # no extension, but a size
        position += 1
        while True:
            size |= (content[position] & 127) << shift
            position, shift = position + 1, shift + 7
            if not content[position - 1] & 128:
                break
        yield kind, content[position : position + size]
        position += size


def _item(units: list[tuple[int, bytes]]) -> bytes:
    return b"".join(_unit(*unit) for unit in units)


def _unit(kind: int, body: bytes) -> bytes:
    size, rest = b"", len(body)
    while rest > 127:
        size, rest = size + bytes((rest & 127 | 128,)), rest >> 7
    return bytes((kind << 3 | 2,)) + size + bytes((rest,)) + body


def _tiles(units: list[tuple[int, bytes]], place: int, count: int, rebuild: Rebuild) -> tuple[int, int, list[bytes]]:
    """The tiles in a unit; where the first one's size stands, and how many bytes it has."""
    kind, body = units[place]
    if kind == TILE_GROUP:  # one byte that says which tiles these are, and sizes of four bytes, as aom writes them
        return 1, 4, _split(body, 1, 4, count // sum(kind == TILE_GROUP for kind, _ in units))
    pixels = pillow(rebuild(_item(units)))
    for at in range(3, _LONGEST_HEADER):
        for size_bytes in (1, 2, 3, 4):
            tiles = _split(body, at, size_bytes, count)
            longest = max(map(len, tiles), default=0)
            if 1 << 8 * size_bytes - 8 < longest < 1 << 8 * size_bytes:
                longer = _joined(body[:at], [tiles[0] + b"\0", *tiles[1:]], size_bytes)
                if _shows(rebuild(_item([*units[:place], (kind, longer), *units[place + 1 :]])), pixels):
                    return at, size_bytes, tiles
    raise AssertionError("there are no tiles")


def _split(body: bytes, at: int, size_bytes: int, count: int) -> list[bytes]:
    """The tiles, if so many begin there; else none."""
    tiles = []
    for _ in range(count - 1):
        size = int.from_bytes(body[at : at + size_bytes], "little") + 1
        tiles.append(body[at + size_bytes : at + size_bytes + size])
        at += size_bytes + size
        if at >= len(body):
            return []
    return [*tiles, body[at:]]


def _joined(prefix: bytes, tiles: list[bytes], size_bytes: int) -> bytes:
    """Sizes that do not fit are cut off: who hides something has to stay below what they can say."""
    sized = b"".join((len(tile) - 1).to_bytes(4, "little")[:size_bytes] + tile for tile in tiles[:-1])
    return prefix + sized + tiles[-1]


def _shows(data: bytes, pixels: np.ndarray) -> bool:
    try:
        return np.array_equal(pillow(data), pixels)
    except Exception:  # noqa: BLE001  it is no picture
        return False


def jpegs_in(data: bytes) -> list[tuple[int, int]]:
    """The sizes of the JPEGs that somebody finds who looks for their first bytes."""
    places = [place for place in range(len(data)) if data.startswith(b"\xff\xd8\xff", place)]
    return [size for size in (_size_of_jpeg(data[place:]) for place in places) if size]


def _size_of_jpeg(data: bytes) -> tuple[int, int] | None:
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG",)) as image:
            image.load()
            return image.size
    except Exception:  # noqa: BLE001  it only began like one
        return None
