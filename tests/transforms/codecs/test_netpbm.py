"""Netpbm's formats, read by OpenCV and Pillow and by a reader of a few lines that follows the specification."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from faceveil.transforms.codecs import (
    Pixels,
    decode_for_detection,
    decode_pixels,
    encode_pixels,
    is_lossy,
    netpbm,
    probe,
    strip_metadata,
)
from faceveil.transforms.quarantine import Quarantine, Reason
from tests.transforms.codecs.samples import encode, opencv, picture, pillow

MODES = {1: "L", 2: "L", 3: "RGB", 4: "L", 5: "L", 6: "RGB"}


def made(kind: int, samples: np.ndarray, greatest: int = 255, header: str = "P{kind}\n{size}\n{greatest}\n") -> bytes:
    """A file of samples ``[H, W]`` or ``[H, W, 3]``; of bitmaps 1 is black."""
    size = f"{samples.shape[1]} {samples.shape[0]}"
    start = header.format(kind=kind, size=size, greatest="" if kind in (1, 4) else greatest)
    start = re.sub(r"\n\n$", "\n", start)
    if kind <= 3:
        return start.encode() + b"\n".join(b" ".join(b"%d" % v for v in row.ravel()) for row in samples) + b"\n"
    if kind == 4:
        return start.encode() + np.packbits(samples, axis=1).tobytes()
    return start.encode() + samples.astype(">u2" if greatest > 255 else "u1").tobytes()


def read(data: bytes) -> tuple[int, np.ndarray]:
    """Greatest value and samples of a file that is written in the one way in which they are written."""
    found = re.match(rb"P([1-6])\n(\d+) (\d+)\n", data)
    assert found
    kind, width, height = map(int, found.groups())
    greatest, at = 1, found.end()
    if kind not in (1, 4):
        number = re.compile(rb"(\d+)\n").match(data, at)
        assert number
        greatest, at = int(number[1]), number.end()
    shape = (height, width, 3) if kind in (3, 6) else (height, width)
    body = data[at:]
    if kind == 1:
        assert max(map(len, body.splitlines())) <= 70
        return 1, np.array([int(c) for c in body.decode().replace("\n", "")]).reshape(shape)
    if kind <= 3:
        assert max(map(len, body.splitlines())) <= 70
        return greatest, np.array(list(map(int, body.split()))).reshape(shape)
    if kind == 4:
        return 1, np.unpackbits(np.frombuffer(body, np.uint8).reshape(height, -1), axis=1)[:, :width]
    assert len(body) == np.prod(shape) * (1 if greatest < 256 else 2)
    return greatest, np.frombuffer(body, ">u2" if greatest > 255 else "u1").reshape(shape)


def noise(kind: int, greatest: int, height: int = 23, width: int = 37, seed: int = 0) -> np.ndarray:
    shape = (height, width, 3) if kind in (3, 6) else (height, width)
    samples = np.random.default_rng(seed).integers(0, (1 if kind in (1, 4) else greatest) + 1, shape)
    samples[0, 0] = 0 if kind in (1, 4) else greatest
    return samples


def reason(data: bytes) -> Reason:
    def use() -> None:
        info = probe(data)
        decode_pixels(data, info)
        strip_metadata(data, info)

    with pytest.raises(Quarantine) as caught:
        use()
    return caught.value.reason


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("greatest", [1, 15, 100, 255, 256, 1023, 65535])
def test_what_is_not_painted_keeps_its_value_and_the_file_its_kind(kind: int, greatest: int) -> None:
    samples = noise(kind, greatest)
    data = made(kind, samples, greatest)
    info = probe(data)
    deep = ";16" if greatest > 255 and kind not in (1, 4) else ""
    assert (info.format, info.width, info.height, info.orientation) == ("netpbm", 37, 23, 1)
    assert info.mode == {"L": "I;16"}.get(MODES[kind], "RGB;16") if deep else info.mode == MODES[kind]
    pixels = decode_pixels(data, info)
    full = np.iinfo(pixels.values.dtype).max
    assert pixels.values.max() == full
    if kind in (1, 4):
        np.testing.assert_array_equal(pixels.values[..., 0], 255 * (1 - samples))
    painted = pixels.values.copy()
    painted[5:15, 10:20] = np.arange(100).reshape(10, 10, 1) * (full // 100)
    written = encode_pixels(Pixels(painted, pixels.mode), data, info)
    assert written[:2] == data[:2]
    greatest_now, after = read(written)
    assert greatest_now == (1 if kind in (1, 4) else greatest)
    outside = np.ones(samples.shape[:2], bool)
    outside[5:15, 10:20] = False
    np.testing.assert_array_equal(after[outside], samples[outside])
    assert (after[5:15, 10:20] != samples[5:15, 10:20]).any()
    assert not is_lossy(data, info)


@settings(max_examples=200)
@given(st.integers(1, 65535), st.data())
def test_every_value_of_every_range_comes_back(greatest: int, data: st.DataObject) -> None:
    samples = np.array([[data.draw(st.integers(0, greatest)) for _ in range(8)]])
    file = made(5, samples, greatest)
    info = probe(file)
    assert encode_pixels(decode_pixels(file, info), file, info) == file == strip_metadata(file, info)


@pytest.mark.parametrize(("kind", "greatest"), [(4, 1), (5, 255), (5, 65535), (6, 255), (6, 65535), (2, 255), (3, 255)])
def test_pixels_are_those_of_other_readers(kind: int, greatest: int) -> None:
    data = made(kind, noise(kind, greatest), greatest)
    values = decode_pixels(data, probe(data)).values
    if greatest < 256:
        np.testing.assert_array_equal(values, pillow(data, "RGB" if kind in (3, 6) else "L").reshape(values.shape))
    read_by_opencv = opencv(data)
    if kind in (3, 6):
        read_by_opencv = read_by_opencv[..., ::-1]
    np.testing.assert_array_equal(values, read_by_opencv.reshape(values.shape))


@pytest.mark.parametrize("mode", ["1", "L", "RGB", "I;16"])
def test_what_pillow_writes_is_read(mode: str) -> None:
    image = picture("RGB").convert("L").convert("I;16") if mode == "I;16" else picture(mode)
    data = encode(image, "PPM")
    values = decode_pixels(data, probe(data)).values
    np.testing.assert_array_equal(values.squeeze(), pillow(data, "L" if mode == "1" else None))


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 6])
def test_comments_and_what_stands_behind_go(kind: int) -> None:
    samples = noise(kind, 255)
    plain = made(kind, samples)
    # Behind a bitmap's height the pixels begin.
    said = "P{kind} # somebody was here\n\t# and here\r{size}\n" + (
        "# and again\n{greatest}\n" if kind % 3 != 1 else ""
    )
    info = probe(made(kind, samples, header=said))
    behind = b"\nsomebody" + encode(picture(), "JPEG") + b"somebody"
    for data in (made(kind, samples, header=said), plain + behind, made(kind, samples, header=said) + behind):
        assert probe(data) == info
        stripped = strip_metadata(data, info)
        assert stripped == strip_metadata(plain, info)
        assert b"somebody" not in stripped
        np.testing.assert_array_equal(read(stripped)[1], samples)
    raw = strip_metadata(plain, info)
    assert strip_metadata(raw, info) is raw
    if kind > 3:
        assert raw == plain


def test_comments_among_plain_numbers_go() -> None:
    data = b"P2\n3 1\n255\n1 # somebody\n2\n#here\n3#"
    assert strip_metadata(data, probe(data)) == b"P2\n3 1\n255\n1 2 3\n"


@pytest.mark.parametrize("kind", [1, 2, 3])
@pytest.mark.parametrize("at_once", [1, 2, 3, 7, 64])
def test_plain_numbers_are_read_in_pieces_of_any_size(kind: int, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = noise(kind, 255, 5, 7)
    head, _, body = made(kind, samples).partition(b"\n")
    lines = body.splitlines()
    data = b"\n".join([head, *lines[:2], *(line + b" # 9 9 9\n#\r" for line in lines[2:]), b"9 9", b"somebody 1 2 3"])
    whole = decode_pixels(data, probe(data)).values
    monkeypatch.setattr(netpbm, "_TEXT_AT_ONCE", at_once)
    np.testing.assert_array_equal(decode_pixels(data, probe(data)).values, whole)
    np.testing.assert_array_equal(read(strip_metadata(data, probe(data)))[1], samples)


def test_digits_of_a_plain_bitmap_need_no_space() -> None:
    data = b"P1 4 2 0110\n1 0 01"
    assert decode_pixels(data, probe(data)).values[..., 0].tolist() == [[255, 0, 0, 255], [0, 255, 255, 0]]
    assert strip_metadata(data, probe(data)) == b"P1\n4 2\n01101001\n"


def test_bits_that_fill_up_rows_become_zero() -> None:
    data = b"P4\n3 2\n" + bytes([0b101_11111, 0b010_10101])
    assert strip_metadata(data, probe(data)) == b"P4\n3 2\n" + bytes([0b101_00000, 0b010_00000])


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 6])
@pytest.mark.parametrize("between", [b"", b"\n", b" \n"])
def test_several_pictures_in_one_are_quarantined(kind: int, between: bytes) -> None:
    first, second = (made(kind, noise(kind, 255, seed=seed)) for seed in (1, 2))
    assert reason(first + between + second) is Reason.MULTIPLE_FRAMES
    assert reason(first + between + made(6, noise(6, 255))) is Reason.MULTIPLE_FRAMES


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"P5\n0 4\n255\n", Reason.CORRUPT_IMAGE),
        (b"P5\n4 4\n0\n" + bytes(16), Reason.CORRUPT_IMAGE),
        (b"P5\n4 4\n65536\n" + bytes(32), Reason.CORRUPT_IMAGE),
        (b"P5\n4 4\n255\n" + bytes(15), Reason.TRUNCATED),
        (b"P5\n4 4\n15\n" + bytes(15) + b"\x10", Reason.CORRUPT_IMAGE),
        (b"P5\n4 4\n1000\n" + bytes(30) + b"\x03\xe9", Reason.CORRUPT_IMAGE),
        (b"P4\n9 2\n" + bytes(3), Reason.TRUNCATED),
        (b"P2\n2 2\n255\n1 2 3", Reason.TRUNCATED),
        (b"P2\n1 1\n255\n \n", Reason.TRUNCATED),
        (b"P2\n2 2\n255\n1 2 3 256", Reason.CORRUPT_IMAGE),
        (b"P2\n1 1\n255\n4294967297 ", Reason.CORRUPT_IMAGE),
        (b"P2\n2 2\n255\n1 2 -3 4", Reason.TRUNCATED),
        (b"P1\n2 2\n0 1 2 1", Reason.CORRUPT_IMAGE),
        (b"P1\n2 2\n0 1 1", Reason.TRUNCATED),
        # Readers differ in where a number ends that a comment follows at once, and so in where the pixels begin.
        (b"P5\n4 4\n255# somebody\n" + bytes(16), Reason.CORRUPT_IMAGE),
        (b"P5\n4# somebody\n4\n255\n" + bytes(16), Reason.CORRUPT_IMAGE),
        (b"P5\n4 4\n", Reason.CORRUPT_IMAGE),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 1\nMAXVAL 255\nENDHDR\n1", Reason.UNSUPPORTED_IMAGE),
        (b"Pf\n1 1\n-1.0\n" + bytes(4), Reason.UNSUPPORTED_IMAGE),
    ],
)
def test_what_cannot_be_read_for_sure_is_quarantined(data: bytes, expected: Reason) -> None:
    assert reason(data) is expected


def test_pixels_are_counted_by_the_header() -> None:
    with pytest.raises(Quarantine, match="too_large: 999999999 x 999999999 px"):
        probe(b"P6 999999999 999999999 255 ", max_pixels=10**8)


def test_the_detector_is_shown_what_is_in_the_low_bits_and_in_dots() -> None:
    dim = made(5, np.asarray(picture("L")) // 16, 65535)
    assert len(list(decode_for_detection(dim, probe(dim), 64).renderings())) > 1
    dots = made(4, np.asarray(picture("1")).astype(int))
    assert len(list(decode_for_detection(dots, probe(dots), 64).renderings())) > 1
