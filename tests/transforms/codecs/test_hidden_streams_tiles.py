"""Pictures that hide behind the coded data of an AV1 frame's tiles, each of which says how long it is."""

import functools
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from faceveil.transforms.codecs.isobmff_read import read
from tests.transforms.codecs.hidden import cleaned, cover, face, holds, payload
from tests.transforms.codecs.samples import pillow
from tests.transforms.codecs.test_hidden_streams_isobmff import build, parts
from tests.transforms.codecs.tiles import jpegs_in, longest_tile, tiled, with_hidden

LAYOUTS = {"2x1": (2, 1), "1x2": (1, 2), "2x2": (2, 2), "4x4": (4, 4)}
SIZE = 256, 256  # four superblocks across and down
CODINGS: dict[str, dict[str, Any]] = {
    "lossy": {"quality": 60},
    "lossless": {"quality": 100, "subsampling": "4:4:4"},
    "4:4:4": {"quality": 75, "subsampling": "4:4:4"},
    "4:2:2": {"quality": 75, "subsampling": "4:2:2"},
    "grey": {"quality": 75, "subsampling": "4:0:0"},
    "slow": {"quality": 60, "speed": 3},
    "coarse": {"quality": 5},
}
ADVANCED = {
    "film grain": {"film-grain-test": "5"},
    "noise taken for grain": {"denoise-noise-level": "30"},
    "screen content": {"tune-content": "screen"},
    "cdef": {"enable-cdef": "1"},
    "no cdef": {"enable-cdef": "0"},
    "delta q": {"deltaq-mode": "3"},
    "segments": {"aq-mode": "1"},
    "matrices": {"enable-qm": "1"},
    "large superblocks": {"sb-size": "128"},
    "restoration": {"enable-restoration": "1"},
    "few transforms": {"reduced-tx-type-set": "1"},
    "contexts that stay": {"cdf-update-mode": "0"},
}


def attacked(data: bytes, secrets: dict[int, bytes], count: int) -> bytes:
    """The file with something behind some of its picture's tiles, which shows what it has shown before."""
    boxes, kind, content = parts(data)
    changed = build(boxes, kind, with_hidden(content, secrets, count, lambda item: build(boxes, kind, item)))
    np.testing.assert_array_equal(pillow(changed), pillow(data))
    return changed


def assert_is_clean(output: bytes, secret: bytes, original: bytes) -> None:
    """Nothing of the secret is left, and the picture's data are those in which it was hidden."""
    assert not holds(output, secret)
    assert jpegs_in(output) == []
    assert parts(output)[2] == parts(original)[2]


@functools.cache
def picture(layout: str, coding: str) -> bytes:
    return tiled(cover(*SIZE), *LAYOUTS[layout], **CODINGS[coding])


def short(data: bytes, count: int) -> bytes:
    """The JPEG as far as the sizes of a file's tiles can say it is there."""
    boxes, kind, content = parts(data)
    longest = longest_tile(content, count, lambda item: build(boxes, kind, item))
    return payload() if longest > 256 else payload()[: 256 - longest]


@pytest.mark.parametrize(
    ("layout", "number"),
    [("2x1", 0), ("2x1", 1), ("1x2", 0), ("2x2", 1), ("2x2", 3), ("4x4", 0), ("4x4", 6), ("4x4", 15)],
)
@pytest.mark.parametrize("coding", CODINGS)
def test_bytes_behind_the_coded_data_of_a_tile_do_not_pass(layout: str, number: int, coding: str) -> None:
    rows, columns = LAYOUTS[layout]
    count = rows * columns
    data = picture(layout, coding)
    secret = payload() if number == count - 1 else short(data, count)
    changed = attacked(data, {number: secret}, count)
    assert secret in changed
    assert_is_clean(cleaned(changed), secret, data)


@pytest.mark.parametrize("name", ADVANCED)
def test_bytes_behind_a_tile_do_not_pass_whatever_tools_the_encoder_used(name: str) -> None:
    data = tiled(cover(512, 512), 2, 2, quality=70, speed=5, advanced=ADVANCED[name])
    changed = attacked(data, {1: payload()}, 4)
    assert (256, 256) in jpegs_in(changed)
    assert_is_clean(cleaned(changed), payload(), data)


def test_bytes_behind_tiles_in_several_groups_do_not_pass() -> None:
    data = tiled(cover(512, 512), 2, 2, quality=70, advanced={"num-tile-groups": "2"})
    for number in range(4):
        assert_is_clean(cleaned(attacked(data, {number: payload()}, 4)), payload(), data)


def test_bytes_behind_all_tiles_do_not_pass() -> None:
    data = picture("4x4", "lossy")
    pieces = {number: payload()[440 * number :][:440] for number in range(16)}
    output = cleaned(attacked(data, pieces, 16))
    assert not any(holds(output, piece, 16) for piece in pieces.values())
    assert parts(output)[2] == parts(data)[2]


@pytest.mark.parametrize("length", [1, 4, 8, 9, 20, 31])
def test_a_few_bytes_behind_each_of_many_tiles_do_not_add_up(length: int) -> None:
    data = picture("4x4", "lossy")
    output = cleaned(attacked(data, {number: payload()[100:][:length] for number in range(16)}, 16))
    assert output
    assert len(parts(output)[2]) - len(parts(data)[2]) <= 128


@pytest.mark.parametrize("of_alpha", [False, True])
def test_bytes_behind_a_tile_of_colours_or_alpha_do_not_pass(of_alpha: bool) -> None:
    image = Image.merge("RGBA", (*cover(512, 512).split(), face(512, 512).convert("L")))
    data = tiled(image, 2, 2, quality=70)
    meta = read(data)
    number = next(number for number, item in meta.items.items() if (number != meta.primary) is of_alpha)
    content = meta.items[number].data
    boxes = [meta.properties[place] for place, _ in meta.items[number].properties]
    longer = with_hidden(content, {2: payload()}, 4, lambda item: build(boxes, b"av01", item))
    changed = moved(data, content, longer)
    np.testing.assert_array_equal(pillow(changed), pillow(data))
    output = cleaned(changed)
    assert not holds(output, payload())
    assert {item.data for item in read(output).items.values()} == {item.data for item in meta.items.values()}


def moved(data: bytes, content: bytes, longer: bytes) -> bytes:
    """The file with an item's data behind its end, where their place in it is said in four bytes each."""
    place = data.index(content).to_bytes(4, "big") + len(content).to_bytes(4, "big")
    assert data.count(place) == 1
    # Boxes go up to the file's end, so the new data are in one of their own.
    new_place = (len(data) + 8).to_bytes(4, "big") + len(longer).to_bytes(4, "big")
    return data.replace(place, new_place) + (len(longer) + 8).to_bytes(4, "big") + b"mdat" + longer


def test_zeros_behind_a_tile_stay_since_encoders_may_append_them() -> None:
    data = attacked(picture("2x2", "lossy"), {1: bytes(100)}, 4)
    assert parts(cleaned(data))[2] == parts(data)[2]


def test_other_decoders_show_the_same_picture(tmp_path: Path) -> None:
    ffmpeg = shutil.which("ffmpeg")
    if ffmpeg is None:
        pytest.skip("ffmpeg is not installed")
    data = picture("4x4", "lossy")
    shown = []
    for number, file in enumerate((data, cleaned(attacked(data, {5: short(data, 16)}, 16)))):
        (tmp_path / f"{number}.avif").write_bytes(file)
        command: list[str | Path] = [ffmpeg, "-v", "error", "-i", tmp_path / f"{number}.avif", "-f", "rawvideo", "-"]
        shown.append(subprocess.run(command, capture_output=True, check=True).stdout)
    assert shown[0] == shown[1] != b""


ORDINARY = {
    **{f"{layout}, {coding}": (layout, {"size": SIZE, **CODINGS[coding]}) for layout in LAYOUTS for coding in CODINGS},
    **{name: ("2x2", {"quality": 70, "speed": 6, "advanced": options}) for name, options in ADVANCED.items()},
    "odd sides": ("2x2", {"size": (333, 211)}),
    "narrow last tiles": ("4x4", {"size": (260, 257)}),
    "groups": ("2x2", {"advanced": {"num-tile-groups": "4"}}),
    "white": ("2x2", {"size": (300, 200), "image": Image.new("RGB", (300, 200), "white")}),
    "noise": ("4x4", {"image": Image.effect_noise(SIZE, 90).convert("RGB"), "quality": 95}),
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_pictures_in_tiles_stay_as_they_are_coded(name: str) -> None:
    layout, given = ORDINARY[name]
    options = dict(given)
    image = options.pop("image", None) or cover(*options.pop("size", (400, 300)))
    data = tiled(image, *LAYOUTS[layout], **{key: value for key, value in options.items() if key != "size"})
    assert parts(cleaned(data))[2] == parts(data)[2]


def test_photos_that_pillow_divides_into_tiles_by_itself_stay_as_they_are_coded() -> None:
    data = tiled(cover(1300, 1100), 1, 1, quality=70, autotiling=True, max_threads=8)
    assert parts(cleaned(data))[2] == parts(data)[2]
