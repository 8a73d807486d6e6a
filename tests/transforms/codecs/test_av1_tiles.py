"""Which tiles may have ends that nobody reads, and how many decodings tell that."""

import functools
from typing import Any

import numpy as np
import pytest
from PIL import Image

from faceveil.transforms.codecs import av1, av1_tiles, isobmff_tails
from faceveil.transforms.codecs.accounting import Unaccounted
from tests.transforms.codecs.hidden import cover, payload
from tests.transforms.codecs.test_hidden_streams_isobmff import parts
from tests.transforms.codecs.tiles import tiled


class Decoder:
    """Decodes the items of a file, and counts how often."""

    def __init__(self, file: bytes) -> None:
        self._boxes = [box for box in parts(file)[0] if box[4:8] != b"colr"]
        self.calls = 0

    def __call__(self, data: bytes) -> np.ndarray | None:
        self.calls += 1
        return isobmff_tails._pixels(b"av01", data, boxes=self._boxes)


def opened(file: bytes) -> tuple[av1.Picture, Decoder]:
    return av1.picture(parts(file)[2]), Decoder(file)


def padded(picture: av1.Picture, behind: dict[int, bytes]) -> av1.Picture:
    return av1.picture(picture.joined([tile + behind.get(number, b"") for number, tile in enumerate(picture.tiles)]))


@pytest.mark.parametrize("quality", [30, 60, 75, 90])
@pytest.mark.parametrize("side", [2, 4])
def test_two_decodings_tell_that_all_tiles_of_a_photo_are_read_to_their_ends(quality: int, side: int) -> None:
    picture, decode = opened(tiled(cover(768, 512), side, side, quality=quality))
    assert av1_tiles.suspects(picture, decode) == []
    assert decode.calls == 2


@functools.cache
def photo(coding: str) -> bytes:
    return tiled(cover(512, 512), 4, 4, **CODINGS[coding])


CODINGS: dict[str, dict[str, Any]] = {
    "lossy": {},
    "lossless": {"quality": 100, "subsampling": "4:4:4"},
    "slow": {"speed": 3, "quality": 40},
}


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("numbers", [{0}, {5}, {15}, {5, 6}, {0, 3, 12, 15}, {1, 4, 6, 9}, set(range(16))], ids=str)
def test_tiles_with_more_behind_them_than_is_read_are_suspects(coding: str, numbers: set[int]) -> None:
    picture, decode = opened(photo(coding))
    changed = padded(picture, dict.fromkeys(numbers, payload()[:200]))
    assert av1_tiles.suspects(changed, decode) == sorted(numbers)
    assert decode.calls <= 6


@pytest.mark.parametrize("count", [1, 4, 7])
def test_fewer_bytes_than_the_slack_are_no_reason_to_suspect_a_tile_of_several(count: int) -> None:
    picture, decode = opened(tiled(cover(512, 512), 2, 2))
    assert av1_tiles.slack(4) == 8
    assert av1_tiles.suspects(padded(picture, {1: payload()[:count]}), decode) == []
    assert av1_tiles.suspects(padded(picture, {1: payload()[:8]}), decode) == [1]


def test_the_more_tiles_there_are_the_less_may_stand_behind_each() -> None:
    for tiles in range(1, 4097):
        assert (av1_tiles.slack(tiles) - 1) * tiles <= 128
    assert av1_tiles.slack(4096) == 1


def test_tiles_that_decoders_refuse_with_another_end_are_read_to_their_ends() -> None:
    picture, decode = opened(photo("lossy"))
    changed = padded(picture, {6: payload()[:200]})

    def strict(data: bytes) -> np.ndarray | None:
        """Refuses the other ends of these tiles, as dav1d does where they lead to blocks that 4:2:2 has not."""
        others = av1.picture(data).tiles
        return None if any(others[number] != changed.tiles[number] for number in (0, 5, 9)) else decode(data)

    assert av1_tiles.suspects(changed, strict) == [6]


@pytest.mark.parametrize("numbers", [[], [0, 1, 2, 3]])
def test_white_tiles_are_looked_at_too(numbers: list[int]) -> None:
    picture, decode = opened(tiled(Image.new("RGB", (512, 512), "white"), 2, 2))
    assert av1_tiles.suspects(padded(picture, dict.fromkeys(numbers, payload()[:100])), decode) == numbers


def test_a_picture_that_cannot_be_decoded_is_not_accounted_for() -> None:
    picture, _ = opened(tiled(cover(512, 512), 2, 2))
    with pytest.raises(Unaccounted):
        av1_tiles.suspects(picture, lambda _: None)
