"""OpenEXR's headers as its specification writes them; files of its own library are read by `make test-tfio`."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.codecs import openexr
from faceveil.transforms.quarantine import Quarantine, Reason

WIDTH, HEIGHT = 9, 7


def attribute(name: bytes, kind: bytes, value: bytes) -> bytes:
    return name + b"\0" + kind + b"\0" + struct.pack("<I", len(value)) + value


def exr(
    channels: str = "BGR",
    kind: int = openexr.HALF,
    flags: int = 0,
    compression: int = 0,
    sampling: int = 1,
    tiles: bytes = b"",
    pieces: int = HEIGHT,
) -> bytes:
    """A file whose pieces are all of zeros."""
    listed = b"".join(name.encode() + b"\0" + struct.pack("<I4x2I", kind, sampling, sampling) for name in channels)
    header = struct.pack("<2I", 20000630, 2 | flags) + b"".join(
        (
            attribute(b"channels", b"chlist", listed + b"\0"),
            attribute(b"compression", b"compression", bytes([compression])),
            attribute(b"dataWindow", b"box2i", struct.pack("<4i", -3, 5, WIDTH - 4, HEIGHT + 4)),
            attribute(b"owner", b"string", b"Jane Roe"),
            attribute(b"tiles", b"tiledesc", tiles) if tiles else b"",
            b"\0",
        )
    )
    piece = bytes(16 if flags & 0x200 else 4) + struct.pack("<I", 60) + bytes(60)
    start = len(header) + 8 * pieces
    places = [start + len(piece) * number for number in range(pieces)]
    return header + struct.pack(f"<{pieces}Q", *places) + piece * pieces


@pytest.mark.parametrize(
    ("data", "mode"),
    [
        (exr(), "RGB"),
        (exr("ABGRZ", openexr.FLOAT), "RGB"),
        (exr("Y"), "L"),
        (exr(compression=3, pieces=1), "RGB"),
        (exr(flags=0x200, tiles=struct.pack("<2IB", 4, 4, 0), pieces=6), "RGB"),
    ],
)
def test_the_picture_is_told_by_the_header(data: bytes, mode: str) -> None:
    info = openexr.probe(data)
    assert (info.format, info.source, info.width, info.height, info.mode) == ("png", "openexr", WIDTH, HEIGHT, mode)
    assert info.hides_pixels  # so that the file is never copied


@pytest.mark.parametrize(
    ("data", "reason", "said"),
    [
        (exr(flags=0x1000), Reason.MULTIPLE_FRAMES, "several parts"),
        (exr(flags=0x800), Reason.UNSUPPORTED_IMAGE, "deep"),
        (exr("GR"), Reason.UNSUPPORTED_IMAGE, "G, R"),
        (exr("Z"), Reason.UNSUPPORTED_IMAGE, "Z, not R, G, B"),
        (exr(kind=0), Reason.UNSUPPORTED_IMAGE, "whole numbers"),
        (exr(sampling=2), Reason.UNSUPPORTED_IMAGE, "fewer pixels"),
        (exr(compression=77), Reason.CORRUPT_IMAGE, "compression"),
        (exr(flags=0x200, tiles=struct.pack("<2IB", 4, 4, 1), pieces=6), Reason.UNSUPPORTED_IMAGE, "mipmaps"),
        (exr(pieces=HEIGHT - 1), Reason.TRUNCATED, "ends at byte"),
    ],
)
def test_what_is_of_another_kind_says_so(data: bytes, reason: Reason, said: str) -> None:
    with pytest.raises(Quarantine, match=said) as caught:
        openexr.probe(data)
    assert caught.value.reason == reason


def test_a_file_that_ends_anywhere_is_refused() -> None:
    for end in range(4, len(exr())):
        with pytest.raises(Quarantine):
            openexr.probe(exr()[:end])


@given(st.binary(max_size=100), st.integers(4, 400))
def test_no_bytes_at_all_break_it(noise: bytes, at: int) -> None:
    data = exr()
    for broken in (data[:at] + noise + data[at + len(noise) :], data[:4] + noise):
        with contextlib.suppress(Quarantine):
            assert openexr.probe(broken).source == "openexr"
