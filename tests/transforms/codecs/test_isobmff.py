import io
import sys
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from faceveil.transforms.codecs import (
    decode_for_detection,
    decode_pixels,
    encode_pixels,
    probe,
    strip_metadata,
    upright,
)
from faceveil.transforms.quarantine import Quarantine, Reason
from tests.conftest import shared_data
from tests.transforms.codecs.samples import ICC, XMP, encode, exif, picture, pillow


def heic(mode: str = "RGB", orientation: int = 1, **options: Any) -> bytes:
    image = picture(mode)
    output = io.BytesIO()
    tags = exif(orientation)[: -len(b"THUMBNAIL OF A FACE")]
    pillow_heif.encode(mode, image.size, image.tobytes(), output, quality=90, chroma=444, exif=tags, xmp=XMP, **options)
    return output.getvalue()


def coded(data: bytes) -> bytes:
    """The content of the file's last mdat box."""
    return data[data.rindex(b"mdat") + 4 :]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_heic_is_seen_upright_and_kept_as_it_is_stored(orientation: int) -> None:
    data = heic(orientation=orientation, icc_profile=ICC, thumbnails=[32])
    info = probe(data)
    assert (info.format, info.width, info.height, info.orientation) == ("heif", 97, 61, orientation)
    pixels = decode_pixels(data, info)
    assert np.abs(pixels.values.astype(int) - np.asarray(picture())).mean() < 1
    preview = decode_for_detection(data, info, 64)
    rgb = next(preview.renderings()).rgb
    np.testing.assert_array_equal(rgb, upright(pixels.values, orientation))
    for written in (strip_metadata(data + b"trailing", info), encode_pixels(pixels, data, info)):
        assert probe(written) == info
        for secret in (b"Secret Camera Maker", b"somebody", b"trailing", b"Exif"):
            assert secret not in written
        opened = pillow_heif.open_heif(io.BytesIO(written))
        assert opened.info["icc_profile"] == ICC
        assert not opened.info["thumbnails"]
        assert np.abs(np.asarray(opened).astype(int) - rgb).mean() < 1


def test_heic_s_coded_data_stay_and_thumbnails_go() -> None:
    data = heic(thumbnails=[32])
    info = probe(data)
    stripped = strip_metadata(data, info)
    assert len(coded(stripped)) < len(coded(data)) - 300
    assert coded(stripped) in data
    np.testing.assert_array_equal(decode_pixels(stripped, info).values, decode_pixels(data, info).values)
    assert strip_metadata(stripped, info) is stripped


@pytest.mark.parametrize("mode", ["L", "RGBA"])
def test_grey_and_alpha_stay(mode: str) -> None:
    data = heic(mode)
    info = probe(data)
    pixels = decode_pixels(data, info)
    assert pixels.mode == mode
    assert np.abs(pixels.values.squeeze().astype(int) - np.asarray(picture(mode))).mean() < 2
    stripped = strip_metadata(data, info)
    np.testing.assert_array_equal(decode_pixels(stripped, info).values, pixels.values)
    written = encode_pixels(pixels, data, info)
    assert np.abs(decode_pixels(written, info).values.astype(int) - pixels.values).mean() < 1


def test_without_the_extra_it_is_held_back_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    data = heic()
    monkeypatch.setitem(sys.modules, "pillow_heif", None)  # as Python has it where it is not installed
    with pytest.raises(Quarantine, match="pip install 'faceveil"):
        probe(data)


def test_10_bits_stay_10_bits() -> None:
    values = (np.asarray(picture()).astype(np.uint16) << 8) + 77
    output = io.BytesIO()
    pillow_heif.encode("RGB;16", (97, 61), values.tobytes(), output, quality=95, chroma=444)
    data = output.getvalue()
    info = probe(data)
    written = encode_pixels(decode_pixels(data, info), data, info)
    assert pillow_heif.open_heif(io.BytesIO(written)).info["bit_depth"] == 10
    assert np.abs(decode_pixels(written, probe(written)).values.astype(int) - values).mean() < 300


def test_a_grid_of_tiles_stays_whole() -> None:
    data = heic(tile_size=64)
    info = probe(data)
    stripped = strip_metadata(data, info)
    assert b"grid" in stripped
    np.testing.assert_array_equal(decode_pixels(stripped, info).values, decode_pixels(data, info).values)


@pytest.mark.parametrize("image_format", ["HEIF", "AVIF"])
def test_bursts_and_sequences_are_refused(image_format: str) -> None:
    if image_format == "HEIF":
        output = io.BytesIO()
        burst = pillow_heif.from_pillow(picture())
        burst.add_from_pillow(picture(seed=1))
        burst.save(output)
        data = output.getvalue()
    else:
        data = encode(picture(), "AVIF", save_all=True, append_images=[picture(seed=1)])
    with pytest.raises(Quarantine) as caught:
        probe(data)
    assert caught.value.reason == Reason.MULTIPLE_FRAMES


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("orientation", [1, 2, 5, 8])
def test_avif_loses_metadata_and_keeps_its_data(mode: str, orientation: int) -> None:
    tags = exif(orientation)[: -len(b"THUMBNAIL OF A FACE")]
    data = encode(picture(mode), "AVIF", exif=tags, xmp=XMP, icc_profile=ICC)
    info = probe(data)
    assert info.orientation == orientation
    stripped = strip_metadata(data, info)
    assert not [secret for secret in (b"Secret", b"somebody", b"Exif", b"mime") if secret in stripped]
    if mode == "RGB":  # else the coded picture and its alpha may change places
        assert coded(stripped) in data
    np.testing.assert_array_equal(pillow(stripped), pillow(data))
    with Image.open(io.BytesIO(stripped)) as image:
        assert image.info["icc_profile"] == ICC
        assert image.getexif().get(0x0112, 1) == orientation
    assert probe(stripped) == info
    assert strip_metadata(stripped, info) is stripped


def test_what_cannot_be_written_passes_without_faces() -> None:
    path = shared_data("tricky") / "libavif" / "colors_text_wcg_hdr_rec2020.avif"  # 10 bits
    data = path.read_bytes()
    info = probe(data)
    np.testing.assert_array_equal(pillow(strip_metadata(data, info)), pillow(data))
    with pytest.raises(Quarantine) as caught:
        encode_pixels(decode_pixels(data, info), data, info)
    assert caught.value.reason == Reason.UNSUPPORTED_IMAGE


def test_avif_s_wide_colours_stay_wide() -> None:
    data = encode(picture(), "AVIF")
    at = data.index(b"nclx") + 4
    wide = data[:at] + bytes((0, 12, 0, 16)) + data[at + 4 :]  # Display P3's primaries, PQ
    info = probe(wide)
    written = encode_pixels(decode_pixels(wide, info), wide, info)
    assert b"nclx" + bytes((0, 12, 0, 16)) in written
    assert b"nclx" + bytes((0, 12, 0, 16)) in strip_metadata(wide, info)


def test_a_truncated_one_is_found() -> None:
    data = heic()
    with pytest.raises(Quarantine) as caught:
        probe(data[:-100])
    assert caught.value.reason == Reason.TRUNCATED
