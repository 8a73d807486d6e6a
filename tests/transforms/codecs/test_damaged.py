import io
import json
import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from faceveil.transforms.codecs import av1, isobmff, jpeg_markers, probe, tiff, tiff_directory
from faceveil.transforms.codecs.accounting import Unaccounted
from faceveil.transforms.quarantine import Quarantine, Reason
from tests.conftest import ROOT, noise_image
from tests.transforms.codecs.damaged import MAX_PIXELS
from tests.transforms.codecs.test_metadata import SIGNATURES, SMALL


def test_damage_costs_neither_memory_nor_time() -> None:
    """All that the job does to an image is done to damaged ones: what that takes is bounded by the limit of pixels."""
    command = [sys.executable, "-m", "tests.transforms.codecs.damaged", "1000"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr[-3000:]
    figures = json.loads(ended.stdout)
    assert figures["quarantined"] > 500
    assert figures["grown_mib"] < 60 * MAX_PIXELS / 2**20  # three times what an image may take, see docs/faults.md
    assert figures["slowest"] < 5


@settings(max_examples=300, deadline=None)
@given(noise=st.binary(max_size=200), image_format=st.sampled_from(sorted(SIGNATURES)))
def test_noise_behind_a_signature_is_probed_or_quarantined(noise: bytes, image_format: str) -> None:
    try:
        info = probe(SIGNATURES[image_format] + noise, ("dates", "exposure"), MAX_PIXELS)
    except Quarantine:
        return
    assert 0 < info.width * info.height <= MAX_PIXELS


@pytest.mark.parametrize(("mode", "blocks"), [("L", 1), ("RGB", 1.5), ("CMYK", 4)])
def test_a_jpeg_that_is_too_short_for_its_size_is_refused_by_its_header(mode: str, blocks: float) -> None:
    buffer = io.BytesIO()
    Image.fromarray(noise_image(256, 256)).convert(mode).save(buffer, "JPEG")
    data = buffer.getvalue()
    _, frame, _ = next(segment for segment in jpeg_markers.segments(data) if segment[0] in jpeg_markers.FRAMES)
    width = 8000
    height = 8 * int(1.1 * 8 * len(data) / (2 * blocks * width / 8))  # a block takes two bits
    vast = data[: frame + 5] + struct.pack(">HH", height, width) + data[frame + 9 :]
    with pytest.raises(Quarantine, match=f"cannot hold {width} x {height} px") as caught:
        probe(vast)
    assert caught.value.reason == Reason.TRUNCATED


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize(("mode", "sampling"), [("L", -1), ("RGB", 0), ("RGB", 1), ("RGB", 2), ("CMYK", 0)])
def test_the_shortest_jpeg_of_its_size_is_long_enough(mode: str, sampling: int, progressive: bool) -> None:
    buffer = io.BytesIO()
    grey = Image.new("L", (2043, 2043), 128).convert(mode)
    grey.save(buffer, "JPEG", progressive=progressive, optimize=True, subsampling=sampling)
    assert probe(buffer.getvalue()).width == 2043


@given(st.binary(max_size=100))
def test_segments_of_noise_lie_in_order_within_it(noise: bytes) -> None:
    data = b"\xff\xd8" + noise
    position = 2
    try:
        for _, start, end in jpeg_markers.segments(data):
            assert position <= start < end <= len(data)
            position = end
    except Quarantine:
        pass


@given(st.binary(max_size=60))
def test_noise_is_no_av1_or_has_a_size(noise: bytes) -> None:
    try:
        width, height = av1.frame_size(noise)
    except Unaccounted:
        return
    assert 0 < width <= 65536
    assert 0 < height <= 65536


def avif(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (200, 10, 10)).save(buffer, "AVIF", speed=10)
    return buffer.getvalue()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (64, 48), (801, 3)])
def test_an_avif_of_another_size_than_it_says_is_refused(width: int, height: int) -> None:
    """Said to be of 144 megapixels, a file of 1 kB took 4.4 GB and 16 s: libavif resizes what it has decoded."""
    data = bytearray(avif(width, height))
    assert probe(bytes(data)).width == width
    struct.pack_into(">II", data, data.index(b"ispe") + 8, 12_000, 12_000)
    with pytest.raises(Quarantine, match="coded as") as refused:
        probe(bytes(data))
    assert refused.value.reason is Reason.CORRUPT_IMAGE


def tiff_with(options: dict[str, Any], **tags: int) -> bytes:
    """A TIFF of 64 x 64 px, some of its tags changed to a number."""
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, noise_image(64, 64), photometric="rgb", **options)
    data = bytearray(buffer.getvalue())
    (count,) = struct.unpack_from("<H", data, 8)
    for at in range(10, 10 + 12 * count, 12):
        name = {256: "width", 257: "height", 322: "tile_width", 323: "tile_height"}.get(
            *struct.unpack_from("<H", data, at)
        )
        if name in tags:
            struct.pack_into("<HII", data, at + 2, 4, 1, tags[name])
    return bytes(data)


TILED = {"tile": (64, 64), "compression": "zlib"}


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (tiff_with(TILED, tile_width=26_000, tile_height=26_000), Reason.TOO_LARGE),
        (tiff_with(TILED, tile_width=2**22), Reason.TOO_LARGE),
        (tiff_with({}, height=2_000_000), Reason.TRUNCATED),
        (tiff_with({"compression": "zlib"}, width=10_000, height=14_000), Reason.TRUNCATED),
    ],
    ids=["tile", "wide tile", "uncompressed", "deflate"],
)
def test_a_tiff_that_would_take_much_for_nothing_is_refused_by_its_header(data: bytes, reason: Reason) -> None:
    """The first took 2.2 GB; the third passed for a picture of 128 megapixels, nearly all of them black."""
    with pytest.raises(Quarantine) as refused:
        probe(data, max_pixels=150_000_000)
    assert refused.value.reason is reason


def test_a_tiff_that_says_its_size_twice_is_refused() -> None:
    data = tiff_with({})
    (count,) = struct.unpack_from("<H", data, 8)
    table = data[10 : 10 + 12 * count]
    again = b"".join(struct.pack("<HHII", tag, 4, 1, 30_000) for tag in (256, 257))
    twice = data[:4] + struct.pack("<I", len(data)) + data[8:] + struct.pack("<H", count + 2) + table + again + bytes(4)
    with pytest.raises(Quarantine):
        probe(twice, max_pixels=MAX_PIXELS)


def test_directories_of_a_tiff_that_overlap_are_refused() -> None:
    """A chain of two thousand, each with the same large value: half a gigabyte for a file of 236 kB."""
    count, value = 2000, bytes(150_000)
    chain = b"".join(
        struct.pack(
            "<HHHIII", 1, 700, 1, len(value), 8 + 18 * count, 8 + 18 * (number + 1) if number + 1 < count else 0
        )
        for number in range(count)
    )
    with pytest.raises(Quarantine, match="overlaps"):
        tiff_directory.pages(b"II*\0" + struct.pack("<I", 8) + chain + value)


def test_strips_of_a_tiff_that_overlap_are_refused() -> None:
    flavour = tiff_directory.Flavour("<")
    strips = 1000
    directory = {
        256: tiff_directory.longs(flavour, 64),
        257: tiff_directory.longs(flavour, strips),
        273: tiff_directory.longs(flavour, *[8] * strips),
        279: tiff_directory.longs(flavour, *[4000] * strips),
    }
    with pytest.raises(Quarantine, match="overlap"):
        tiff.strip(tiff_directory.write(flavour, directory), b"")


def test_a_heif_of_many_extents_and_references_is_read_in_no_time() -> None:
    """Time is that of the file's size, not of its square: this takes a second, or an hour."""
    count = 60_000
    infos = b"".join(box(b"infe", struct.pack(">IHH", 2 << 24, number, 0) + b"grid\0") for number in range(1, count))
    links = b"".join(box(b"dimg", struct.pack(">HHH", number, 1, number + 1)) for number in range(1, count - 1))
    extents = struct.pack(">IHHHHH", 0, 0x4400, 1, 1, 0, 65_535) + struct.pack(">II", 0, 12) * 65_535
    content = b"".join(
        (
            bytes(4),
            box(b"pitm", bytes(4) + struct.pack(">H", 1)),
            box(b"iloc", extents),
            box(b"iinf", bytes(4) + struct.pack(">H", count - 1) + infos),
            box(b"iref", bytes(4) + links),
            box(b"iprp", box(b"ipco", b"")),
        )
    )
    data = box(b"ftyp", b"heic" + bytes(4)) + box(b"meta", content)
    with pytest.raises(Quarantine, match="grid"):
        isobmff.facts(data)


def box(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), name) + content


def test_samples_are_whole() -> None:
    """What is damaged here would be nothing of note if it were refused anyway."""
    for data in SMALL:
        assert np.prod([probe(data).width, probe(data).height]) == 24 * 17
