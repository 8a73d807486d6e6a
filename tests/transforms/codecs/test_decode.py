import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageOps

from faceveil.transforms.codecs import (
    decode_for_detection,
    decode_pixels,
    encode_pixels,
    png,
    probe,
    strip_metadata,
)
from faceveil.transforms.quarantine import Quarantine, Reason
from tests.transforms.codecs.samples import encode, exif, picture, pillow

TRICKY = Path(__file__).parents[3] / ".." / "shared" / "data" / "tricky"


def tricky_files() -> list[Path]:
    return sorted(path for path in TRICKY.rglob("*") if path.is_file())


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_decodes_as_pillow_does(mode: str) -> None:
    data = encode(picture(mode, 300, 201), "JPEG")
    pixels = decode_pixels(data, probe(data))
    assert pixels.mode == mode
    np.testing.assert_array_equal(pixels.values.squeeze(), pillow(data))


@pytest.mark.parametrize(
    ("mode", "options", "expected"),
    [
        ("1", {}, "L"),
        ("L", {}, "L"),
        ("L", {"bits": 4}, "L"),
        ("L", {"transparency": 100}, "LA"),
        ("LA", {}, "LA"),
        ("P", {}, "RGB"),
        ("P", {"transparency": 3}, "RGBA"),
        ("RGB", {}, "RGB"),
        ("RGB", {"transparency": (1, 2, 3)}, "RGBA"),
        ("RGBA", {}, "RGBA"),
    ],
)
def test_png_modes_become_channels(mode: str, options: dict[str, Any], expected: str) -> None:
    data = encode(picture(mode), "PNG", **options)
    pixels = decode_pixels(data, probe(data))
    assert pixels.mode == expected
    assert pixels.values.shape == (61, 97, len(expected))
    np.testing.assert_array_equal(pixels.values.squeeze(), pillow(data, expected))
    assert len(pixels.black) == pixels.values.shape[2]


def test_16_bit_grey_keeps_its_bits_and_is_seen_in_8() -> None:
    values = np.random.default_rng(0).integers(0, 4096, (30, 40), np.uint16)
    values[0, 0] = 4095
    data = encode(Image.fromarray(values), "PNG")
    preview = decode_for_detection(data, probe(data), 1024)
    rgb = next(preview.renderings()).rgb
    assert preview.pixels is not None
    np.testing.assert_array_equal(preview.pixels.values[..., 0], values)
    assert rgb.max() == 255
    assert np.abs(rgb[..., 0].astype(float) - values / 4095 * 255).max() <= 1


def test_transparent_grey_of_four_bits_is_found() -> None:
    row = bytes((0x01, 0x23, 0x45, 0x67))  # eight pixels of the greys 0 to 7, of which 4 is transparent
    header = struct.pack(">IIBBBBB", 8, 2, 4, 0, 0, 0, 0)
    contents = {b"IHDR": header, b"tRNS": b"\0\4", b"IDAT": zlib.compress(2 * (b"\0" + row)), b"IEND": b""}
    data = png.SIGNATURE + b"".join(png.chunk(name, content) for name, content in contents.items())
    pixels = decode_pixels(data, probe(data))
    assert pixels.mode == "LA"
    assert pixels.values[1].tolist() == [[17 * grey, 0 if grey == 4 else 255] for grey in range(8)]


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("size", [(1600, 1001), (1023, 300), (700, 1400), (33, 21)])
@pytest.mark.parametrize("long_side", [100, 350, 512, 5000])
def test_reduced_decodes_are_never_below_the_side_asked_for(mode: str, size: tuple[int, int], long_side: int) -> None:
    data = encode(picture(mode, *size), "JPEG")
    preview = decode_for_detection(data, probe(data), long_side)
    rgb = next(preview.renderings()).rgb
    whole = pillow(data, "RGB")
    height, width = rgb.shape[:2]
    factor = round(max(size) / max(height, width))
    assert max(height, width) >= min(long_side, max(size))
    assert (preview.pixels is None) == (factor > 1)
    if factor > 1:
        assert factor == 8 or max(height, width) < 2 * long_side + 1
        reference = np.asarray(Image.fromarray(whole).resize((width, height), Image.Resampling.BOX))
        assert np.abs(reference.astype(int) - rgb).mean() < 3
    else:
        assert mode == "CMYK" or max(size) < 2 * long_side
        np.testing.assert_array_equal(rgb, whole)


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_preview_is_upright_and_pixels_are_stored(image_format: str, orientation: int) -> None:
    image = picture()
    data = encode(image, image_format, exif=exif(orientation))
    info = probe(data)
    preview = decode_for_detection(data, info, 1024)
    rgb = next(preview.renderings()).rgb
    with Image.open(io.BytesIO(data)) as opened:
        np.testing.assert_array_equal(rgb, np.asarray(ImageOps.exif_transpose(opened)))
    assert preview.pixels is not None
    assert preview.pixels.values.shape[:2] == (61, 97)
    assert rgb.shape[:2] == (info.upright_height, info.upright_width)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_truncated_jpegs_are_found(mode: str, progressive: bool) -> None:
    data = encode(picture(mode, 400, 300), "JPEG", progressive=progressive)
    info = probe(data)
    for share in (0.6, 0.9, 0.99):
        with pytest.raises(Quarantine) as caught:
            decode_for_detection(data[: int(len(data) * share)], info, 100)
        assert caught.value.reason == Reason.TRUNCATED


@pytest.mark.parametrize("image_format", ["PNG", "BMP", "TIFF", "WEBP", "AVIF"])
def test_truncated_images_of_other_formats_are_found(image_format: str) -> None:
    data = encode(picture("RGB", 400, 300), image_format)
    info = probe(data)
    with pytest.raises(Quarantine) as caught:
        decode_pixels(data[: len(data) * 2 // 3], info)
    assert caught.value.reason in (Reason.TRUNCATED, Reason.CORRUPT_IMAGE)


def test_harmless_faults_of_a_jpeg_are_forgiven() -> None:
    data = encode(picture(), "JPEG")
    scan = data.index(b"\xff\xda")
    faulty = data[:scan] + b"\0\0\0" + data[scan:]  # libjpeg warns of extraneous bytes
    np.testing.assert_array_equal(decode_pixels(faulty, probe(faulty)).values, pillow(data))


def test_preview_drops_alpha_so_that_hidden_colours_are_seen() -> None:
    image = picture("RGB").convert("RGBA")
    image.putalpha(0)
    data = encode(image, "PNG")
    np.testing.assert_array_equal(
        next(decode_for_detection(data, probe(data), 512).renderings()).rgb, np.asarray(picture())
    )


@pytest.mark.skipif(not TRICKY.exists(), reason="needs the development data set tricky")
@pytest.mark.parametrize("path", tricky_files(), ids=lambda path: path.name)
def test_every_tricky_file_decodes_or_is_quarantined(path: Path) -> None:
    """What decodes is upright, can be written again, and comes out clean; all else is a Quarantine."""
    data = path.read_bytes()
    try:
        info = probe(data)
        preview = decode_for_detection(data, info, 64)
        rgb = next(preview.renderings()).rgb
        pixels = decode_pixels(data, info)
    except Quarantine:
        return
    assert rgb.dtype == np.uint8
    assert rgb.ndim == 3
    with Image.open(path) as image:
        if info.format == "avif":
            image.info.pop("xmp", None)  # its orientation does not count, the picture's own property does
        expected = np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    assert expected.shape == (info.upright_height, info.upright_width, 3)
    if preview.pixels is not None and pixels.mode not in ("CMYK", "RGBa") and pixels.values.dtype == np.uint8:
        np.testing.assert_array_equal(rgb, expected)

    writings = [strip_metadata(data, info)] + ([] if info.read_only else [encode_pixels(pixels, data, info)])
    for written in writings:
        again = probe(written)
        assert (again.format, again.width, again.height) == (info.format, info.width, info.height)
        assert again.orientation == info.orientation
        assert strip_metadata(written, again) is written
        values = decode_pixels(written, again).values
        if info.format in ("png", "bmp", "gif", "tiff"):
            np.testing.assert_array_equal(values, pixels.values)
        else:
            assert np.abs(values.astype(int) - pixels.values).mean() < 8


@pytest.mark.parametrize("name", ["CMYK, Adobe's", "CMYK without a marker", "YCCK"])
def test_four_colours_decode_as_in_pillow(name: str) -> None:
    data = encode(picture("CMYK"), "JPEG")
    if name == "CMYK without a marker":
        start = data.index(b"\xff\xee")
        data = data[:start] + data[start + 16 :]
    elif name == "YCCK":
        data = simplejpeg.encode_jpeg(np.asarray(picture("CMYK")), colorspace="CMYK", colorsubsampling="420")
    pixels = decode_pixels(data, probe(data))
    assert (pixels.mode, pixels.faultless) == ("CMYK", True)
    np.testing.assert_array_equal(pixels.values, pillow(data))
