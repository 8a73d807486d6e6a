"""JPEG 2000's boxes and markers, as OpenJPEG writes them for Pillow; and the file that is made of a codestream."""

from __future__ import annotations

import contextlib
import io
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from faceveil.transforms.codecs import jpeg2000
from faceveil.transforms.quarantine import Quarantine, Reason
from tests.transforms.codecs.samples import encode, picture

DEEP = Image.fromarray(np.arange(61 * 97, dtype=np.uint16).reshape(61, 97) * 11)


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def in_header(data: bytes, *boxes: bytes) -> bytes:
    """A JP2 file with more boxes in its header."""
    at = data.index(b"jp2h") - 4
    length = int.from_bytes(data[at : at + 4], "big")
    content = data[at + 8 : at + length] + b"".join(boxes)
    return data[:at] + box(b"jp2h", content) + data[at + length :]


JP2 = encode(picture(), "JPEG2000")
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize(
    ("image", "options", "mode"),
    [
        (picture(), {}, "RGB"),
        (picture(), {"no_jp2": True}, "RGB"),
        (picture(), {"irreversible": True, "quality_layers": [20]}, "RGB"),
        (picture(), {"tile_size": (32, 32), "comment": "Jane Roe"}, "RGB"),
        (picture("L"), {}, "L"),
        (DEEP, {}, "I;16"),
    ],
)
def test_the_picture_is_told_by_the_headers(image: Image.Image, options: dict[str, Any], mode: str) -> None:
    data = encode(image, "JPEG2000", **options)
    info = jpeg2000.probe(data)
    assert (info.format, info.source, info.mode) == ("png", "jpeg2000", mode)
    assert (info.width, info.height) == image.size
    assert info.hides_pixels  # so that the file is never copied
    with (
        Image.open(io.BytesIO(jpeg2000.wrapped(data, jpeg2000.find_codestream(data)))) as alone,
        Image.open(io.BytesIO(data)) as own,
    ):
        assert np.array_equal(np.asarray(alone), np.asarray(own))


def test_bytes_behind_the_end_are_left_out() -> None:
    data = encode(picture(), "JPEG2000", no_jp2=True)
    found = jpeg2000.find_codestream(data + b"Jane Roe")
    assert jpeg2000.wrapped(data + b"Jane Roe", found).endswith(data)


def test_a_profile_is_kept() -> None:
    data = in_header(JP2, box(b"colr", b"\2\0\0" + PROFILE))
    assert jpeg2000.find_codestream(data).profile == PROFILE


@pytest.mark.parametrize(
    ("data", "reason", "said"),
    [
        (encode(picture("RGBA"), "JPEG2000"), Reason.UNSUPPORTED_IMAGE, "alpha"),
        (encode(picture("LA"), "JPEG2000", no_jp2=True), Reason.UNSUPPORTED_IMAGE, "channels of 8, 8 bits"),
        (in_header(JP2, box(b"pclr", bytes(20))), Reason.UNSUPPORTED_IMAGE, "palette"),
        (in_header(JP2, box(b"colr", struct.pack(">3BI", 1, 0, 0, 18))), Reason.UNSUPPORTED_IMAGE, "colour space"),
        (JP2 + box(b"jp2c", JP2[JP2.index(b"jp2c") + 4 :]), Reason.MULTIPLE_FRAMES, "2 pictures"),
        (JP2[: JP2.index(b"jp2c") - 4], Reason.CORRUPT_IMAGE, "no codestream"),
        (JP2[:-2] + b"\xff\x00", Reason.TRUNCATED, "ends at byte"),
    ],
)
def test_what_is_of_another_kind_says_so(data: bytes, reason: Reason, said: str) -> None:
    with pytest.raises(Quarantine, match=said) as caught:
        jpeg2000.probe(data)
    assert caught.value.reason == reason


def test_usual_meanings_of_channels_may_be_told() -> None:
    usual = struct.pack(">10H", 3, 0, 0, 1, 1, 0, 2, 2, 0, 3)
    assert jpeg2000.probe(in_header(JP2, box(b"cdef", usual))).mode == "RGB"
    swapped = struct.pack(">10H", 3, 0, 0, 3, 1, 0, 2, 2, 0, 1)
    with pytest.raises(Quarantine, match="meanings of their own"):
        jpeg2000.probe(in_header(JP2, box(b"cdef", swapped)))


@pytest.mark.parametrize("options", [{}, {"no_jp2": True}])
def test_a_file_that_ends_anywhere_is_refused(options: dict[str, Any]) -> None:
    data = encode(picture("L", 16, 16), "JPEG2000", **options)
    for end in range(4, len(data)):
        with pytest.raises(Quarantine):
            jpeg2000.probe(data[:end])


@given(st.binary(max_size=60), st.integers(4, 300))
def test_no_bytes_at_all_break_it(noise: bytes, at: int) -> None:
    with contextlib.suppress(Quarantine):
        assert jpeg2000.probe(JP2[:at] + noise + JP2[at + len(noise) :]).source == "jpeg2000"
