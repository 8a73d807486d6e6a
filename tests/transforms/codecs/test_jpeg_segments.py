"""Pictures hidden in a JPEG's segments, tables and between coded data, in TIFFs too."""

import io
import re
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from faceveil.transforms.codecs import decode_pixels, probe
from faceveil.transforms.codecs.jpeg_stream import follow
from faceveil.transforms.quarantine import Quarantine
from tests.transforms.codecs.jpeg_attacks import (
    CODINGS,
    EOI,
    PAYLOAD,
    SHOWN,
    assert_shown_as_before,
    holds_payload,
    is_frame,
    joined,
    parts,
    photo,
    pixels,
    run,
    segment,
)
from tests.transforms.codecs.samples import encode

every_coding = pytest.mark.parametrize("coding", CODINGS)


def spread(carrier: Callable[[bytes], bytes], size: int) -> bytes:
    return b"".join(carrier(PAYLOAD[at : at + size]) for at in range(0, len(PAYLOAD), size))


def huffman(identifier: int) -> Callable[[bytes], bytes]:
    return lambda piece: segment(
        0xC4,
        bytes((identifier, *[0] * 8, *[min(max(len(piece) - 128 * n, 0), 128) for n in range(2)], *[0] * 6)) + piece,
    )


def huffman_symbols_behind(piece: bytes) -> bytes:
    return segment(0xC4, bytes((0x13, 0, 1, *[0] * 14, 0)) + piece)


CARRIERS = {
    "Huffman tables that are never used": spread(huffman(0x13), 200),
    "Huffman tables that are defined again": spread(huffman(0x10), 200),
    "quantisation tables that are never used": spread(lambda piece: segment(0xDB, b"\3" + piece.ljust(64, b"\1")), 64),
    "quantisation tables that are defined again": spread(lambda p: segment(0xDB, b"\0" + p.ljust(64, b"\1")), 64),
    "quantisation tables of 16 bits": spread(lambda piece: segment(0xDB, b"\x12" + piece.ljust(128, b"\1")), 128),
    "Huffman tables that are longer than their symbols": spread(huffman_symbols_behind, 200),
    "restart intervals that are too long": segment(0xDD, b"\0\0" + PAYLOAD),
    "restart intervals, again and again": spread(lambda piece: segment(0xDD, piece.ljust(2, b"\0")), 2)
    + segment(0xDD, b"\0\0"),
    "conditioning of arithmetic coding": segment(0xCC, PAYLOAD[: len(PAYLOAD) // 2 * 2]),
    "numbers of lines": segment(0xDC, PAYLOAD),
    "bytes between segments": PAYLOAD.replace(b"\xff", b""),
    "bytes between segments, stuffed": PAYLOAD.replace(b"\xff", b"\xff\0"),
    "JFIF's thumbnail": segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\x30\x30" + PAYLOAD),
    "JFIF, again and again": spread(lambda p: segment(0xE0, b"JFIF\0" + p.ljust(7, b"\0") + b"\0\0"), 7),
    "Adobe's segment, again and again": spread(lambda p: segment(0xEE, b"Adobe" + p.ljust(6, b"\0") + b"\1"), 6),
    "Adobe's segment, longer": segment(0xEE, b"Adobe\0\x64\0\0\0\0\1" + PAYLOAD),
    "an ICC profile that is none": segment(0xE2, b"ICC_PROFILE\0\1\1" + PAYLOAD),
    "an ICC profile's chunks, wrongly numbered": segment(0xE2, b"ICC_PROFILE\0\3\2" + PAYLOAD),
    "an ICC profile's chunks, many of a number": spread(lambda p: segment(0xE2, b"ICC_PROFILE\0\1\1" + p), 200),
    "another application's segment": segment(0xE5, PAYLOAD),
    "a comment": segment(0xFE, PAYLOAD),
}


@pytest.mark.parametrize("coding", ["baseline", "progressive", "restart markers"])
@pytest.mark.parametrize("carrier", CARRIERS)
def test_what_lies_in_segments_goes(carrier: str, coding: str) -> None:
    plain = photo(**CODINGS[coding])
    found = list(parts(plain))
    first_scan = [marker for marker, _ in found].index(0xDA)
    # Tables that are to be defined again have to come first.
    for place in (0, 1) if "again" in carrier or "16 bits" in carrier else (0, 1, first_scan, len(found)):
        data = joined([*found[:place], (0, CARRIERS[carrier]), *found[place:]])
        written = run(data)
        if written is not None:
            assert not holds_payload(written)
            assert len(written) < len(plain) + 100
        if "again" not in carrier and "16 bits" not in carrier and "conditioning" not in carrier:
            assert_shown_as_before(written, data)


@every_coding
def test_what_lies_behind_coded_data_goes(coding: str) -> None:
    plain = photo(**CODINGS[coding])
    found = list(parts(plain))
    stuffed = PAYLOAD.replace(b"\xff", b"\xff\0")
    numbers = [number for number, (marker, _) in enumerate(found) if marker == 0xDA]
    for number in {numbers[0], numbers[-1]}:
        for tail in (stuffed, b"\xff\xd0" + stuffed, stuffed[:24]):
            data = joined([*found[:number], (0xDA, found[number][1] + tail), *found[number + 1 :]])
            written = run(data)
            assert written is not None
            assert_shown_as_before(written, data)
            assert not holds_payload(written)


@pytest.mark.parametrize(
    "coding", ["restart markers", "a restart marker after each MCU", "progressive, restart markers"]
)
@pytest.mark.parametrize("size", [1, 3, 7, 24])
def test_what_lies_before_restart_markers_goes(coding: str, size: int) -> None:
    """Some bytes at each of them: libjpeg reads ahead, and does not miss as many as eight."""
    plain = photo(**CODINGS[coding])
    pieces = iter([PAYLOAD.replace(b"\xff", b"")[at : at + size] for at in range(0, 4800, size)] * 20)
    data = re.sub(rb"\xff([\xd0-\xd7])", lambda marker: next(pieces) + marker[0], plain)
    written = run(data)
    assert written is not None
    assert_shown_as_before(written, data)
    assert not holds_payload(written)
    np.testing.assert_array_equal(pixels(written), pixels(plain))
    assert len(written) < 1.02 * len(plain)


@pytest.mark.parametrize("coding", ["baseline", "progressive", "restart markers"])
def test_marks_without_a_meaning_go(coding: str) -> None:
    """Restart markers where none belong, fill bytes before and within them: their numbers and lengths say something."""
    plain = photo(**CODINGS[coding])
    message = b"".join(bytes((0xFF, 0xD0 + byte % 8)) for byte in PAYLOAD)
    behind = plain[:-2] + message + EOI
    filled = re.sub(rb"\xff\0", lambda code: b"\xff" * 5 + code[0], plain)
    between = plain[:2] + plain[2:].replace(b"\xff\xdb", b"\xff" * 200 + b"\xff\xdb").replace(
        b"\xff\xda", b"\xff" * 100 + b"\xff\xda"
    )
    for data in (behind, filled, between):
        written = run(data)
        assert written is not None
        assert_shown_as_before(written, data)
        assert data is filled or len(written) < len(plain) + 100  # libjpeg shows another picture of that one
        assert re.search(rb"\xff\xff", written) is None


def test_a_symbol_with_two_codes_goes() -> None:
    """Which of the two is used says a bit each time."""
    data = photo()
    table = data.index(bytes.fromhex("ffc4"), data.index(bytes.fromhex("ffc4")) + 2)
    length = int.from_bytes(data[table + 2 : table + 4], "big")
    doubled = bytearray(data)
    assert doubled[table + 4] == 0x10
    doubled[table + 1 + length] = doubled[table + length]  # the two longest codes, which no photo has
    written = run(bytes(doubled))
    assert written is not None
    assert_shown_as_before(written, bytes(doubled))
    for marker, part in parts(written):
        if marker == 0xC4:
            assert follow(written) is not None
            assert len(set(part[21:])) == len(part[21:]) or part.count(part[-1:]) < 3


def test_padding_that_is_not_ones_goes() -> None:
    """Up to seven bits before each restart marker, where there is one after each MCU."""
    plain = photo(restart_marker_blocks=1, subsampling=0)
    assert run(plain) == plain
    data = bytearray(plain)
    flipped = 0
    for marker in re.finditer(rb"\xff[\xd0-\xd7]", plain):
        before = marker.start() - 1
        if plain[before] & 7 == 7 and plain[before] != 0xFF:
            data[before] ^= 1  # which is padding if the last code is short enough
            try:
                decode = decode_pixels(bytes(data), probe(bytes(data)))
            except Quarantine:
                decode = None
            if decode is not None and decode.faultless and np.array_equal(pixels(bytes(data)), pixels(plain)):
                flipped += 1
            else:
                data[before] ^= 1
        if flipped > 20:
            break
    assert flipped > 20
    assert bytes(data) != plain
    written = run(bytes(data))
    assert written is not None
    assert list(parts(written))[-1] == list(parts(plain))[-1] or written.count(b"\xff\xd0") == plain.count(b"\xff\xd0")
    assert_shown_as_before(written, bytes(data))
    assert pixels(written).shape == pixels(plain).shape
    assert not same_padding(written, bytes(data))


def same_padding(one: bytes, other: bytes) -> bool:
    return [m[1] for m in re.finditer(rb"(.)\xff[\xd0-\xd7]", one, re.DOTALL)] == [
        m[1] for m in re.finditer(rb"(.)\xff[\xd0-\xd7]", other, re.DOTALL)
    ]


def test_bytes_before_the_end_go_and_the_coded_data_stay() -> None:
    """Some cameras leave zeros there."""
    more: list[dict[str, Any]] = [{}, {"restart_marker_rows": 1}, {"subsampling": 0}]
    for options in more:
        plain = photo(**options)
        assert run(plain[:-2] + bytes(40) + EOI) == plain


@pytest.mark.parametrize("symbol", [0x0B, 0x10, 0xE0, 0x0F])
def test_symbols_that_mean_what_others_mean_are_not_passed_on(symbol: int) -> None:
    """A decoder takes a size of 0 with any run but 15 for the end of the block: a choice of codes, and so a message."""
    data = bytearray(photo(optimize=True))
    table = data.index(b"\xff\xc4", data.index(b"\xff\xc4") + 2)
    assert data[table + 4] == 0x10
    data[table + 1 + int.from_bytes(data[table + 2 : table + 4], "big")] = symbol  # the rarest
    assert follow(bytes(data)) is None
    written = run(bytes(data))
    assert written is None or follow(written) is not None


@pytest.mark.parametrize("change", ["SOF", "SOS"])
def test_headers_longer_than_their_content_are_not_passed_on(change: str) -> None:
    found = []
    for marker, part in parts(photo()):
        if (change == "SOF" and is_frame(marker)) or (change == "SOS" and marker == 0xDA):
            length = int.from_bytes(part[2:4], "big")
            part = segment(marker, part[4 : 2 + length] + PAYLOAD.replace(b"\xff", b"")) + part[2 + length :]
        found.append((marker, part))
    written = run(joined(found))
    assert written is None or not holds_payload(written)


@pytest.mark.parametrize("version", [b"\1\0", b"\1\1", b"\1\2", b"\xab\xcd"])
@pytest.mark.parametrize(
    "density", [b"\0\0\1\0\1", b"\1\1\x2c\1\x2c", b"\2\0\x76\0\x76", b"\x09\1\1\1\1", b"\1\0\0\0\0"]
)
def test_jfif_says_what_it_may_say(version: bytes, density: bytes) -> None:
    data = photo()
    written = run(data[:2] + segment(0xE0, b"JFIF\0" + version + density + b"\0\0") + data[20:])
    assert written is not None
    assert written[:11] == data[:11]
    proper = version != b"\xab\xcd", density[0] <= 2 and density[2:] != b"\0\0\0"
    assert written[11:13] == (version if proper[0] else b"\1\1")
    assert written[13:18] == (density if proper[1] else b"\0\0\1\0\1")


def tiff(image: Image.Image) -> bytes:
    return encode(image, "TIFF", compression="jpeg", quality=85)


def strips(data: bytes) -> list[bytes]:
    with Image.open(io.BytesIO(data)) as image:
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        tags = image.tag_v2
        return [data[at : at + size] for at, size in zip(tags[273], tags[279], strict=True)]


def test_strips_of_a_tiff_keep_their_data_and_lose_what_is_behind_them() -> None:
    plain = tiff(SHOWN)
    written = run(plain)
    assert written is not None
    assert strips(written) == strips(plain)
    before = strips(plain)[0]
    tail = PAYLOAD.replace(b"\xff", b"\xff\0")
    # The last strip is put at the end of the file with more in it, and its place and size are written anew.
    changed = before[:-2] + tail + EOI
    with Image.open(io.BytesIO(plain)) as image:
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        sizes = image.tag_v2[279]
    assert plain.count(struct.pack("<I", sizes[0])) >= 1
    place = plain.index(before)
    data = plain.replace(struct.pack("<I", place), struct.pack("<I", len(plain)), 1)
    data = data.replace(struct.pack("<I", sizes[0]), struct.pack("<I", len(changed)), 1) + changed
    assert holds_payload(strips(data)[0])
    written = run(data)
    assert written is not None
    assert not holds_payload(written)
    np.testing.assert_array_equal(pixels(written), pixels(plain))


def test_tables_of_a_tiff_that_no_strip_uses_go() -> None:
    plain = tiff(SHOWN)
    with Image.open(io.BytesIO(plain)) as image:
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        tables = image.tag_v2[347]
    assert holds_payload(CARRIERS["Huffman tables that are never used"])
    for name in ("Huffman tables that are never used", "a comment", "quantisation tables that are never used"):
        laden = tables[:-2] + CARRIERS[name] + EOI
        # They are put at the end of the file, and their place and size written anew.
        place, size = struct.pack("<I", plain.index(tables)), struct.pack("<I", len(tables))
        at = plain.index(size + place)
        data = plain[:at] + struct.pack("<II", len(laden), len(plain)) + plain[at + 8 :] + laden
        np.testing.assert_array_equal(pixels(data), pixels(plain))
        written = run(data)
        assert written is not None
        assert not holds_payload(written)
        np.testing.assert_array_equal(pixels(written), pixels(plain))
