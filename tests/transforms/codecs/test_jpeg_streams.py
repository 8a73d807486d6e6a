"""Pictures hidden in a JPEG's stream: each is built from real photos, run as the job runs it, and then restored."""

import io
import re
import struct
from collections.abc import Callable, Iterator

import jpegio
import numpy as np
import pytest
import simplejpeg
from PIL import Image, ImageFile, TiffImagePlugin

from faceveil.pipeline.cli import main
from faceveil.transforms.codecs import decode_for_detection, decode_pixels, encode_pixels, probe, strip_metadata
from faceveil.transforms.codecs.jpeg_stream import follow
from faceveil.transforms.quarantine import Quarantine
from tests.conftest import SHARED_DATA, SKIMAGE_DATA
from tests.test_end_to_end import examples, rows
from tests.transforms.codecs.samples import encode

SOI, EOI = b"\xff\xd8", b"\xff\xd9"
SHOWN = Image.open(SKIMAGE_DATA / "coffee.png").convert("RGB").resize((512, 512))
HIDDEN = Image.open(SKIMAGE_DATA / "astronaut.png").convert("RGB")
BOTH = Image.new("RGB", (512, 1024))
BOTH.paste(SHOWN, (0, 0))
BOTH.paste(HIDDEN, (0, 512))
SIDE_BY_SIDE = Image.new("RGB", (1024, 512))
SIDE_BY_SIDE.paste(SHOWN, (0, 0))
SIDE_BY_SIDE.paste(HIDDEN, (512, 0))
# A thumbnail of seven kilobytes, less what all JPEGs begin with, and what of it is enough to have it found.
PAYLOAD = encode(HIDDEN.resize((200, 200)), "JPEG", quality=75).partition(b"\xff\xda")[2][12:]
PIECE = 6

CODINGS = {
    "baseline": {},
    "4:4:4": {"subsampling": 0},
    "own tables": {"optimize": True},
    "progressive": {"progressive": True},
    "restart markers": {"restart_marker_rows": 1},
    "a restart marker after each MCU": {"restart_marker_blocks": 1},
    "progressive, restart markers": {"progressive": True, "restart_marker_rows": 1},
}
every_coding = pytest.mark.parametrize("coding", CODINGS)


def photo(image: Image.Image = SHOWN, **options: object) -> bytes:
    return encode(image, "JPEG", quality=85, **options)


def segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def parts(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The segments, coded data with their scan's header: the attacker's own reader."""
    position = 2
    while data[position + 1] != 0xD9:
        marker = data[position + 1]
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == 0xDA:
            while data[end] != 0xFF or data[end + 1] in (0, 0xFF, *range(0xD0, 0xD8)):
                end += 1
        yield marker, data[position:end]
        position = end


def joined(segments: list[tuple[int, bytes]]) -> bytes:
    return SOI + b"".join(part for _, part in segments) + EOI


def is_frame(marker: int) -> bool:
    return 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)


def with_size(data: bytes, width: int | None = None, height: int | None = None) -> bytes:
    """The same JPEG said to be of another size."""
    changed = []
    for marker, part in parts(data):
        if is_frame(marker):
            old_height, old_width = struct.unpack(">HH", part[5:9])
            part = part[:5] + struct.pack(">HH", height or old_height, width or old_width) + part[9:]
        changed.append((marker, part))
    return joined(changed)


def run(data: bytes) -> bytes | None:
    """What the job writes of a photo in which it has found no face; None if it holds it back."""
    try:
        info = probe(data)
        preview = decode_for_detection(data, info, 128)
        written = strip_metadata(data, info, faultless=preview.faultless)
        assert strip_metadata(written, info) is written, "what comes out is not taken for whole the next time"
        # Nor does a face elsewhere in the photo change anything of it.
        encode_pixels(decode_pixels(data, info), data, info)
    except Quarantine:
        return None
    return written


def pixels(data: bytes) -> np.ndarray:
    """What Pillow shows, however damaged it is."""
    ImageFile.LOAD_TRUNCATED_IMAGES = True
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.asarray(image.convert("RGB"))
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = False


def restored(data: bytes) -> Iterator[np.ndarray]:
    """Every picture that an attacker might get out of a JPEG."""
    found = list(parts(data))
    scans = [number for number, (marker, _) in enumerate(found) if marker == 0xDA]
    [(_, frame)] = [(marker, part) for marker, part in found if is_frame(marker)][:1]
    height, width = struct.unpack(">HH", frame[5:9])
    candidates = [data, with_size(data, height=2 * height), with_size(data, width=2 * width)]
    for scan in scans:  # alone, with all tables before it, and up to it
        candidates.append(joined([part for n, part in enumerate(found) if n == scan or (n < scan and n not in scans)]))
        candidates.append(joined(found[: scan + 1]))
    for candidate in candidates:
        try:
            shown = pixels(candidate)
        except (OSError, SyntaxError, ValueError):
            continue
        yield shown
        yield shown[height:] if shown.shape[0] > height else shown[:, width:]
        yield shown[: shown.shape[0] // 2]


def likeness(one: np.ndarray, other: Image.Image) -> float:
    """Correlation of two pictures' smallest thumbnails."""
    if min(one.shape[:2]) < 32:
        return 0.0
    small = [np.asarray(i.convert("L").resize((32, 32)), float).ravel() for i in (Image.fromarray(one), other)]
    return float(np.corrcoef(*small)[0, 1]) if all(values.std() > 1 for values in small) else 0.0


def is_hidden_in(data: bytes) -> bool:
    return max((likeness(picture, HIDDEN) for picture in restored(data)), default=0) > 0.8


def holds_payload(data: bytes) -> bool:
    """Whether a piece of the thumbnail is among the bytes, stuffed with zeros as coded data are or not."""
    forms = PAYLOAD, PAYLOAD.replace(b"\xff", b"\xff\0"), PAYLOAD.replace(b"\xff", b"")
    pieces = {form[at : at + PIECE] for form in forms for at in range(len(form) - PIECE)}
    return any(data[at : at + PIECE] in pieces for at in range(len(data)))


def assert_shown_as_before(written: bytes | None, data: bytes) -> None:
    if written is not None:
        np.testing.assert_array_equal(pixels(written), pixels(data))


@every_coding
@pytest.mark.parametrize("image", [BOTH, SIDE_BY_SIDE], ids=["rows", "columns"])
def test_what_lies_beyond_the_stated_size_goes(image, coding):
    whole = photo(image, **CODINGS[coding])
    data = with_size(whole, 512, 512)
    if image is BOTH:  # else what decoders show is a jumble
        assert is_hidden_in(data)
        np.testing.assert_array_equal(pixels(data)[:496], pixels(whole)[:496])
    written = run(data)
    assert written is not None
    assert_shown_as_before(written, data)
    assert len(written) < 0.75 * len(data)
    assert not is_hidden_in(written)
    assert pixels(with_size(written, 512, 1024))[540:].std(axis=(0, 1)).max() < 4  # flat: decoders find nothing there


def test_a_cut_in_the_middle_of_a_row_of_mcus_goes_too():
    for height in (501, 505, 530, 600, 1023 - 24):
        data = with_size(photo(BOTH), height=height)
        written = run(data)
        assert written is not None
        assert_shown_as_before(written, data)
        assert len(written) < 0.99 * len(data)


@pytest.mark.parametrize("lines", [512, 1024])
def test_a_number_of_lines_behind_the_scan_goes(lines):
    """DNL says the height after the first scan (T.81, section B.2.5); most decoders do not read it."""
    said = segment(0xDC, struct.pack(">H", lines))
    for data in (photo(BOTH)[:-2] + said + EOI, with_size(photo(BOTH), height=512)[:-2] + said + EOI):
        written = run(data)
        assert written is not None
        assert said not in written
        assert_shown_as_before(written, data)
        assert with_size(data, height=1024) == with_size(written, height=1024)[:-2] + said + EOI or not is_hidden_in(
            written
        )
    assert (
        run(with_size(photo(BOTH), height=512).replace(struct.pack(">HH", 512, 512), struct.pack(">HH", 0, 512), 1))
        is None
    )


def scan(number: int, first: int, last: int, bits: int, data: bytes) -> list[tuple[int, bytes]]:
    """Such a scan of a progressive JPEG with the Huffman tables before it."""
    found, tables, count = list(parts(data)), [], -1
    for marker, part in found:
        if marker == 0xC4:
            tables.append((marker, part))
        elif marker == 0xDA:
            count += 1
            if count == number:
                end = 4 + 1 + 2 * part[4]
                assert part[end : end + 3] == bytes((first, last, bits)), part[end : end + 3].hex()
                return [*tables, (marker, part)]
            tables = []
    raise AssertionError


def head(data: bytes) -> list[tuple[int, bytes]]:
    """All before the first scan but Huffman's tables."""
    found = list(parts(data))
    return [part for part in found[: [m for m, _ in found].index(0xDA)] if part[0] != 0xC4]


def scans(data: bytes) -> list[tuple[int, bytes]]:
    """The scans with their tables."""
    found = list(parts(data))
    before = head(data)
    return [part for part in found if part not in before]


def grey_dc_scan(image: Image.Image) -> list[tuple[int, bytes]]:
    """A progressive scan of all bits of the DC coefficients of one component: coded by the attacker."""
    grey = np.asarray(image.convert("L").resize((64, 64), Image.Resampling.BOX), int)
    values = np.rint((grey - 128) * 8 / Image.open(io.BytesIO(photo())).quantization[0][0]).astype(int).ravel()
    bits = ""
    for difference in np.diff(values, prepend=0):
        size = int(abs(difference)).bit_length()
        bits += format(size, "04b") + (
            format(difference if difference > 0 else difference + 2**size - 1, f"0{size}b") if size else ""
        )
    bits += "1" * (-len(bits) % 8)
    coded = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    # Twelve symbols, each with a code of four bits: its own number.
    table = segment(0xC4, b"\0" + bytes((0, 0, 0, 12, *[0] * 12)) + bytes(range(12)))
    return [(0xC4, table), (0xDA, segment(0xDA, bytes((1, 1, 0, 0, 0, 0))) + coded)]


def test_a_first_picture_in_a_scan_that_another_repeats_goes():
    data = photo(progressive=True)
    two = joined([*head(data), *grey_dc_scan(HIDDEN), *scans(data)])
    alone = joined([*head(data), *grey_dc_scan(HIDDEN)])
    assert likeness(pixels(alone), HIDDEN) > 0.8
    assert is_hidden_in(two)
    assert likeness(pixels(two), SHOWN) > 0.9
    written = run(two)
    assert written is not None
    assert_shown_as_before(written, two)
    assert not is_hidden_in(written)


def test_a_grey_photo_with_a_scan_of_all_bits_twice_loses_the_first():
    """libjpeg itself has no complaint: the first scan leaves nothing to refine, and neither does the second."""
    data = photo(SHOWN.convert("L"), progressive=True)
    shown = [*grey_dc_scan(SHOWN), *[part for part in scans(data) if part[0] == 0xC4 or part[1][7] > 0]]
    for order in ([*grey_dc_scan(HIDDEN), *shown], [*grey_dc_scan(HIDDEN), *grey_dc_scan(HIDDEN), *shown]):
        two = joined([*head(data), *order])
        assert decode_pixels(two, probe(two)).faultless
        assert is_hidden_in(two)
        written = run(two)
        assert written is not None
        assert_shown_as_before(written, two)
        assert not is_hidden_in(written)


@pytest.mark.parametrize("coding", ["baseline", "progressive"])
def test_all_scans_of_another_picture_first_go(coding):
    shown, hidden = photo(**CODINGS[coding]), photo(HIDDEN, **CODINGS[coding])
    for two in (
        joined([*head(shown), *scans(hidden), *scans(shown)]),
        joined([*head(shown), *scans(shown), *scans(hidden)]),
        joined([*head(shown), *scans(shown), *list(parts(hidden))]),
    ):
        written = run(two)
        if written is not None:
            assert not (is_hidden_in(written) and likeness(pixels(two), HIDDEN) < 0.8)
            assert_shown_as_before(written, two)


def test_scans_of_single_components_twice_go():
    shown, hidden = (components_apart(image) for image in (SHOWN, HIDDEN))
    assert run(shown) == shown
    two = joined([*head(shown), *scans(hidden), *scans(shown)])
    assert is_hidden_in(two)
    written = run(two)
    assert written is None or not is_hidden_in(written)
    assert_shown_as_before(written, two)


def components_apart(image: Image.Image) -> bytes:
    """A baseline JPEG with a scan for each component, as jpegtran writes it with a script of scans."""
    planes = [encode(Image.fromarray(np.asarray(image.convert("YCbCr"))[..., n]), "JPEG", quality=85) for n in range(3)]
    [tables] = {b"".join(part for marker, part in parts(plane) if marker in (0xDB, 0xC4)) for plane in planes}
    frame = segment(0xC0, struct.pack(">BHHB", 8, 512, 512, 3) + bytes((1, 17, 0, 2, 17, 0, 3, 17, 0)))
    coded = []
    for number, plane in enumerate(planes, 1):
        [part] = [part for marker, part in parts(plane) if marker == 0xDA]
        coded.append((0xDA, part[:5] + bytes((number,)) + part[6:]))
    return joined([(0xDB, tables), (0xC0, frame), *coded])


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
def test_what_lies_in_segments_goes(carrier, coding):
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
def test_what_lies_behind_coded_data_goes(coding):
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
def test_what_lies_before_restart_markers_goes(coding, size):
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
def test_marks_without_a_meaning_go(coding):
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


def test_a_symbol_with_two_codes_goes():
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


def test_padding_that_is_not_ones_goes():
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


def test_what_a_table_multiplies_by_zero_goes(tmp_path):
    """A photo that shows as large flat squares, until somebody writes another table."""
    data = photo(HIDDEN, qtables=[[16] * 64])
    [table] = [part for marker, part in parts(data) if marker == 0xDB]
    flat = data.replace(table, segment(0xDB, b"\0\0" + bytes(63)))
    assert pixels(flat).std() < 1
    written = run(flat)
    assert written is not None
    assert_shown_as_before(written, flat)
    path = tmp_path / "written.jpg"
    path.write_bytes(written)
    assert not any(array.any() for array in jpegio.read(str(path)).coef_arrays)


def test_blocks_far_beyond_the_edge_go():
    """With MCUs of 32 pixels a photo of one column has 31 more, which no decoder shows."""
    for columns in (1, 9, 16):
        narrow = four_across(columns)
        written = run(narrow)
        assert written is not None
        assert_shown_as_before(written, narrow)
        # Of the luma only whole blocks can go; a block of chroma is as wide as the MCU.
        before, after = (
            np.asarray(Image.fromarray(pixels(with_size(data, width=32))).convert("L"), float)[:, 24:]
            for data in (narrow, written)
        )
        assert before.std(axis=1).mean() > 3 * after.std(axis=1).mean()


def four_across(columns: int) -> bytes:
    """A photo in 4:1:1 that is said to have fewer columns than its MCUs."""
    values = np.ascontiguousarray(np.asarray(HIDDEN.resize((32, 512))))
    return with_size(simplejpeg.encode_jpeg(values, colorspace="RGB", colorsubsampling="411"), width=columns)


def test_bytes_before_the_end_go_and_the_coded_data_stay():
    """Some cameras leave zeros there."""
    for options in ({}, {"restart_marker_rows": 1}, {"subsampling": 0}):
        plain = photo(**options)
        assert run(plain[:-2] + bytes(40) + EOI) == plain


def test_a_component_that_is_never_sent_is_made_complete():
    apart = list(parts(components_apart(SHOWN)))
    data = joined([part for part in apart if part[0] != 0xDA or part[1][5] == 1])
    written = run(data)
    assert written is not None
    assert_shown_as_before(written, data)
    assert follow(data) is None
    assert follow(written) is not None


def test_more_scans_than_any_encoder_writes_become_few():
    """Each may end in bytes that libjpeg does not miss: here 24 of one coefficient each, from the same photo."""
    data = photo(SHOWN.convert("L"), progressive=True)
    empty = [
        (0xDA, segment(0xDA, bytes((1, 1, 0, place, place, 0))) + b"\x7f" * 8)  # all end of band, one long code
        for place in range(1, 30)
    ]
    table = (0xC4, segment(0xC4, b"\x10" + bytes((1, *[0] * 15)) + b"\xe0"))
    many = joined([*head(data), *grey_dc_scan(SHOWN), table, *empty])
    written = run(many)
    assert written is None or [marker for marker, _ in parts(written)].count(0xDA) < 12


@pytest.mark.parametrize("symbol", [0x0B, 0x10, 0xE0, 0x0F])
def test_symbols_that_mean_what_others_mean_are_not_passed_on(symbol):
    """A decoder takes a size of 0 with any run but 15 for the end of the block: a choice of codes, and so a message."""
    data = bytearray(photo(optimize=True))
    table = data.index(b"\xff\xc4", data.index(b"\xff\xc4") + 2)
    assert data[table + 4] == 0x10
    data[table + 1 + int.from_bytes(data[table + 2 : table + 4], "big")] = symbol  # the rarest
    assert follow(bytes(data)) is None
    written = run(bytes(data))
    assert written is None or follow(written) is not None


@pytest.mark.parametrize("change", ["SOF", "SOS"])
def test_headers_longer_than_their_content_are_not_passed_on(change):
    found = []
    for marker, part in parts(photo()):
        if (change == "SOF" and is_frame(marker)) or (change == "SOS" and marker == 0xDA):
            length = int.from_bytes(part[2:4], "big")
            part = segment(marker, part[4 : 2 + length] + PAYLOAD.replace(b"\xff", b"")) + part[2 + length :]
        found.append((marker, part))
    written = run(joined(found))
    assert written is None or not holds_payload(written)


def test_a_second_frame_is_not_passed_on():
    shown, hidden = list(parts(photo())), list(parts(photo(HIDDEN)))
    for data in (joined([*shown, *hidden]), joined([*shown[:-1], *hidden])):
        written = run(data)
        assert written is None or not is_hidden_in(written)


@pytest.mark.parametrize("version", [b"\1\0", b"\1\1", b"\1\2", b"\xab\xcd"])
@pytest.mark.parametrize(
    "density", [b"\0\0\1\0\1", b"\1\1\x2c\1\x2c", b"\2\0\x76\0\x76", b"\x09\1\1\1\1", b"\1\0\0\0\0"]
)
def test_jfif_says_what_it_may_say(version, density):
    data = photo()
    written = run(data[:2] + segment(0xE0, b"JFIF\0" + version + density + b"\0\0") + data[20:])
    assert written is not None
    assert written[:11] == data[:11]
    proper = version != b"\xab\xcd", density[0] <= 2 and density[2:] != b"\0\0\0"
    assert written[11:13] == (version if proper[0] else b"\1\1")
    assert written[13:18] == (density if proper[1] else b"\0\0\1\0\1")


def test_arithmetic_coding_is_followed_too(tmp_path):
    path = tmp_path / "arithmetic.jpg"

    def arithmetic(data: bytes) -> bytes:
        path.write_bytes(data)
        coded = jpegio.read(str(path))
        coded.arith_code = 1
        coded.write(str(path))
        return path.read_bytes()

    for options in ({}, {"progressive": True}):
        plain = arithmetic(photo(**options))
        assert run(plain) == plain
        # Small ones: Pillow decodes no more than 64 KiB of such coding.
        cut = with_size(arithmetic(photo(BOTH.resize((256, 512)), **options)), height=256)
        assert is_hidden_in(cut)
        written = run(cut)
        assert written is None or not is_hidden_in(written)
        assert_shown_as_before(written, cut)
        payload = joined([*list(parts(plain))[:-1], (0xCC, segment(0xCC, PAYLOAD[:512])), list(parts(plain))[-1]])
        written = run(payload)
        assert written is None or not holds_payload(written)


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC6, 0xC7, 0xCB])
def test_other_processes_are_held_back(marker):
    """Lossless and hierarchical coding (table B.1)."""
    data = photo()
    assert run(data.replace(b"\xff\xc0", bytes((0xFF, marker)), 1)) is None


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True}])
def test_ordinary_photos_keep_every_byte(options):
    for image in (SHOWN, HIDDEN, SHOWN.convert("L"), SHOWN.convert("CMYK"), SHOWN.resize((333, 211))):
        for more in ({}, {"optimize": True}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 1}):
            data = photo(image, **options, **more)
            written = run(data)
            assert written == data or (follow(data).needs_proof and options.get("progressive"))
            assert_shown_as_before(written, data)


def test_all_real_photos_keep_every_byte_of_their_coded_data():
    if not (SHARED_DATA / "wider-dev").exists():
        pytest.skip("needs wider-dev")
    for path in sorted((SHARED_DATA / "wider-dev" / "images").iterdir())[::4]:
        data = path.read_bytes()
        written = run(data)
        assert written is not None
        assert [p for m, p in parts(written) if m == 0xDA] == [p for m, p in parts(data) if m == 0xDA]


def tiff(image: Image.Image) -> bytes:
    return encode(image, "TIFF", compression="jpeg", quality=85)


def strips(data: bytes) -> list[bytes]:
    with Image.open(io.BytesIO(data)) as image:
        assert isinstance(image, TiffImagePlugin.TiffImageFile)
        tags = image.tag_v2
        return [data[at : at + size] for at, size in zip(tags[273], tags[279], strict=True)]


def test_strips_of_a_tiff_keep_their_data_and_lose_what_is_behind_them():
    plain = tiff(SHOWN)
    assert strips(run(plain)) == strips(plain)
    before = strips(plain)[0]
    tail = PAYLOAD.replace(b"\xff", b"\xff\0")
    # The last strip is put at the end of the file with more in it, and its place and size are written anew.
    changed = before[:-2] + tail + EOI
    with Image.open(io.BytesIO(plain)) as image:
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


def test_tables_of_a_tiff_that_no_strip_uses_go():
    plain = tiff(SHOWN)
    with Image.open(io.BytesIO(plain)) as image:
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


@pytest.mark.usefixtures("centerface")
def test_the_job_writes_none_of_the_hidden_pictures(tmp_path):
    data = photo(progressive=True)
    inputs = {
        "height.jpg": with_size(photo(BOTH), height=512),
        "progressive.jpg": with_size(photo(BOTH, progressive=True), height=512),
        "scans.jpg": joined([*head(data), *grey_dc_scan(HIDDEN), *scans(data)]),
        "behind.jpg": photo()[:-2] + PAYLOAD.replace(b"\xff", b"\xff\0") + EOI,
        "plain.jpg": photo(),
    }
    (tmp_path / "in").mkdir()
    for name, content in inputs.items():
        (tmp_path / "in" / name).write_bytes(content)
    options = ["--detect_size", "320", "--max_quarantined", "1"]
    assert main(["run", "--input", f"{tmp_path}/in/*", "--output", str(tmp_path / "out"), *options]) == 0
    written = {key: e["image/encoded"].bytes_list.value[0] for key, e in examples(tmp_path / "out").items()}
    assert {row["status"] for row in rows(tmp_path / "out").values()} == {"no_faces"}
    assert written.keys() == inputs.keys()
    assert written["plain.jpg"] == inputs["plain.jpg"]
    for name, content in written.items():
        assert not is_hidden_in(content), name
        assert not holds_payload(content), name
        np.testing.assert_array_equal(pixels(content), pixels(inputs[name]))
