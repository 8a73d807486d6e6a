"""Radiance's headers and lines, as OpenCV writes them."""

from __future__ import annotations

import contextlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.codecs import radiance
from faceveil.transforms.quarantine import Quarantine, Reason


def hdr(width: int = 40, height: int = 7) -> bytes:
    values = np.random.default_rng(0).random((height, width, 3)).astype(np.float32)
    values[:, : width // 2] = 0.5  # runs
    written, data = cv2.imencode(".hdr", values)
    assert written
    return data.tobytes()


@pytest.mark.parametrize(("width", "height"), [(40, 7), (8, 1), (7, 9), (300, 2)])
def test_the_picture_is_told_by_the_header(width: int, height: int) -> None:
    info = radiance.probe(hdr(width, height))
    assert (info.format, info.source, info.mode) == ("png", "radiance hdr", "RGB")
    assert (info.width, info.height) == (width, height)
    assert info.hides_pixels  # so that the file is never copied


@pytest.mark.parametrize(("width", "height"), [(40, 7), (7, 9)])
def test_a_file_that_ends_anywhere_is_refused(width: int, height: int) -> None:
    data = hdr(width, height)
    for end in range(10, len(data)):
        with pytest.raises(Quarantine) as caught:
            radiance.probe(data[:end])
        assert caught.value.reason in (Reason.TRUNCATED, Reason.CORRUPT_IMAGE)


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"rgbe", b"xyze", Reason.UNSUPPORTED_IMAGE),
        (b"-Y", b"+Y", Reason.UNSUPPORTED_IMAGE),
        (b"+X", b"-X", Reason.UNSUPPORTED_IMAGE),
        (b"+X 40", b"+X 0", Reason.CORRUPT_IMAGE),
        (b"+X 40", b"+X 41", Reason.CORRUPT_IMAGE),
        (b"#?RADIANCE", b"#?RADIANCE of another kind", Reason.UNSUPPORTED_IMAGE),
        (b"\n\n", b"\n", Reason.CORRUPT_IMAGE),
    ],
)
def test_what_is_of_another_kind_says_so(old: bytes, new: bytes, reason: Reason) -> None:
    with pytest.raises(Quarantine) as caught:
        radiance.probe(hdr().replace(old, new, 1))
    assert caught.value.reason == reason


@given(st.binary(max_size=40), st.integers(0, 400))
def test_no_bytes_at_all_break_it(noise: bytes, at: int) -> None:
    data = hdr()
    with contextlib.suppress(Quarantine):
        assert radiance.probe(data[:at] + noise + data[at + len(noise) :]).source == "radiance hdr"
