"""DICOM's elements as PS3.5 writes them; files of pydicom are read by `make test-tfio`."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.codecs import dicom
from faceveil.transforms.quarantine import Quarantine, Reason

WIDTH, HEIGHT = 9, 7
_TEXTS, _LONG = {b"UI", b"CS", b"IS", b"PN"}, {b"OB", b"OW", b"SQ"}
_UID = "1.2.840.10008.1.2"


def element(group: int, number: int, kind: bytes, value: bytes | str | int, *, implicit: bool = False) -> bytes:
    """One data element in little endian."""
    if isinstance(value, int):
        value = struct.pack("<H", value)
    elif isinstance(value, str):
        value = value.encode() + b" " * (len(value) % 2)
    if implicit:
        length = struct.pack("<I", len(value))
    else:
        length = kind + (struct.pack("<2xI", len(value)) if kind in _LONG else struct.pack("<H", len(value)))
    return struct.pack("<2H", group, number) + length + value


def dicom_file(
    syntax: str = f"{_UID}.1",
    colours: str = "RGB",
    bits: int = 8,
    allocated: int = 8,
    pixels: bytes | None = None,
    before: bytes = b"",
    implicit: bool = False,
    **texts: str,
) -> bytes:
    """A file with one picture of 9 x 7 pixels."""
    samples = 3 if colours in ("RGB", "YBR_RCT") else 1
    if pixels is None:
        pixels = element(0x7FE0, 0x10, b"OW", bytes(WIDTH * HEIGHT * samples * allocated // 8), implicit=implicit)
    elements: list[tuple[int, int, bytes, str | int]] = [
        (8, 0x16, b"UI", texts.get("sop_class", "1.2.840.10008.5.1.4.1.1.7")),
        (8, 0x60, b"CS", texts.get("modality", "OT")),
        (0x10, 0x10, b"PN", "Roe^Jane"),
        (0x28, 2, b"US", samples),
        (0x28, 4, b"CS", colours),
        (0x28, 8, b"IS", texts.get("frames", "1")),
        (0x28, 0x10, b"US", HEIGHT),
        (0x28, 0x11, b"US", WIDTH),
        (0x28, 0x100, b"US", allocated),
        (0x28, 0x101, b"US", bits),
    ]
    body = b"".join(element(*each, implicit=implicit) for each in elements)
    return bytes(128) + b"DICM" + element(2, 0x10, b"UI", syntax) + before + body + pixels


def in_pieces(*pieces: bytes) -> bytes:
    """Compressed pixels."""
    items = b"".join(struct.pack("<2HI", 0xFFFE, 0xE000, len(piece)) + piece for piece in (b"", *pieces))
    return struct.pack("<2H2s2xI", 0x7FE0, 0x10, b"OB", 0xFFFFFFFF) + items + struct.pack("<2HI", 0xFFFE, 0xE0DD, 0)


@pytest.mark.parametrize(
    ("data", "mode"),
    [
        (dicom_file(), "RGB"),
        (dicom_file(_UID, implicit=True), "RGB"),
        (dicom_file(colours="MONOCHROME1"), "L"),
        (dicom_file(colours="MONOCHROME2", bits=12, allocated=16), "I;16"),
        (dicom_file(bits=16, allocated=16), "RGB;16"),
        (dicom_file(colours="PALETTE COLOR"), "RGB"),
        (dicom_file(frames=""), "RGB"),
        (dicom_file(f"{_UID}.4.90", "YBR_RCT", pixels=in_pieces(b"\xff\x4f\xff\x51....\xff\xd9\0")), "RGB"),
        (dicom_file(f"{_UID}.5", pixels=in_pieces(bytes(80))), "RGB"),
    ],
)
def test_the_picture_is_told_by_the_elements(data: bytes, mode: str) -> None:
    info = dicom.probe(data)
    assert (info.format, info.source, info.width, info.height, info.mode) == ("png", "dicom", WIDTH, HEIGHT, mode)
    assert info.hides_pixels  # so that the file is never copied


def test_what_stands_in_sequences_is_not_the_pictures() -> None:
    rows = element(0x28, 0x10, b"US", 4321)
    item = struct.pack("<2HI", 0xFFFE, 0xE000, 0xFFFFFFFF) + rows + struct.pack("<2HI", 0xFFFE, 0xE00D, 0)
    undefined = struct.pack("<2H2s2xI", 8, 0x1110, b"SQ", 0xFFFFFFFF) + item + struct.pack("<2HI", 0xFFFE, 0xE0DD, 0)
    assert dicom.probe(dicom_file(before=undefined)).height == HEIGHT
    known = element(8, 0x1110, b"SQ", struct.pack("<2HI", 0xFFFE, 0xE000, len(rows)) + rows)
    assert dicom.probe(dicom_file(before=known)).height == HEIGHT
    endless = struct.pack("<2H2s2xI", 8, 0x1110, b"SQ", 0xFFFFFFFF) * 5000
    with pytest.raises(Quarantine) as caught:
        dicom.probe(dicom_file(before=endless))
    assert caught.value.reason == Reason.CORRUPT_IMAGE


@pytest.mark.parametrize(
    ("data", "reason", "said"),
    [
        (dicom_file(frames="12"), Reason.MULTIPLE_FRAMES, "12 pictures"),
        (dicom_file(modality="CT"), Reason.UNSUPPORTED_IMAGE, "a face can be rendered"),
        (dicom_file(sop_class="1.2.840.10008.5.1.4.1.1.4.1"), Reason.UNSUPPORTED_IMAGE, "a face can be rendered"),
        (dicom_file(f"{_UID}.1.99"), Reason.UNSUPPORTED_IMAGE, "transfer syntax"),
        (dicom_file(f"{_UID}.4.102"), Reason.UNSUPPORTED_IMAGE, "transfer syntax"),
        (dicom_file(colours="HSV"), Reason.UNSUPPORTED_IMAGE, "HSV"),
        (dicom_file(pixels=b""), Reason.UNSUPPORTED_IMAGE, "without pixels"),
        (dicom_file(pixels=element(0x7FE0, 8, b"OW", bytes(80))), Reason.UNSUPPORTED_IMAGE, "floating point"),
        (dicom_file(bits=0), Reason.CORRUPT_IMAGE, "makes no sense"),
        (dicom_file(bits=32, allocated=32), Reason.UNSUPPORTED_IMAGE, "32 bits"),
        (dicom_file(pixels=element(0x7FE0, 0x10, b"OW", bytes(80))), Reason.TRUNCATED, "ends at byte"),
        (dicom_file(f"{_UID}.4.50", pixels=in_pieces(b"\xff\xd8 cut")), Reason.TRUNCATED, "ends at byte"),
        (dicom_file(f"{_UID}.4.50", pixels=in_pieces()), Reason.TRUNCATED, "ends at byte"),
    ],
)
def test_what_is_of_another_kind_says_so(data: bytes, reason: Reason, said: str) -> None:
    with pytest.raises(Quarantine, match=said) as caught:
        dicom.probe(data)
    assert caught.value.reason == reason


def test_a_file_that_ends_anywhere_is_refused() -> None:
    for data in (dicom_file(), dicom_file(f"{_UID}.5", pixels=in_pieces(bytes(80)))):
        for end in range(132, len(data)):
            with pytest.raises(Quarantine):
                dicom.probe(data[:end])


@given(st.binary(max_size=300), st.integers(132, 400))
def test_no_bytes_at_all_break_it(noise: bytes, at: int) -> None:
    data = dicom_file()
    for broken in (data[:at] + noise + data[at + len(noise) :], bytes(128) + b"DICM" + noise):
        with contextlib.suppress(Quarantine):
            assert dicom.probe(broken).source == "dicom"
