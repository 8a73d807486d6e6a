import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin, PngImagePlugin

from faceveil.transforms.codecs import Pixels, decode_pixels, encode_pixels, probe, upright
from tests.transforms.codecs.samples import ICC, XMP, encode, exif, opencv, picture, pillow

SECRETS = (b"Secret Camera Maker", b"THUMBNAIL", b"somebody", b"a comment", b"2024:05:06")


def again(data: bytes) -> bytes:
    info = probe(data)
    return encode_pixels(decode_pixels(data, info), data, info)


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data))


def opened_jpeg(data: bytes) -> JpegImagePlugin.JpegImageFile:
    image = opened(data)
    assert isinstance(image, JpegImagePlugin.JpegImageFile)
    return image


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("quality", [30, 90])
def test_jpeg_keeps_tables_subsampling_and_progression(subsampling: int, progressive: bool, quality: int) -> None:
    data = encode(picture(), "JPEG", subsampling=subsampling, progressive=progressive, quality=quality)
    before, after = opened_jpeg(data), opened_jpeg(again(data))
    assert after.quantization == before.quantization
    assert JpegImagePlugin.get_sampling(after) == subsampling
    assert ("progressive" in after.info) == progressive
    assert np.abs(pillow(data).astype(int) - np.asarray(after)).mean() < 3


def test_jpeg_keeps_a_table_for_each_component() -> None:
    tables = [[n] * 64 for n in (2, 5, 9)]
    assert opened_jpeg(again(encode(picture(), "JPEG", qtables=tables))).quantization == dict(enumerate(tables))


def test_grey_stays_grey_and_rgb_jpeg_stays_rgb() -> None:
    assert opened(again(encode(picture("L"), "JPEG"))).mode == "L"
    data = encode(picture(), "JPEG", keep_rgb=True, quality=95)
    written = opened_jpeg(again(data))
    assert [component[0] for component in written.layer] == list(b"RGB")
    assert np.abs(np.asarray(written).astype(int) - pillow(data)).max() <= 4


def test_cmyk_is_not_inverted() -> None:
    data = encode(picture("CMYK"), "JPEG", quality=95)
    written = again(data)
    assert opened(written).mode == "CMYK"
    assert np.abs(pillow(written).astype(int) - pillow(data)).max() <= 6


def test_cmyk_without_adobe_s_marker_looks_the_same() -> None:
    data = encode(picture("CMYK"), "JPEG", quality=95)
    start = data.index(b"\xff\xee")
    bare = data[:start] + data[start + 16 :]
    assert "adobe" not in opened(bare).info
    assert np.abs(pillow(again(bare), "RGB").astype(int) - pillow(bare, "RGB")).max() <= 8


LOSSLESS = [
    *(("PNG", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA")),
    *(("BMP", mode, {}) for mode in ("1", "L", "P", "RGB")),
    *(("TIFF", mode, {}) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK")),
    *(("TIFF", "RGB", {"compression": c}) for c in ("tiff_lzw", "tiff_deflate", "packbits", "jpeg")),
    *(("WEBP", mode, {"lossless": True, "exact": True}) for mode in ("RGB", "RGBA")),
]


@pytest.mark.parametrize(("image_format", "mode", "options"), LOSSLESS)
def test_lossless_formats_keep_every_value(image_format: str, mode: str, options: dict[str, Any]) -> None:
    data = encode(picture(mode), image_format, **options)
    pixels = decode_pixels(data, probe(data))
    written = again(data)
    assert probe(written).format == image_format.lower()
    decoded = decode_pixels(written, probe(written))
    assert decoded.mode == pixels.mode
    np.testing.assert_array_equal(decoded.values, pixels.values)


@pytest.mark.parametrize("image_format", ["PNG", "TIFF"])
def test_16_bit_grey_keeps_every_value(image_format: str) -> None:
    values = np.random.default_rng(0).integers(0, 2**16, (30, 41), np.uint16)
    data = encode(Image.fromarray(values), image_format)
    np.testing.assert_array_equal(pillow(again(data)), values)


@pytest.mark.parametrize("image_format", ["WEBP", "AVIF"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_lossy_formats_stay_close(image_format: str, mode: str) -> None:
    data = encode(picture(mode), image_format)
    written = again(data)
    assert probe(written).format == image_format.lower()
    assert np.abs(pillow(written).astype(int) - pillow(data)).mean() < 3


@pytest.mark.parametrize(
    ("image_format", "options"),
    [
        ("JPEG", {"comment": b"a comment"}),
        ("PNG", {}),
        ("WEBP", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("AVIF", {}),
    ],
)
@pytest.mark.parametrize("orientation", [1, 6])
def test_only_profile_density_and_orientation_are_kept(
    image_format: str, options: dict[str, Any], orientation: int
) -> None:
    tags = exif(orientation) if image_format != "AVIF" else exif(orientation).replace(b"THUMBNAIL OF A FACE", b"")
    data = encode(picture(), image_format, exif=tags, icc_profile=ICC, xmp=XMP, dpi=(300, 300), **options)
    assert b"Secret Camera Maker" in data
    written = again(data)
    assert not [secret for secret in SECRETS if secret in written]
    image = opened(written)
    assert image.info["icc_profile"] == ICC
    assert probe(written) == probe(data)
    if image_format in ("JPEG", "PNG", "TIFF"):
        assert [round(float(dots)) for dots in image.info["dpi"]] == [300, 300]
    kept = set(image.getexif())
    if image_format != "TIFF":
        assert kept == ({0x0112} if orientation != 1 else set())


def test_png_keeps_its_gamma() -> None:
    colours = PngImagePlugin.PngInfo()
    colours.add(b"gAMA", (100000).to_bytes(4, "big"))
    colours.add_text("Author", "somebody")
    data = encode(picture(), "PNG", pnginfo=colours)
    assert opened(data).info["gamma"] == opened(again(data)).info["gamma"] == 1.0
    assert b"somebody" not in again(data)


@pytest.mark.parametrize(
    ("image_format", "mode"),
    [
        ("PNG", "L"),
        ("PNG", "LA"),
        ("PNG", "RGB"),
        ("PNG", "RGBA"),
        ("JPEG", "CMYK"),
        ("TIFF", "CMYK"),
        ("PNG", "I;16"),
    ],
)
def test_black_shows_as_black(image_format: str, mode: str) -> None:
    image = picture("L").convert("I;16") if mode == "I;16" else picture(mode)
    data = encode(image, image_format)
    info = probe(data)
    pixels = decode_pixels(data, info)
    values = pixels.values.copy()
    upright(values, info.orientation)[:] = pixels.black
    with opened(encode_pixels(Pixels(values, pixels.mode), data, info)) as written:
        if written.mode in ("LA", "RGBA"):
            assert written.getchannel("A").getextrema() == (255, 255)
        grey = written if mode == "I;16" else written.convert("RGB").convert("L")
        assert grey.getextrema() == (0, 0)


def test_a_grey_avif_stays_grey() -> None:
    data = encode(picture("L"), "AVIF", quality=90)
    info = probe(data)
    written = encode_pixels(decode_pixels(data, info), data, info)
    assert probe(written).mode == info.mode == "L"
    assert opencv(written).ndim == 2
    assert np.abs(pillow(written).astype(int) - pillow(data)).mean() < 2
