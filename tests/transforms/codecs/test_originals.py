"""Metadata that Pillow cannot read, though other readers show the picture, stop no image: they go anyway."""

import io
import struct
from dataclasses import replace

import cv2
import numpy as np
import pytest
import tensorflow as tf
import tifffile

from faceveil.transforms.codecs import decode_pixels, encode_pixels, probe, strip_metadata, tiff, tiff_directory
from faceveil.transforms.codecs.orientation import orientation_exif
from faceveil.transforms.codecs.originals import open_original
from faceveil.transforms.quarantine import Quarantine
from tests.transforms.codecs.samples import ICC, encode, exif, opencv, picture, pillow

JPEG = encode(picture(), "JPEG")
GIF = encode(picture().quantize(64), "GIF")
GIF_BLOCKS_AT = 13 + 3 * 2 ** ((GIF[10] & 7) + 1)


def with_segment(marker: int, content: bytes) -> bytes:
    return JPEG[:2] + bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content + JPEG[2:]


JPEGS = {
    "an ICC profile that ends before its number": with_segment(0xE2, b"ICC_PROFILE\0"),
    "an ICC profile that ends behind its number": with_segment(0xE2, b"ICC_PROFILE\0\1"),
    "JFIF that ends before its version": with_segment(0xE0, b"JFIF\0"),
    "Adobe's segment that ends before its version": with_segment(0xEE, b"Adobe\0"),
}
GIFS = {
    "a loop without a number": GIF[:GIF_BLOCKS_AT] + b"!\xff\x0bNETSCAPE2.0\0" + GIF[GIF_BLOCKS_AT:],
    "an empty application's block": GIF[:GIF_BLOCKS_AT] + b"!\xff\0" + GIF[GIF_BLOCKS_AT:],
    "an empty control block": GIF[:GIF_BLOCKS_AT] + b"!\xf9\0" + GIF[GIF_BLOCKS_AT:],
    "a block that ends twice": GIF[:GIF_BLOCKS_AT] + b"!\xfe\1x\0\0" + GIF[GIF_BLOCKS_AT:],
}


def with_tag(tag: int, type_: int, count: int, value: int, compression: str | None) -> bytes:
    """A TIFF with an entry as it stands in its directory, whatever that leads to."""
    flavour, directory, segments, tags = tiff.read_picture(encode(picture(), "TIFF", compression=compression))
    data = tiff_directory.write(flavour, {**directory, tag: tiff_directory.Entry(4, 1, b"here")}, None, segments, tags)
    at = data.index(struct.pack("<HHI4s", tag, 4, 1, b"here"))
    return data[:at] + struct.pack("<HHII", tag, type_, count, value) + data[at + 12 :]


TAGS = {
    "a description beyond the end": (270, 2, 100, 0xFFFFFFF0),
    "a maker of two gigabytes": (271, 2, 0x7FFFFFFF, 8),
    "XMP that is a number": (700, 4, 1, 6),
    "XMP that is a text": (700, 2, 4, 0x31323334),
    "a directory of interoperability where there is none": (40965, 4, 1, 0xFFFFFF),
}


@pytest.mark.parametrize("name", JPEGS)
def test_segments_that_pillow_cannot_read_stop_no_jpeg(name: str) -> None:
    data = JPEGS[name]
    np.testing.assert_array_equal(tf.io.decode_jpeg(data), tf.io.decode_jpeg(JPEG))
    info = probe(data)
    assert info == probe(JPEG)
    pixels = decode_pixels(data, info)
    assert strip_metadata(data, info) == JPEG
    assert encode_pixels(pixels, data, info) == encode_pixels(pixels, JPEG, info)


def test_exif_counts_beside_segments_that_pillow_cannot_read() -> None:
    data = with_segment(0xE2, b"ICC_PROFILE\0")
    turned = data[:2] + encode(picture(), "JPEG", exif=exif(6))[20:][: len(exif(6)) + 4] + data[2:]
    assert probe(turned).orientation == 6


@pytest.mark.parametrize("name", GIFS)
def test_extensions_that_pillow_cannot_read_stop_no_gif(name: str) -> None:
    data = GIFS[name]
    info = probe(data)
    assert info == probe(GIF)
    pixels = decode_pixels(data, info)
    np.testing.assert_array_equal(pixels.values, decode_pixels(GIF, info).values)
    assert encode_pixels(pixels, data, info) == encode_pixels(pixels, GIF, info)
    written = decode_pixels(strip_metadata(data, info), info)
    np.testing.assert_array_equal(written.values, pixels.values)


@pytest.mark.parametrize("compression", [None, "tiff_lzw"])
@pytest.mark.parametrize("name", TAGS)
def test_tags_that_pillow_cannot_read_stop_no_tiff(name: str, compression: str | None) -> None:
    data = with_tag(*TAGS[name], compression)
    plain = encode(picture(), "TIFF", compression=compression)
    np.testing.assert_array_equal(opencv(data, cv2.IMREAD_COLOR)[..., ::-1], np.asarray(picture()))
    info = probe(data)
    assert replace(info, other_orientations=()) == probe(plain)
    pixels = decode_pixels(data, info)
    np.testing.assert_array_equal(pixels.values, np.asarray(picture()))
    assert strip_metadata(data, info) == strip_metadata(plain, info)
    assert encode_pixels(pixels, data, info) == encode_pixels(pixels, plain, info)


@pytest.mark.parametrize("lossless", [False, True])
def test_a_chunk_that_is_cut_off_behind_the_picture_stops_no_webp(lossless: bool) -> None:
    plain = encode(picture(), "WEBP", lossless=lossless, icc_profile=ICC)
    whole = encode(picture(), "WEBP", lossless=lossless, icc_profile=ICC, exif=exif(1))
    at = whole.index(b"EXIF") + 4
    data = whole[:at] + struct.pack("<I", 100_000) + whole[at + 4 :]
    expected = opencv(plain, cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(opencv(data, cv2.IMREAD_COLOR), expected)
    info = probe(data)
    pixels = decode_pixels(data, info)
    np.testing.assert_array_equal(pixels.values, expected[..., ::-1])
    assert strip_metadata(data, info) == plain
    assert encode_pixels(pixels, data, info) == encode_pixels(pixels, plain, info)


def test_flags_that_nobody_knows_stop_no_webp() -> None:
    plain = encode(picture(), "WEBP", icc_profile=ICC)
    data = plain.replace(b"VP8X\x0a\0\0\0\x20\0\0\0", b"VP8X\x0a\0\0\0\xe1\1\1\1")
    assert data != plain
    np.testing.assert_array_equal(opencv(data, cv2.IMREAD_COLOR), pillow(plain)[..., ::-1])
    info = probe(data)
    np.testing.assert_array_equal(decode_pixels(data, info).values, pillow(plain))
    assert strip_metadata(data, info) == plain


@pytest.mark.parametrize("extra", [1, 5000])
def test_a_last_strip_that_is_said_to_be_too_long_stops_no_uncompressed_tiff(extra: int) -> None:
    plain = encode(picture(), "TIFF")
    flavour, directory, segments, tags = tiff.read_picture(plain)
    [segment] = segments
    entry = struct.pack("<HHII", 279, 4, 1, len(segment))
    written = tiff_directory.write(flavour, directory, None, segments, tags)
    data = written.replace(entry, struct.pack("<HHII", 279, 4, 1, len(segment) + extra))
    np.testing.assert_array_equal(opencv(data, cv2.IMREAD_COLOR)[..., ::-1], np.asarray(picture()))
    info = probe(data)
    np.testing.assert_array_equal(decode_pixels(data, info).values, np.asarray(picture()))
    stripped = strip_metadata(data, info)
    np.testing.assert_array_equal(tifffile.imread(io.BytesIO(stripped)), np.asarray(picture()))
    with pytest.raises(Quarantine):
        decode_pixels(data[:-2], info)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "I;16"])
def test_a_tiff_s_pixels_are_as_they_are_stored(orientation: int, mode: str) -> None:
    image = picture("L").convert("I;16") if mode == "I;16" else picture(mode)
    data = encode(image, "TIFF", exif=b"Exif\0\0" + orientation_exif(orientation))
    with open_original(data, "tiff", pixels=True) as opened:
        np.testing.assert_array_equal(np.asarray(opened), tifffile.imread(io.BytesIO(data)))
