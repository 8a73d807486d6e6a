import io
import struct
from typing import Any

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import GifImagePlugin, Image

from faceveil.transforms.codecs import Pixels, decode_pixels, encode_pixels, probe, strip_metadata
from faceveil.transforms.quarantine import Quarantine, Reason
from tests.transforms.codecs.samples import ICC, XMP, encode, picture, pillow

PIECES = [ICC[start : start + 200] for start in range(0, len(ICC), 200)]
PROFILE = b"\x21\xff\x0bICCRGBG1012" + b"".join(bytes((len(piece),)) + piece for piece in PIECES) + b"\0"


def paletted(colours: int = 256) -> Image.Image:
    return picture().quantize(colours)


def laden(data: bytes) -> bytes:
    """With a comment, XMP and a profile before the picture, and bytes behind the end."""
    comment = b"\x21\xfe\x08somebody\x00"
    xmp = b"\x21\xff\x0bXMP DataXMP" + bytes((len(XMP),)) + XMP + b"\0"
    start = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    return data[:start] + comment + xmp + PROFILE + data[start:] + b"trailing somebody"


@pytest.mark.parametrize("options", [{}, {"transparency": 5}, {"interlace": 0}])
def test_the_picture_and_the_profile_stay_and_all_else_goes(options: dict[str, Any]) -> None:
    plain = encode(paletted(), "GIF", **options)
    data = laden(plain)
    stripped = strip_metadata(data, probe(data))
    assert b"somebody" in data
    assert b"somebody" not in stripped
    assert PROFILE in stripped
    assert stripped.replace(PROFILE, b"") == plain
    assert strip_metadata(stripped, probe(stripped)) is stripped


@pytest.mark.parametrize("mode", ["L", "P", "1"])
@pytest.mark.parametrize("colours", [256, 40])
@pytest.mark.parametrize("transparency", [None, 3])
def test_what_is_not_painted_stays_exact(mode: str, colours: int, transparency: int | None) -> None:
    image = paletted(colours) if mode == "P" else picture(mode)
    options = {} if transparency is None else {"transparency": transparency}
    data = laden(encode(image, "GIF", **options))
    info = probe(data)
    pixels = decode_pixels(data, info)
    painted = pixels.values.copy()
    face = np.s_[10:40, 20:70]
    painted[face] = np.random.default_rng(0).integers(0, 256, painted[face].shape)
    if pixels.has_alpha:
        painted[face][..., -1] = 255
    written = encode_pixels(Pixels(painted, pixels.mode), data, info)
    assert b"somebody" not in written
    assert PROFILE in written
    before, after = pillow(data, "RGBA").astype(int), pillow(written, "RGBA").astype(int)
    outside = np.ones(before.shape[:2], bool)
    outside[face] = False
    np.testing.assert_array_equal(after[outside], before[outside])
    assert (after[face][..., 3] == 255).all()
    assert (after[face] != before[face]).any(axis=-1).mean() > 0.3


def test_a_new_colour_is_written_exactly_where_the_palette_has_room() -> None:
    data = encode(paletted(40), "GIF")
    info = probe(data)
    pixels = decode_pixels(data, info)
    painted = pixels.values.copy()
    painted[5:30, 5:30] = (1, 2, 3)
    np.testing.assert_array_equal(pillow(encode_pixels(Pixels(painted, "RGB"), data, info), "RGB"), painted)


def test_no_colour_of_what_was_painted_over_is_left_in_the_palette() -> None:
    image = Image.new("P", (40, 40))
    image.putpalette([0, 0, 0, 90, 80, 70, 11, 22, 33])
    image.paste(2, (10, 10, 20, 20))
    image.paste(1, (0, 0, 40, 5))
    data = encode(image, "GIF", optimize=False)
    info = probe(data)
    painted = decode_pixels(data, info).values.copy()
    painted[10:20, 10:20] = (90, 80, 70)
    assert bytes((11, 22, 33)) in data
    assert bytes((11, 22, 33)) not in encode_pixels(Pixels(painted, "RGB"), data, info)


def test_a_truncated_one_is_found() -> None:
    data = encode(paletted(), "GIF")
    with pytest.raises(Quarantine) as caught:
        strip_metadata(data[: len(data) // 2], probe(data))
    assert caught.value.reason == Reason.TRUNCATED
    with Image.open(io.BytesIO(data)) as image:
        assert isinstance(image, GifImagePlugin.GifImageFile)
        assert image.n_frames == 1


def test_one_that_ends_within_a_block_is_called_truncated_when_it_is_written_too() -> None:
    data = encode(paletted(), "GIF")[:-1] + b"\x21\xfe\x08some"  # behind the picture, where decoding does not look
    info = probe(data)
    pixels = decode_pixels(data, info)
    with pytest.raises(Quarantine, match="within a block") as caught:
        encode_pixels(pixels, data, info)
    assert caught.value.reason == Reason.TRUNCATED


SCREEN, PLACE = (97, 61), (20, 10, 60, 40)  # left, top, right, bottom of a picture that is smaller
OTHER_COLOURS = bytes(range(100, 200)) * 7 + bytes(68)
BACKGROUND = 5


def smaller(palette: str, transparency: int | None) -> bytes:
    """A picture of 40 x 30 px on a screen of 97 x 61, with colours of its own, the screen's, or both."""
    options = {} if transparency is None else {"transparency": transparency}
    plain = encode(picture(width=40, height=30).quantize(64), "GIF", **options)
    flags = plain[10]
    colours, rest = plain[13 : 13 + 3 * 64], plain[13 + 3 * 64 :]
    assert flags & 0x87 == 0x85
    at = rest.index(b",\0\0\0\0")
    screen = b"GIF89a" + struct.pack("<HH", *SCREEN)
    place = b"," + struct.pack("<HH", *PLACE[:2]) + rest[at + 5 : at + 9]
    if palette == "the screen's":
        head = screen + bytes((flags, BACKGROUND, 0)) + colours
        return head + rest[:at] + place + rest[at + 9 :]
    others = OTHER_COLOURS if palette == "both" else b""
    head = screen + bytes((0xF7 if others else 0x70, BACKGROUND, 0)) + others
    return head + rest[:at] + place + bytes((rest[at + 9] | 0x85,)) + colours + rest[at + 10 :]


def readings(data: bytes) -> dict[str, np.ndarray]:
    """What readers show; around a picture that is smaller than the screen they differ."""
    return {
        "Pillow": pillow(data, "RGBA"),
        "OpenCV": cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED),
        "TensorFlow": tf.io.decode_gif(data).numpy()[0],
    }


@pytest.mark.parametrize("transparency", [None, 3])
@pytest.mark.parametrize("palette", ["its own", "the screen's", "both"])
def test_a_picture_that_is_smaller_than_the_screen_stays_where_it_is(palette: str, transparency: int | None) -> None:
    data = smaller(palette, transparency)
    info = probe(data)
    assert (info.width, info.height) == SCREEN
    pixels = decode_pixels(data, info)
    face = np.s_[20:35, 30:50]
    painted = pixels.values.copy()
    painted[face][..., :3] = (1, 2, 3)
    painted[face][..., 3:] = 255
    painted[2:6, 2:6] = pixels.values.max()  # a mask that reaches beyond the picture, where there is nothing
    encoded = encode_pixels(Pixels(painted, pixels.mode), data, info)
    before = readings(data)
    for written in (strip_metadata(data, info), encoded):
        assert struct.unpack_from("<HH", written, 6) == SCREEN
        assert written[11] == BACKGROUND
        assert strip_metadata(written, probe(written)) is written
        for name, shown in readings(written).items():
            outside = np.ones(shown.shape[:2], np.bool_)
            outside[face] = written is not encoded
            np.testing.assert_array_equal(shown[outside], before[name][outside], err_msg=name)
    assert (pillow(encoded, "RGB")[face] == (1, 2, 3)).all()


def test_of_the_screen_s_colours_the_background_alone_stays_beside_a_picture_s_own() -> None:
    data = smaller("both", None)
    for written in (
        strip_metadata(data, probe(data)),
        encode_pixels(decode_pixels(data, probe(data)), data, probe(data)),
    ):
        colours = written[13 : 13 + 768]
        at = 3 * BACKGROUND
        assert colours[at : at + 3] == OTHER_COLOURS[at : at + 3]
        assert not any(colours[:at] + colours[at + 3 :])


def test_a_smaller_picture_that_cannot_be_copied_keeps_its_place_too() -> None:
    """Its codes hold more than its pixels, so it is encoded again as it is shown."""
    data = smaller("the screen's", None)
    laden = data[:-2] + b"\x05faces\0;"
    assert b"faces" not in strip_metadata(laden, probe(laden))
    for name, shown in readings(strip_metadata(laden, probe(laden))).items():
        np.testing.assert_array_equal(shown, readings(data)[name], err_msg=name)
