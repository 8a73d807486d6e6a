"""Whatever one of the usual readers can decode is known by how it begins, and ordinary bytes are not taken for it."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import struct
from collections.abc import Iterator

import cv2
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from faceveil.transforms.codecs.probe import probe
from faceveil.transforms.codecs.signatures import IMAGES, find, sniff
from faceveil.transforms.quarantine import Quarantine, Reason
from tests.conftest import shared_data
from tests.transforms.codecs.samples import encode, picture

MODES = ("RGB", "L", "1", "P", "RGBA", "CMYK", "F", "I;16")


def readers_of(data: bytes) -> list[str]:
    """Who decodes the bytes to pixels."""
    found = []
    with contextlib.suppress(Exception):
        Image.open(io.BytesIO(data)).load()
        found.append("Pillow")
    with contextlib.suppress(cv2.error):
        if cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) is not None:
            found.append("OpenCV")
    with contextlib.suppress(tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
        tf.io.decode_image(data)
        found.append("TensorFlow")
    try:
        probe(data)
        found.append("faceveil")
    except Quarantine as error:
        if error.reason is not Reason.NOT_AN_IMAGE:
            found.append("faceveil")
    return found


def written_by_pillow() -> Iterator[tuple[str, bytes]]:
    Image.init()
    for image_format in sorted(Image.SAVE):
        for mode in MODES:
            with contextlib.suppress(Exception):
                yield f"{image_format} {mode}", encode(picture().convert(mode), image_format)


@pytest.mark.filterwarnings("ignore")
def test_whatever_a_reader_decodes_of_what_pillow_writes_is_known() -> None:
    seen = set()
    for name, data in written_by_pillow():
        if readers_of(data):
            seen.add(name.split()[0])
            assert sniff(data), name
    assert len(seen) > 20


@pytest.mark.parametrize(
    "ending", [".bmp", ".png", ".pam", ".pgm", ".ppm", ".pfm", ".ras", ".hdr", ".jp2", ".tif", ".webp"]
)
def test_what_opencv_writes_is_known(ending: str) -> None:
    pixels = np.asarray(picture("L" if ending == ".pgm" else "RGB"))
    written, data = cv2.imencode(ending, pixels.astype(np.float32) if ending in (".pfm", ".hdr") else pixels)
    assert written
    assert sniff(data.tobytes())


@pytest.mark.filterwarnings("ignore")
def test_every_awkward_file_that_a_reader_decodes_is_known_at_its_beginning_and_behind_a_header() -> None:
    decoded = 0
    for path in sorted(path for path in shared_data("tricky").rglob("*") if path.is_file()):
        data = path.read_bytes()
        if readers_of(data):
            decoded += 1
            assert sniff(data) in IMAGES, path
            if len(data) < 26:  # a header alone
                continue
            assert find(data), path
            assert find(b"a header: " + data), path
    assert decoded > 300


@pytest.mark.parametrize("header_size", [12, 40, 24, 41])
def test_a_bmp_that_tensorflow_decodes_is_known_whatever_its_second_header_says(header_size: int) -> None:
    data = bytearray(encode(picture(), "BMP"))
    data[14:18] = struct.pack("<I", header_size)
    data[2:6] = struct.pack("<I", 1)
    tf.io.decode_image(bytes(data))
    assert sniff(bytes(data))


@pytest.mark.parametrize(
    "brand", [b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1", b"miaf", b"jpeg"]
)
def test_any_brand_of_iso_media_is_known(brand: bytes) -> None:
    data = struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + brand + b"mif2" + bytes(100)
    assert sniff(data)
    assert find(b"header" + data)


def test_big_tiffs_and_codestreams_are_known() -> None:
    for data in (
        b"II+\0\x08\0\0\0\x10" + bytes(30),
        b"MM\0+\0\x08\0\0\0\0" + bytes(30),
        b"\xff\x4f\xff\x51\0\x2f" + bytes(30),
    ):
        assert sniff(data) in IMAGES
        assert find(b"header" + data)


def test_a_jpeg_is_found_without_its_beginning() -> None:
    data = encode(picture(), "JPEG")
    start = data.index(b"\xff\xc0")
    assert sniff(data[start:]) is None
    assert find(data[start:]) == "jpeg"


@pytest.mark.parametrize("size", [26, 32, 64, 200, 1000, 4096])
def test_random_bytes_are_hardly_ever_taken_for_anything(size: int) -> None:
    rng = np.random.default_rng(size)
    values = [rng.bytes(size) for _ in range(2**22 // size // 4)]
    assert sum(sniff(value) is not None for value in values) <= 3  # JPEG XL's two bytes
    assert sum(find(value) is not None for value in values[:5000]) == 0


def test_labels_hashes_texts_and_numbers_are_not_taken_for_anything() -> None:
    rng = np.random.default_rng(0)
    words = "BM P6 P5 II MM GIF RIFF FORM DDS GRIB BUFR icns FWS CWS qoif PK Pf Py BZ f ÿ é 女".split()  # noqa: SIM905
    for number in range(2000):
        digest = hashlib.sha512(str(number).encode())
        floats = rng.normal(size=64)
        for value in (
            *(digest.digest(), digest.hexdigest().encode(), f"n{number:08}".encode(), str(number).encode() * 9),
            " ".join(rng.choice(words, 30)).encode(),
            json.dumps({"x": floats.tolist(), "é": number}).encode(),
            *(floats.astype("<f4").tobytes(), floats.tobytes(), rng.integers(0, 500, 64).astype("<i4").tobytes()),
            *(
                np.arange(number, number + 99).tobytes(),
                np.repeat(rng.integers(0, 4, 20), 30).astype(np.uint8).tobytes(),
            ),
            *(bytes(number), b"\xff" * number, f"POLYGON(({number} 1, 2 3))".encode() * 3, b"\n" * 200, b"\x01" * 600),
        ):
            assert sniff(value) is None, value[:40]
            assert find(value) is None, value[:40]
