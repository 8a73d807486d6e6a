import struct
import zlib
from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from faceveil.transforms.codecs import (
    Pixels,
    decode_for_detection,
    decode_pixels,
    encode_pixels,
    png,
    probe,
    strip_metadata,
)
from faceveil.transforms.quarantine import Quarantine, Reason
from tests.transforms.codecs.samples import ICC, XMP, encode, exif, picture
from tests.transforms.codecs.test_icc import profile as icc_profile

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
def test_16_bits_are_decoded_and_encoded_exactly(mode: str, interlaced: bool) -> None:
    data, values = deep(mode, interlaced=interlaced)
    info = probe(data)
    pixels = decode_pixels(data, info)
    assert pixels.mode == info.mode == mode
    np.testing.assert_array_equal(pixels.values, values)
    painted = values.copy()
    painted[3:20, 8:21] = pixels.black
    written = encode_pixels(Pixels(painted, mode), data, info)
    np.testing.assert_array_equal(read(written), painted)
    assert next(decode_for_detection(data, info, 64).renderings()).rgb.shape == (37, 29, 3)


def test_gamma_and_its_like_change_no_value_and_stay() -> None:
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


def test_a_transparent_colour_of_16_bits_becomes_alpha() -> None:
    _, values = deep("RGB;16")
    data, _ = deep("RGB;16", extra=png.chunk(b"tRNS", values[5, 5].astype(">u2").tobytes()))
    pixels = decode_pixels(data, probe(data))
    assert pixels.mode == "RGBA;16"
    np.testing.assert_array_equal(pixels.values[..., :3], values)
    assert np.argwhere(pixels.values[..., 3] == 0).tolist() == [[5, 5]]
    np.testing.assert_array_equal(read(encode_pixels(pixels, data, probe(data))), pixels.values)


LARGE = 3 << 20  # Pillow reads no text or profile that is larger than a megabyte
BEYOND_PILLOW = {
    "a large zTXt": png.chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(LARGE))),
    "a large iTXt": png.chunk(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(b"x" * LARGE)),
    "a large iCCP": png.chunk(b"iCCP", b"name\0\0" + zlib.compress(bytes(LARGE))),
    "70 MB of tEXt": png.chunk(b"tEXt", b"Comment\0" + b"x" * (70 << 20)),
    "a zTXt of an unknown method": png.chunk(b"zTXt", b"Comment\0\1" + zlib.compress(b"x")),
    "an iCCP of an unknown method": png.chunk(b"iCCP", b"name\0\1" + zlib.compress(ICC)),
    **{f"an empty {name}": png.chunk(name.encode(), b"") for name in ("iCCP", "gAMA", "cHRM", "sRGB", "pHYs", "tRNS")},
    "an acTL that is cut off": png.chunk(b"acTL", b"\0"),
    "an fcTL that is cut off": png.chunk(b"fcTL", b"\0"),
}


def with_wrong_checksum(chunk: bytes) -> bytes:
    return chunk[:-1] + bytes((chunk[-1] ^ 1,))


WRONG_CHECKSUMS = {
    name: with_wrong_checksum(png.chunk(name.encode(), content))
    for name, content in {
        "tEXt": b"Author\0somebody",
        "gAMA": struct.pack(">I", 100000),
        "pHYs": struct.pack(">IIB", 3000, 3000, 1),
        "tRNS": bytes(6),
        "iCCP": b"name\0\0" + zlib.compress(ICC),
        "eXIf": exif(6)[6:],
        "tIME": bytes(7),
        "prIv": b"somebody",
    }.items()
}


@pytest.mark.parametrize("place", ["before its pixels", "behind its pixels"])
@pytest.mark.parametrize(
    "chunk",
    [*BEYOND_PILLOW.values(), *WRONG_CHECKSUMS.values()],
    ids=[*BEYOND_PILLOW, *(f"{name} with a wrong checksum" for name in WRONG_CHECKSUMS)],
)
def test_what_goes_anyway_stops_no_image(chunk: bytes, place: str) -> None:
    plain = encode(picture(), "PNG")
    at = 33 if place == "before its pixels" else plain.index(b"IEND") - 4
    data = plain[:at] + chunk + plain[at:]
    np.testing.assert_array_equal(tf.io.decode_png(data), np.asarray(picture()))  # TensorFlow shows it
    info = probe(data)
    assert replace(info, other_orientations=()) == probe(plain)
    pixels = decode_pixels(data, info)
    np.testing.assert_array_equal(pixels.values, np.asarray(picture()))
    assert strip_metadata(data, info) == plain
    assert encode_pixels(pixels, data, info) == encode_pixels(pixels, plain, info)


@pytest.mark.parametrize("chunk", [BEYOND_PILLOW["a large iTXt"], WRONG_CHECKSUMS["gAMA"]])
def test_what_goes_anyway_stops_no_image_of_16_bits(chunk: bytes) -> None:
    data, values = deep("RGB;16", extra=chunk)
    info = probe(data)
    np.testing.assert_array_equal(decode_pixels(data, info).values, values)
    assert strip_metadata(data, info) == deep("RGB;16")[0]


def test_a_large_profile_stays() -> None:
    """Those of presses take two megabytes; this one has a large table of colours."""
    steps = np.linspace(0, 0xFFFF, 57).astype(">u2")
    table = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).tobytes()
    head = b"mft2" + bytes(4) + bytes((3, 3, 57, 0)) + bytes(36) + struct.pack(">HH", 2, 2)
    profile = icc_profile({b"A2B0": head + 3 * b"\0\0\xff\xff" + table + 3 * b"\0\0\xff\xff"})
    assert len(profile) > 1 << 20
    data = encode(picture(), "PNG", icc_profile=profile)
    info = probe(data)
    for written in (strip_metadata(data, info), encode_pixels(decode_pixels(data, info), data, info)):
        content = next(written[start + 8 : end - 4] for name, start, end in png.chunks(written) if name == b"iCCP")
        assert zlib.decompress(content.partition(b"\0")[2][1:]) == profile


def test_a_wrong_checksum_of_the_header_is_damage() -> None:
    data = encode(picture(), "PNG")
    with pytest.raises(Quarantine) as caught:
        probe(data[:29] + with_wrong_checksum(data[29:33]) + data[33:])
    assert caught.value.reason == Reason.CORRUPT_IMAGE


def test_a_png_of_apple_s_own_kind_is_not_supported() -> None:
    plain = encode(picture(), "PNG")
    with pytest.raises(Quarantine, match="unsupported_image: png of Apple's own kind"):
        probe(plain[:8] + png.chunk(b"CgBI", bytes(4)) + plain[8:])
