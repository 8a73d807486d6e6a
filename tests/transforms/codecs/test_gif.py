import io

import numpy as np
import pytest
from PIL import Image

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
def test_the_picture_and_the_profile_stay_and_all_else_goes(options):
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
def test_what_is_not_painted_stays_exact(mode, colours, transparency):
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


def test_a_new_colour_is_written_exactly_where_the_palette_has_room():
    data = encode(paletted(40), "GIF")
    info = probe(data)
    pixels = decode_pixels(data, info)
    painted = pixels.values.copy()
    painted[5:30, 5:30] = (1, 2, 3)
    np.testing.assert_array_equal(pillow(encode_pixels(Pixels(painted, "RGB"), data, info), "RGB"), painted)


def test_no_colour_of_what_was_painted_over_is_left_in_the_palette():
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


def test_a_truncated_one_is_found():
    data = encode(paletted(), "GIF")
    with pytest.raises(Quarantine) as caught:
        strip_metadata(data[: len(data) // 2], probe(data))
    assert caught.value.reason == Reason.TRUNCATED
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 1


def test_one_that_ends_within_a_block_is_called_truncated_when_it_is_written_too():
    data = encode(paletted(), "GIF")[:-1] + b"\x21\xfe\x08some"  # behind the picture, where decoding does not look
    info = probe(data)
    pixels = decode_pixels(data, info)
    with pytest.raises(Quarantine, match="within a block") as caught:
        encode_pixels(pixels, data, info)
    assert caught.value.reason == Reason.TRUNCATED
