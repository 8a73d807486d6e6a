import io
import struct

import numpy as np
import pytest
from PIL import Image

from faceveil.transforms.codecs import Pixels, decode_pixels, encode_pixels, probe, strip_metadata
from faceveil.transforms.quarantine import Quarantine, Reason
from tests.transforms.codecs.samples import ICC, encode, picture, pillow


def with_alpha(profile: bytes = b"", kind: bytes = b"DEBM") -> tuple[bytes, np.ndarray]:
    """A 32-bit BMP with alpha and version 5 of the header, and its RGBA."""
    values = np.asarray(picture("RGBA"))
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    pixels = values[::-1][..., [2, 1, 0, 3]].tobytes()
    place = struct.pack("<II", 124 + len(pixels) if profile else 0, len(profile))
    header = struct.pack("<IiiHHIIiiII", 124, 97, 61, 1, 32, 3, 0, 2000, 2000, 0, 0) + masks
    header += (kind if profile else b"BGRs") + bytes(52) + place + bytes(4)
    return struct.pack("<2sIII", b"BM", 138 + len(pixels) + len(profile), 0, 138) + header + pixels + profile, values


def test_alpha_stays_exact() -> None:
    data, values = with_alpha(ICC)
    info = probe(data)
    painted = values.copy()
    painted[10:30, 20:50] = (0, 0, 0, 255)
    written = encode_pixels(Pixels(painted, "RGBA"), data, info)
    np.testing.assert_array_equal(pillow(written), painted)
    assert written.endswith(ICC)
    assert struct.unpack_from("<i", written, 38) == (2000,)
    assert strip_metadata(data + b"trailing", info) == data


def test_a_path_to_a_profile_goes() -> None:
    data, values = with_alpha(rb"C:\Users\somebody\profile.icc", b"KNIL")
    stripped = strip_metadata(data, probe(data))
    assert b"somebody" not in stripped
    np.testing.assert_array_equal(pillow(stripped), values)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_what_lies_between_and_behind_goes(mode: str) -> None:
    plain = encode(picture(mode), "BMP", dpi=(300, 300))
    (at,) = struct.unpack_from("<I", plain, 10)
    hidden = b"somebody was here"
    data = plain[:6] + b"abcd" + struct.pack("<I", at + len(hidden)) + plain[14:at] + hidden + plain[at:] + hidden
    info = probe(data)
    stripped = strip_metadata(data, info)
    assert hidden not in stripped
    assert stripped[14:] == plain[14:]
    np.testing.assert_array_equal(pillow(stripped), pillow(plain))
    assert strip_metadata(stripped, info) is stripped
    with Image.open(io.BytesIO(encode_pixels(decode_pixels(data, info), data, info))) as image:
        assert image.info["dpi"] == Image.open(io.BytesIO(plain)).info["dpi"]


def test_run_lengths_are_followed_to_their_end() -> None:
    rows = b"\x04\x01\x00\x00" + b"\x00\x03\x02\x03\x04\x00\x01\x05\x00\x00" + b"\x00\x02\x01\x00\x03\x06\x00\x01"
    palette = bytes(value if value % 4 < 3 else 0 for value in range(28))
    header = struct.pack("<IiiHHIIiiII", 40, 4, 3, 1, 8, 1, 0, 0, 0, 7, 0)
    at = 14 + 40 + len(palette)
    data = struct.pack("<2sIII", b"BM", at + len(rows), 0, at) + header + palette + rows
    info = probe(data)
    assert strip_metadata(data + b"somebody", info)[54:] == data[54:]
    np.testing.assert_array_equal(pillow(strip_metadata(data, info), "RGB"), decode_pixels(data, info).values)


def test_a_truncated_one_is_found() -> None:
    data = encode(picture(), "BMP")
    with pytest.raises(Quarantine) as caught:
        strip_metadata(data[:-1], probe(data))
    assert caught.value.reason == Reason.TRUNCATED


@pytest.mark.parametrize("mode", ["RGB", "P", "L"])
def test_pixels_that_are_said_to_begin_at_zero_begin_behind_the_headers(mode: str) -> None:
    plain = encode(picture(mode), "BMP")
    data = plain[:10] + bytes(4) + plain[14:]
    info = probe(data)
    pixels = decode_pixels(data, info)
    np.testing.assert_array_equal(pixels.values, decode_pixels(plain, info).values)
    np.testing.assert_array_equal(pillow(strip_metadata(data, info), "RGB"), pillow(plain, "RGB"))
    np.testing.assert_array_equal(pillow(encode_pixels(pixels, data, info), "RGB"), pillow(plain, "RGB"))
