import io
import struct
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, TiffImagePlugin

from faceveil.transforms.codecs import Pixels, decode_for_detection, decode_pixels, encode_pixels, probe, strip_metadata
from faceveil.transforms.quarantine import Quarantine, Reason
from tests.transforms.codecs.samples import ICC, XMP, encode, exif, picture, pillow

SECRETS = {270: "a comment", 271: "Secret Camera Maker", 305: "Editor", 315: "somebody", 333: "ink", 37724: "layers"}


def deep(mode: str, **options: Any) -> tuple[bytes, np.ndarray]:
    """A TIFF of 16 bits per channel, written by tifffile, and its values."""
    channels = {"I;16": 1, "RGB;16": 3, "RGBA;16": 4, "RGBa;16": 4, "CMYK;16": 4}[mode]
    values = np.random.default_rng(7).integers(0, 2**16, (43, 61, channels), np.uint16)
    if mode == "RGBa;16":
        values[..., :3] = np.minimum(values[..., :3], values[..., 3:])
    extra = {"RGBA;16": "unassalpha", "RGBa;16": "assocalpha"}.get(mode)
    options = {"photometric": {"I;16": "minisblack", "CMYK;16": "separated"}.get(mode, "rgb"), **options}
    if extra:
        options["extrasamples"] = [extra]
    separate = options.get("planarconfig") == "separate"
    output = io.BytesIO()
    tifffile.imwrite(output, values.transpose(2, 0, 1) if separate else values.squeeze(), **options)
    return output.getvalue(), values


def read(data: bytes) -> np.ndarray:
    """What tifffile reads, ``[H, W, C]``."""
    with tifffile.TiffFile(io.BytesIO(data)) as file:
        page = file.pages.first
        values = page.asarray()
        if page.planarconfig == 2:
            values = np.moveaxis(values, 0, -1)
        return values.reshape(page.imagelength, page.imagewidth, -1)


LAYOUTS = [
    {},
    {"byteorder": ">"},
    {"bigtiff": True},
    {"compression": "zlib"},
    {"compression": "zlib", "predictor": True},
    {"tile": (16, 32)},
    {"rowsperstrip": 5},
]
PLANES = [{"planarconfig": "separate"}, {"planarconfig": "separate", "tile": (16, 16)}]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("mode", ["I;16", "RGB;16", "RGBA;16", "RGBa;16", "CMYK;16"])
def test_16_bits_are_decoded_and_encoded_exactly(mode: str, layout: dict[str, Any]) -> None:
    data, values = deep(mode, **layout)
    _assert_exact(data, values, mode)


@pytest.mark.parametrize("layout", PLANES, ids=str)
@pytest.mark.parametrize("mode", ["RGB;16", "RGBA;16", "CMYK;16"])
def test_channels_that_are_stored_apart_are_put_together(mode: str, layout: dict[str, Any]) -> None:
    data, values = deep(mode, **layout)
    _assert_exact(data, values, mode)


def _assert_exact(data: bytes, values: np.ndarray, mode: str) -> None:
    info = probe(data)
    pixels = decode_pixels(data, info)
    assert pixels.mode == mode
    np.testing.assert_array_equal(pixels.values, values)
    painted = values.copy()
    painted[10:20, 5:30] = pixels.black
    written = encode_pixels(Pixels(painted, mode), data, info)
    np.testing.assert_array_equal(read(written), painted)
    assert written[:4] == data[:4]
    assert probe(written).mode == info.mode
    np.testing.assert_array_equal(read(strip_metadata(data, info)), values)


def test_grey_where_0_is_white_looks_the_same() -> None:
    data, values = deep("I;16", photometric="miniswhite")
    info = probe(data)
    pixels = decode_pixels(data, info)
    np.testing.assert_array_equal(pixels.values, 0xFFFF - values)
    np.testing.assert_array_equal(read(encode_pixels(pixels, data, info)), 0xFFFF - values)


def test_premultiplied_alpha_stays_exact_and_the_detector_sees_the_colours() -> None:
    image = np.full((20, 30, 4), (50, 100, 0, 128), np.uint8)
    output = io.BytesIO()
    tifffile.imwrite(output, image, photometric="rgb", extrasamples=["assocalpha"])
    data = output.getvalue()
    info = probe(data)
    preview = decode_for_detection(data, info, 64)
    assert next(preview.renderings()).rgb[0, 0].tolist() == [99, 199, 0]
    assert preview.pixels is not None
    np.testing.assert_array_equal(read(encode_pixels(preview.pixels, data, info)), image)


def laden(**options: Any) -> bytes:
    private = {**SECRETS, 700: XMP, 33723: b"IPTC caption", 34377: b"8BIM Photoshop"}
    tags = {**private, 274: 6, 282: 300.0, 283: 300.0, 296: 2}
    data = encode(picture(), "TIFF", tiffinfo=tags, icc_profile=ICC, **options)
    return data + b"trailing"


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_deflate", "packbits", "jpeg"])
def test_strips_stay_as_they_were_and_metadata_go(compression: str | None) -> None:
    data = laden(compression=compression)
    info = probe(data)
    stripped = strip_metadata(data, info)
    with tifffile.TiffFile(io.BytesIO(data)) as before, tifffile.TiffFile(io.BytesIO(stripped)) as after:
        old, new = before.pages.first, after.pages.first
        secrets = {*SECRETS, 700, 33723, 34377}
        assert secrets <= {tag.code for tag in old.tags}
        assert not secrets & {tag.code for tag in new.tags}
        assert [strip for strip, _ in old.parent.filehandle.read_segments(old.dataoffsets, old.databytecounts)] == [
            strip for strip, _ in new.parent.filehandle.read_segments(new.dataoffsets, new.databytecounts)
        ]
        assert new.tags["Orientation"].value == 6
        assert new.tags["XResolution"].value == (300, 1)
        assert new.tags["InterColorProfile"].value == ICC
        # Nothing is left over: every byte belongs to the header, the directory, a value, a strip, or evens it out.
        used = sum(new.databytecounts) + 8 + 2 + 12 * len(new.tags) + 4 + sum(tag.valuebytecount for tag in new.tags)
        assert len(stripped) - used <= len(new.databytecounts) + len(new.tags)
    for secret in (b"comment", b"Secret", b"Editor", b"somebody", b"IPTC", b"8BIM", b"trailing", b"layers"):
        assert secret in data
        assert secret not in stripped
    np.testing.assert_array_equal(pillow(stripped), pillow(data))
    assert probe(stripped) == info
    assert strip_metadata(stripped, info) is stripped


def test_metadata_in_jpeg_strips_go_too() -> None:
    output = io.BytesIO()
    jpeg = encode(picture(), "JPEG", exif=exif(), comment=b"somebody")
    entries = [(256, 4, 97), (257, 4, 61), (258, 3, 8), (259, 3, 7), (262, 3, 6), (273, 4, 8), (277, 3, 3)]
    entries += [(278, 4, 61), (279, 4, len(jpeg)), (530, 3, 2 | 2 << 16)]
    directory = b"".join(struct.pack("<HHII", tag, kind, 2 if tag == 530 else 1, value) for tag, kind, value in entries)
    padded = jpeg + b"\0" * (len(jpeg) % 2)
    output.write(struct.pack("<2sHI", b"II", 42, 8 + len(padded)) + padded)
    output.write(struct.pack("<H", len(entries)) + directory + bytes(4))
    data = output.getvalue()
    stripped = strip_metadata(data, probe(data))
    assert b"somebody" in data
    assert b"somebody" not in stripped
    assert b"Secret" not in stripped
    np.testing.assert_array_equal(pillow(stripped), pillow(data))


def test_a_preview_behind_the_picture_goes_but_a_page_does_not() -> None:
    def two(subfile_type: int) -> bytes:
        output = io.BytesIO()
        with tifffile.TiffWriter(output) as writer:
            writer.write(np.asarray(picture()), metadata=None)
            writer.write(np.asarray(picture(width=20, height=10)), subfiletype=subfile_type, metadata=None)
        return output.getvalue()

    with_preview = two(1)
    stripped = strip_metadata(with_preview, probe(with_preview))
    with Image.open(io.BytesIO(stripped)) as image:
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        assert image.n_frames == 1
    assert len(stripped) < len(with_preview) - 20 * 10 * 3
    with pytest.raises(Quarantine) as caught:
        probe(two(0))
    assert caught.value.reason == Reason.MULTIPLE_FRAMES


def test_directories_in_a_ring_are_refused() -> None:
    data = bytearray(encode(picture("L", 8, 8), "TIFF"))
    start = int.from_bytes(data[4:8], "little")
    count = int.from_bytes(data[start : start + 2], "little")
    at = start + 2 + 12 * count
    data[at : at + 4] = start.to_bytes(4, "little")
    with pytest.raises(Quarantine):
        probe(bytes(data))
