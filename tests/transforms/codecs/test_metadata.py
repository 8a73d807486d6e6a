import contextlib
import io
import itertools
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from faceveil.transforms.codecs import ImageInfo, decode_pixels, encode_pixels, probe, strip_metadata
from faceveil.transforms.codecs.orientation import orientation_exif
from faceveil.transforms.quarantine import Quarantine, Reason
from tests.transforms.codecs.samples import ICC, THUMBNAIL_SECRET, XMP, encode, exif, picture, pillow

SECRETS = (b"Secret Camera Maker", b"THUMBNAIL", b"somebody", b"a comment", b"Photoshop", b"MPF", b"trailing")
JPEGS = {
    f"{mode} {'progressive' if progressive else 'baseline'} {restart}": encode(
        picture(mode), "JPEG", progressive=progressive, restart_marker_blocks=restart
    )
    for mode, progressive, restart in itertools.product(("RGB", "L", "CMYK"), (False, True), (0, 3))
}


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def laden_jpeg(orientation: int = 1, **options: Any) -> bytes:
    """A JPEG with everything cameras and programs add, and a second picture behind its end."""
    data = encode(picture(), "JPEG", icc_profile=ICC, dpi=(72, 72), **options)
    extra = (
        segment(0xE0, b"JFXX\0\x13" + b"THUMBNAIL"),
        segment(0xE1, exif(orientation)),
        segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + XMP),
        segment(0xE2, b"MPF\0" + bytes(40)),
        segment(0xED, b"Photoshop 3.0\x008BIM"),
        segment(0xFE, b"a comment"),
        b"\xff\xff\xff" + segment(0xEF, b"trailing"),
    )
    return data[:20] + b"".join(extra) + data[20:] + b"trailing" + encode(picture(seed=5), "JPEG")


def scans(data: bytes) -> bytes:
    return data[data.index(b"\xff\xda") :]


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("progressive", [False, True])
def test_jpeg_loses_metadata_and_keeps_its_data(orientation: int, progressive: bool) -> None:
    plain = encode(picture(), "JPEG", progressive=progressive)
    data = laden_jpeg(orientation, progressive=progressive)
    info = probe(data)
    stripped = strip_metadata(data, info)
    assert not [secret for secret in SECRETS if secret in stripped]
    assert scans(stripped) == scans(plain)
    assert probe(stripped) == info
    with Image.open(io.BytesIO(stripped)) as image:
        assert image.info["icc_profile"] == ICC
        assert image.info["dpi"] == (72, 72)
        assert dict(image.getexif()) == ({0x0112: orientation} if orientation != 1 else {})
    np.testing.assert_array_equal(pillow(stripped), pillow(plain))
    assert strip_metadata(stripped, info) is stripped


@pytest.mark.parametrize("name", JPEGS)
def test_a_clean_jpeg_is_returned_as_it_is(name: str) -> None:
    data = JPEGS[name]
    assert strip_metadata(data, probe(data)) is data
    assert strip_metadata(data + b"trailing", probe(data)) == data


def test_the_jfif_thumbnail_goes() -> None:
    data = JPEGS["RGB baseline 0"]
    assert data[2:4] == b"\xff\xe0"
    with_thumbnail = data[:2] + segment(0xE0, data[6:18] + b"\x01\x02" + b"abcdef") + data[20:]
    assert strip_metadata(with_thumbnail, probe(with_thumbnail)) == data


@pytest.mark.parametrize("orientation", [1, 6])
def test_png_loses_metadata_and_keeps_its_data(orientation: int) -> None:
    text = PngImagePlugin.PngInfo()
    text.add_text("Author", "somebody")
    text.add_itxt("XML:com.adobe.xmp", XMP.decode())
    text.add(b"prIv", b"THUMBNAIL")
    plain = encode(picture(), "PNG", icc_profile=ICC, dpi=(72, 72))
    data = encode(picture(), "PNG", icc_profile=ICC, dpi=(72, 72), pnginfo=text, exif=exif(orientation)) + b"trailing"
    info = probe(data)
    stripped = strip_metadata(data, info)
    assert not [secret for secret in SECRETS if secret in stripped]
    assert probe(stripped) == info
    assert strip_metadata(stripped, info) is stripped
    if orientation == 1:
        assert stripped == plain


@pytest.mark.parametrize("options", [{}, {"lossless": True}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("orientation", [1, 6])
def test_webp_loses_metadata_and_keeps_its_data(options: dict[str, Any], mode: str, orientation: int) -> None:
    minimal = {"exif": orientation_exif(orientation)} if orientation != 1 else {}
    plain = encode(picture(mode), "WEBP", icc_profile=ICC, **minimal, **options)
    data = encode(picture(mode), "WEBP", icc_profile=ICC, exif=exif(orientation), xmp=XMP, **options) + b"trailing"
    info = probe(data)
    stripped = strip_metadata(data, info)
    assert stripped == plain
    assert strip_metadata(stripped, info) is stripped


def test_a_simple_webp_is_returned_as_it_is() -> None:
    data = encode(picture(), "WEBP")
    assert strip_metadata(data, probe(data)) is data


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (JPEGS["RGB baseline 0"][:-4], Reason.TRUNCATED),
        (JPEGS["RGB baseline 0"][:200], Reason.TRUNCATED),
        (b"\xff\xd8\xff\xd9", Reason.CORRUPT_IMAGE),
        (b"\xff\xd8" + segment(0xE5, b"") + b"\xff\xc3\0\0", Reason.CORRUPT_IMAGE),
        (b"\xff\xd8" + JPEGS["RGB baseline 0"], Reason.CORRUPT_IMAGE),
    ],
)
def test_a_jpeg_that_cannot_be_followed_is_refused(data: bytes, reason: Reason) -> None:
    with pytest.raises(Quarantine) as caught:
        strip_metadata(data, ImageInfo("jpeg", 97, 61, 1, "RGB"))
    assert caught.value.reason == reason


SMALL_OPTIONS: list[tuple[str, dict[str, Any]]] = [
    ("JPEG", {"exif": exif(6)}),
    ("JPEG", {"progressive": True, "restart_marker_blocks": 1}),
    ("PNG", {"exif": exif(6)}),
    ("WEBP", {"exif": exif(6), "icc_profile": ICC}),
    ("BMP", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("TIFF", {"exif": exif(6)}),
    ("TIFF", {"compression": "jpeg"}),
    ("AVIF", {"exif": exif(6).removesuffix(THUMBNAIL_SECRET)}),
    ("GIF", {"comment": b"a comment"}),
]
SMALL = [encode(picture("RGB", 24, 17), image_format, **options) for image_format, options in SMALL_OPTIONS]


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_mutated_bytes_raise_nothing_but_quarantine(data: st.DataObject) -> None:
    """Bytes overwritten, cut out or repeated anywhere: all functions work or quarantine, and end."""
    mutated = bytearray(data.draw(st.sampled_from(SMALL)))
    for _ in range(data.draw(st.integers(1, 4))):
        start = data.draw(st.integers(0, len(mutated) - 1))
        end = data.draw(st.integers(start, min(start + 40, len(mutated))))
        mutated[start:end] = data.draw(st.one_of(st.binary(max_size=8), st.just(mutated[start:end] * 2)))
        if not mutated:
            break
    try:
        # Larger ones would only be filled with zeros.
        info = probe(bytes(mutated), ("dates", "exposure"), max_pixels=10**6)
    except Quarantine:
        return
    with contextlib.suppress(Quarantine):
        strip_metadata(bytes(mutated), info)
    with contextlib.suppress(Quarantine):
        encode_pixels(decode_pixels(bytes(mutated), info), bytes(mutated), info)


SIGNATURES = {
    "jpeg": b"\xff\xd8",
    "png": b"\x89PNG\r\n\x1a\n",
    "webp": b"RIFF\x20\0\0\0WEBP",
    "bmp": b"BM" + bytes(12) + b"\x28\0\0\0",
    "gif": b"GIF89a\x01\0\x01\0\0\0\0",
    "tiff": b"II*\0\x08\0\0\0",
    "netpbm": b"P6\n9 9\n255\n",
    "heif": b"\0\0\0\x0cftypheic\0\0\0\x40meta\0\0\0\0",
}


@settings(max_examples=200, deadline=None)
@given(noise=st.binary(max_size=200), image_format=st.sampled_from(sorted(SIGNATURES)))
def test_noise_behind_a_signature_raises_nothing_but_quarantine(noise: bytes, image_format: str) -> None:
    signature = SIGNATURES[image_format]
    with pytest.raises(Quarantine):
        strip_metadata(signature + noise, ImageInfo(image_format, 9, 9, 6, "RGB"))
