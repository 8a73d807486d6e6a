import struct
import zlib

import numpy as np
import pytest

from faceveil.transforms.codecs import (
    Pixels,
    decode_for_detection,
    decode_pixels,
    encode_pixels,
    png,
    probe,
    strip_metadata,
)
from tests.transforms.codecs.samples import ICC, XMP

COLOUR_TYPES = {"I;16": (0, 1), "RGB;16": (2, 3), "LA;16": (4, 2), "RGBA;16": (6, 4)}
ADAM7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]


def deep(mode: str, *, interlaced: bool = False, extra: bytes = b"") -> tuple[bytes, np.ndarray]:
    """A PNG of 16 bits per channel, put together by hand, and its values."""
    colour_type, channels = COLOUR_TYPES[mode]
    values = np.random.default_rng(3).integers(0, 2**16, (37, 29, channels), np.uint16)
    passes = [values[top::down, left::across] for top, left, down, across in ADAM7] if interlaced else [values]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for part in passes for row in part)
    header = struct.pack(">IIBBBBB", 29, 37, 16, colour_type, 0, 0, interlaced)
    parts = (png.chunk(b"IHDR", header), extra, png.chunk(b"IDAT", zlib.compress(rows)), png.chunk(b"IEND", b""))
    return png.SIGNATURE + b"".join(parts), values


def read(data: bytes) -> np.ndarray:
    """A decoder of its own for PNGs of 16 bits that are not interlaced (PNG specification, section 9)."""
    header = png.header(data)
    channels = {0: 1, 2: 3, 4: 2, 6: 4}[header.colour_type]
    stream = zlib.decompress(
        b"".join(data[start + 8 : end - 4] for name, start, end in png.chunks(data) if name == b"IDAT")
    )
    length, step = header.width * channels * 2, channels * 2
    above, rows = bytes(length), []
    for start in range(0, len(stream), length + 1):
        kind, row = stream[start], bytearray(stream[start + 1 : start + 1 + length])
        for i in range(length):
            left, up, corner = (row[i - step], above[i], above[i - step]) if i >= step else (0, above[i], 0)
            nearest = min((left, up, corner), key=lambda value: abs(left + up - corner - value))
            row[i] = (row[i] + (0, left, up, (left + up) // 2, nearest)[kind]) % 256
        above = bytes(row)
        rows.append(np.frombuffer(above, ">u2").reshape(-1, channels))
    return np.stack(rows).astype(np.uint16)


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("mode", COLOUR_TYPES)
def test_16_bits_are_decoded_and_encoded_exactly(mode, interlaced):
    data, values = deep(mode, interlaced=interlaced)
    info = probe(data)
    pixels = decode_pixels(data, info)
    assert pixels.mode == info.mode == mode
    np.testing.assert_array_equal(pixels.values, values)
    painted = values.copy()
    painted[3:20, 8:21] = pixels.black
    written = encode_pixels(Pixels(painted, mode), data, info)
    np.testing.assert_array_equal(read(written), painted)
    assert next(decode_for_detection(data, info, 64).renderings()).shape == (37, 29, 3)


def test_gamma_and_its_like_change_no_value_and_stay():
    colours = (b"gAMA", struct.pack(">I", 100000)), (b"cICP", bytes((12, 13, 0, 1))), (b"sRGB", b"\0")
    profile = (b"iCCP", b"name\0\0" + zlib.compress(ICC))
    density = (b"pHYs", struct.pack(">IIB", 3000, 3000, 1))
    kept = b"".join(png.chunk(name, content) for name, content in (*colours, profile, density))
    text = png.chunk(b"tEXt", b"Author\0somebody") + png.chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP)
    data, values = deep("RGB;16", extra=kept + text)
    info = probe(data)
    pixels = decode_pixels(data, info)
    np.testing.assert_array_equal(pixels.values, values)
    for written in (encode_pixels(pixels, data, info), strip_metadata(data, info)):
        assert kept in written
        assert b"somebody" not in written


def test_a_transparent_colour_of_16_bits_becomes_alpha():
    _, values = deep("RGB;16")
    data, _ = deep("RGB;16", extra=png.chunk(b"tRNS", values[5, 5].astype(">u2").tobytes()))
    pixels = decode_pixels(data, probe(data))
    assert pixels.mode == "RGBA;16"
    np.testing.assert_array_equal(pixels.values[..., :3], values)
    assert np.argwhere(pixels.values[..., 3] == 0).tolist() == [[5, 5]]
    np.testing.assert_array_equal(read(encode_pixels(pixels, data, probe(data))), pixels.values)
