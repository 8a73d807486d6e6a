import io
import os
from pathlib import Path
from typing import Any

import jpegio
import numpy as np
import pytest
from PIL import Image

from faceveil.transforms.codecs.jpeg_coefficients import LARGEST, can_be_coded, file_of, has_complete_tables, transcode
from faceveil.transforms.codecs.jpeg_markers import segments
from faceveil.transforms.codecs.jpeg_stream import DQT
from tests.conftest import noise_image
from tests.transforms.codecs.samples import encode, picture

PHOTO = encode(picture(), "JPEG", quality=90)


def read(data: bytes) -> Any:
    with file_of(data) as path:
        return jpegio.read(path)


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("image", ["photo", "progressive", "grey", "CMYK"])
def test_every_decoder_shows_the_same_after_transcoding(image: str) -> None:
    data = {
        "photo": PHOTO,
        "progressive": encode(picture(), "JPEG", progressive=True),
        "grey": encode(picture().convert("L"), "JPEG"),
        "CMYK": encode(picture().convert("CMYK"), "JPEG"),
    }[image]
    for keep_tables in (False, True):
        written = transcode(data, keep_tables=keep_tables and image != "progressive")
        assert written
        np.testing.assert_array_equal(pixels(written), pixels(data))


@pytest.mark.parametrize(
    ("place", "value", "coded"),
    [
        ((0, 1), 1023, True),
        ((0, 1), 1024, False),
        ((7, 7), -1023, True),
        ((7, 7), -1024, False),
        ((0, 0), 1023, True),
        ((0, 0), 1024, False),
        ((0, 0), -1024, True),
        ((0, 0), -1025, False),
        ((8, 16), -1024, True),
        ((9, 16), -1024, False),
    ],
)
@pytest.mark.parametrize("component", [0, 2])
def test_coefficients_are_coded_as_far_as_huffman_s_codes_reach(
    place: tuple[int, int], value: int, coded: bool, component: int
) -> None:
    coefficients = read(PHOTO)
    coefficients.coef_arrays[component][place] = value
    assert can_be_coded(coefficients) is coded


def with_tables(data: bytes, change: bytes) -> bytes:
    """A JPEG whose first quantisation table has other values behind its first ones."""
    marker, start, _ = next(segment for segment in segments(data) if segment[0] == DQT)
    assert marker == DQT
    return data[: start + 5 + 64 - len(change)] + change + data[start + 5 + 64 :]


@pytest.mark.parametrize("zeros", [1, 20, 63])
def test_coefficients_that_a_table_multiplies_by_zero_become_zero_and_others_stay(zeros: int) -> None:
    noise = encode(Image.fromarray(noise_image(64, 96)), "JPEG", quality=95)
    hidden = with_tables(noise, bytes(zeros))
    written = transcode(hidden)
    assert written
    before, after = read(hidden), read(written)
    order = np.argsort(_zigzag(), axis=None)
    unseen = np.zeros(64, bool)
    unseen[order[64 - zeros :]] = True
    blocks = [
        array.reshape(-1, 8, array.shape[1] // 8, 8).swapaxes(1, 2)
        for array in (*before.coef_arrays[:1], *after.coef_arrays[:1])
    ]
    gone = unseen.reshape(8, 8)
    assert blocks[0][..., gone].any()
    assert not blocks[1][..., gone].any()
    np.testing.assert_array_equal(blocks[0][..., ~gone], blocks[1][..., ~gone])
    for old, new in zip(before.coef_arrays[1:], after.coef_arrays[1:], strict=True):
        np.testing.assert_array_equal(old, new)
    assert all(values.min() >= 1 for values in after.quant_tables)


def _zigzag() -> np.ndarray:
    """The place of each coefficient in zigzag order (ITU-T T.81, figure A.6)."""
    places = sorted(((x, y) for x in range(8) for y in range(8)), key=lambda p: (sum(p), p[0] if sum(p) % 2 else -p[0]))
    found = np.zeros((8, 8), int)
    for number, (row, column) in enumerate(places):
        found[row, column] = number
    return found


def test_what_is_cut_off_before_its_picture_is_none() -> None:
    assert transcode(PHOTO[:100]) is None
    assert transcode(b"") is None


def test_a_picture_of_more_samples_than_fit_is_none() -> None:
    frame = PHOTO.index(b"\xff\xc0")
    side = int((LARGEST / 3) ** 0.5) + 8
    vast = PHOTO[: frame + 5] + side.to_bytes(2, "big") * 2 + PHOTO[frame + 9 :]
    assert transcode(vast) is None


def test_tables_made_for_one_picture_are_not_complete() -> None:
    assert has_complete_tables(read(encode(picture(), "JPEG")))
    assert not has_complete_tables(read(encode(picture(), "JPEG", optimize=True)))


@pytest.mark.parametrize("in_memory", [True, False])
def test_the_file_for_jpegio_holds_the_bytes_and_is_gone_afterwards(
    in_memory: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if in_memory and not hasattr(os, "memfd_create"):
        pytest.skip("this system has no files in memory")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    if not in_memory:
        monkeypatch.delattr(os, "memfd_create", raising=False)
    with file_of(PHOTO) as path:
        assert Path(path).read_bytes() == PHOTO
        assert bool(list(tmp_path.iterdir())) is not in_memory
    assert list(tmp_path.iterdir()) == []
    assert not Path(path).exists()
