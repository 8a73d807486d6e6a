"""A JPEG that lacks its end marker alone is whole; one that lacks more is not."""

import io
import itertools
from pathlib import Path

import jpeglib
import numpy as np
import pytest
from PIL import Image

from faceveil.transforms.codecs import (
    Pixels,
    decode_for_detection,
    decode_pixels,
    encode_pixels,
    jpeg_markers,
    probe,
    splice,
    strip_metadata,
)
from faceveil.transforms.quarantine import Quarantine, Reason
from tests.transforms.codecs.samples import encode, exif, picture

KINDS = {
    f"{mode}{' progressive' * progressive}{' with restarts' * bool(restart)}": encode(
        picture(mode, 203, 141), "JPEG", progressive=progressive, restart_marker_blocks=restart
    )
    for mode, progressive, restart in itertools.product(("RGB", "L", "CMYK"), (False, True), (0, 3))
}


@pytest.mark.parametrize("missing", [2, 1])
@pytest.mark.parametrize("name", KINDS)
def test_a_missing_end_marker_is_written(name: str, missing: int, tmp_path: Path) -> None:
    whole = KINDS[name]
    data = whole[:-missing]
    np.testing.assert_array_equal(libjpeg_6b(data, tmp_path), libjpeg_6b(whole, tmp_path))  # another reader shows it
    info = probe(data)
    assert info == probe(whole)
    for side in (64, 4096):
        preview, expected = (decode_for_detection(source, info, side) for source in (data, whole))
        np.testing.assert_array_equal(preview.decoded.values, expected.decoded.values)
    stripped = strip_metadata(whole, info)
    assert strip_metadata(data, info) == strip_metadata(data, info, faultless=True) == stripped
    pixels = decode_pixels(data, info)
    painted = np.zeros((141, 203), np.bool_)
    painted[20:60, 30:90] = True
    masked = np.where(painted[..., np.newaxis], np.uint8(0), pixels.values)
    canvas = Pixels(masked, pixels.mode, pixels.faultless)
    assert splice(canvas, painted, data, info) == splice(canvas, painted, whole, info) is not None
    assert encode_pixels(canvas, data, info) == encode_pixels(canvas, whole, info)


@pytest.mark.parametrize("name", KINDS)
def test_zeros_in_place_of_the_end_marker_are_not_missed(name: str) -> None:
    whole = KINDS[name]
    data = whole[:-2] + bytes(100)
    info = probe(data)
    np.testing.assert_array_equal(decode_pixels(data, info).values, decode_pixels(whole, info).values)
    assert strip_metadata(data, info) == strip_metadata(whole, info)


def test_metadata_go_from_a_jpeg_without_its_end_marker() -> None:
    whole = encode(picture(), "JPEG", exif=exif(6), comment=b"somebody")
    stripped = strip_metadata(whole[:-2], probe(whole[:-2]))
    assert stripped == strip_metadata(whole, probe(whole))
    assert probe(stripped).orientation == 6


@pytest.mark.parametrize("name", KINDS)
def test_a_jpeg_that_lacks_more_is_truncated(name: str) -> None:
    whole = KINDS[name]
    for cut in (4, 8, 20, 200):
        data = whole[:-cut]
        info = probe(data)
        for use in (lambda: decode_pixels(data, info), lambda: strip_metadata(data, info)):  # noqa: B023
            with pytest.raises(Quarantine) as caught:
                use()
            assert caught.value.reason == Reason.TRUNCATED


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_progressive_jpeg_that_ends_between_its_scans_is_truncated(mode: str) -> None:
    """libjpeg has nothing to complain about then: each scan that is there is whole."""
    whole = KINDS[f"{mode} progressive"]
    ends = [end for marker, _, end in jpeg_markers.segments(whole) if marker == jpeg_markers.SOS]
    assert len(ends) > 4
    for end in ends[:-1]:
        info = probe(whole[:end])
        for use in (lambda: decode_pixels(whole[:end], info), lambda: strip_metadata(whole[:end], info)):  # noqa: B023
            with pytest.raises(Quarantine) as caught:
                use()
            assert caught.value.reason == Reason.TRUNCATED


@pytest.mark.parametrize("progressive", [False, True])
def test_cut_off_anywhere_a_jpeg_shows_all_of_its_picture_or_nothing(progressive: bool) -> None:
    whole = encode(picture("RGB", 40, 24), "JPEG", progressive=progressive)
    expected = decode_pixels(whole, probe(whole)).values
    accepted = set()
    for length in range(len(whole)):
        try:
            info = probe(whole[:length])
            values = decode_pixels(whole[:length], info).values
            stripped = strip_metadata(whole[:length], info)
        except Quarantine:
            continue
        np.testing.assert_array_equal(values, expected)
        np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(stripped))), expected)
        accepted.add(len(whole) - length)
    assert {1, 2} <= accepted <= {1, 2, 3}


def libjpeg_6b(data: bytes, folder: Path) -> np.ndarray:
    """The luma coefficients, by the library of 1998."""
    path = folder / "a.jpg"
    path.write_bytes(data)
    with jpeglib.version("6b"):
        return np.asarray(jpeglib.read_dct(str(path)).Y)
