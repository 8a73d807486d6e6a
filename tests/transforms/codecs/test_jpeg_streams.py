"""Pictures hidden in a JPEG's scans and frame: built from real photos, run as the job runs them, and then restored."""

import struct
from pathlib import Path
from typing import Any

import jpegio
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from faceveil.pipeline.cli import main
from faceveil.transforms.codecs import decode_pixels, probe
from faceveil.transforms.codecs.jpeg_stream import follow
from tests.conftest import SHARED_DATA
from tests.test_end_to_end import examples, rows
from tests.transforms.codecs.jpeg_attacks import (
    BOTH,
    CODINGS,
    EOI,
    HIDDEN,
    PAYLOAD,
    SHOWN,
    SIDE_BY_SIDE,
    assert_shown_as_before,
    components_apart,
    grey_dc_scan,
    head,
    holds_payload,
    is_hidden_in,
    joined,
    likeness,
    parts,
    photo,
    pixels,
    run,
    scans,
    segment,
    with_size,
)

every_coding = pytest.mark.parametrize("coding", CODINGS)


@every_coding
@pytest.mark.parametrize("image", [BOTH, SIDE_BY_SIDE], ids=["rows", "columns"])
def test_what_lies_beyond_the_stated_size_goes(image: Image.Image, coding: str) -> None:
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


def test_a_cut_in_the_middle_of_a_row_of_mcus_goes_too() -> None:
    for height in (501, 505, 530, 600, 1023 - 24):
        data = with_size(photo(BOTH), height=height)
        written = run(data)
        assert written is not None
        assert_shown_as_before(written, data)
        assert len(written) < 0.99 * len(data)


@pytest.mark.parametrize("lines", [512, 1024])
def test_a_number_of_lines_behind_the_scan_goes(lines: int) -> None:
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


def test_a_first_picture_in_a_scan_that_another_repeats_goes() -> None:
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


def test_a_grey_photo_with_a_scan_of_all_bits_twice_loses_the_first() -> None:
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
def test_all_scans_of_another_picture_first_go(coding: str) -> None:
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


def test_scans_of_single_components_twice_go() -> None:
    shown, hidden = (components_apart(image) for image in (SHOWN, HIDDEN))
    assert run(shown) == shown
    two = joined([*head(shown), *scans(hidden), *scans(shown)])
    assert is_hidden_in(two)
    written = run(two)
    assert written is None or not is_hidden_in(written)
    assert_shown_as_before(written, two)


def test_what_a_table_multiplies_by_zero_goes(tmp_path: Path) -> None:
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


def test_blocks_far_beyond_the_edge_go() -> None:
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


def test_a_component_that_is_never_sent_is_made_complete() -> None:
    apart = list(parts(components_apart(SHOWN)))
    data = joined([part for part in apart if part[0] != 0xDA or part[1][5] == 1])
    written = run(data)
    assert written is not None
    assert_shown_as_before(written, data)
    assert follow(data) is None
    assert follow(written) is not None


def test_more_scans_than_any_encoder_writes_become_few() -> None:
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


def test_a_second_frame_is_not_passed_on() -> None:
    shown, hidden = list(parts(photo())), list(parts(photo(HIDDEN)))
    for data in (joined([*shown, *hidden]), joined([*shown[:-1], *hidden])):
        written = run(data)
        assert written is None or not is_hidden_in(written)


def test_arithmetic_coding_is_followed_too(tmp_path: Path) -> None:
    path = tmp_path / "arithmetic.jpg"

    def arithmetic(data: bytes) -> bytes:
        path.write_bytes(data)
        coded = jpegio.read(str(path))
        coded.arith_code = 1
        coded.write(str(path))
        return path.read_bytes()

    more: list[dict[str, Any]] = [{}, {"progressive": True}]
    for options in more:
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


@pytest.mark.parametrize("marker", [0xC4, 0xCC, 0xDB, 0xDD], ids=["DHT", "DAC", "DQT", "DRI"])
@pytest.mark.parametrize("length", range(20))
def test_a_segment_of_tables_of_any_length_comes_to_an_end(marker: int, length: int) -> None:
    first, *rest = parts(photo())
    for value in (0, 1, 255):
        data = joined([first, (marker, segment(marker, bytes([value]) * length)), *rest])
        followed = follow(data)
        assert followed is None or length in ({2} if marker == 0xDD else set(range(20)))


@pytest.mark.parametrize("marker", [0xC3, 0xC5, 0xC6, 0xC7, 0xCB])
def test_other_processes_are_held_back(marker: int) -> None:
    """Lossless and hierarchical coding (table B.1)."""
    data = photo()
    assert run(data.replace(b"\xff\xc0", bytes((0xFF, marker)), 1)) is None


def needs_proof(data: bytes) -> bool:
    stream = follow(data)
    assert stream is not None
    return stream.needs_proof


@pytest.mark.parametrize("options", [{}, {"subsampling": 0}, {"progressive": True}])
def test_ordinary_photos_keep_every_byte(options: dict[str, Any]) -> None:
    for image in (SHOWN, HIDDEN, SHOWN.convert("L"), SHOWN.convert("CMYK"), SHOWN.resize((333, 211))):
        for more in ({}, {"optimize": True}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 1}):
            data = photo(image, **options, **more)
            written = run(data)
            assert written == data or (needs_proof(data) and options.get("progressive"))
            assert_shown_as_before(written, data)


def test_all_real_photos_keep_every_byte_of_their_coded_data() -> None:
    if not (SHARED_DATA / "wider-dev").exists():
        pytest.skip("needs wider-dev")
    for path in sorted((SHARED_DATA / "wider-dev" / "images").iterdir())[::4]:
        data = path.read_bytes()
        written = run(data)
        assert written is not None
        assert [p for m, p in parts(written) if m == 0xDA] == [p for m, p in parts(data) if m == 0xDA]


@pytest.mark.usefixtures("centerface")
def test_the_job_writes_none_of_the_hidden_pictures(tmp_path: Path) -> None:
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
