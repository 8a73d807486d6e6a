"""AV1's units and headers: a picture falls into its tiles and is put together again, or is not known."""

import functools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from faceveil.transforms.codecs import av1, av1_sequence, isobmff_tails
from faceveil.transforms.codecs.accounting import Unaccounted
from tests.transforms.codecs.hidden import cover
from tests.transforms.codecs.test_hidden_streams_isobmff import obu, parts
from tests.transforms.codecs.tiles import tiled

LARGE = 512, 512
FILES = {
    "one": lambda: tiled(cover(*LARGE), 1, 1),
    "four": lambda: tiled(cover(*LARGE), 2, 2),
    "sixteen": lambda: tiled(cover(*LARGE), 4, 4),
    "groups": lambda: tiled(cover(*LARGE), 2, 2, advanced={"num-tile-groups": "2"}),
    "grain": lambda: tiled(cover(*LARGE), 2, 2, advanced={"film-grain-test": "5"}),
    "lossless": lambda: tiled(cover(*LARGE), 2, 2, quality=100, subsampling="4:4:4"),
    "grey": lambda: tiled(cover(*LARGE), 2, 2, subsampling="4:0:0"),
    "restoration": lambda: tiled(cover(*LARGE), 2, 2, quality=30, speed=2),
}
DELIMITER = b"\x12\0"


@functools.cache
def item(name: str) -> bytes:
    return parts(FILES[name]())[2]


def decoded(name: str, data: bytes) -> np.ndarray:
    pixels = isobmff_tails._pixels(b"av01", data, boxes=[box for box in parts(FILES[name]())[0] if box[4:8] != b"colr"])
    assert pixels is not None
    return pixels.reshape(*pixels.shape[:2], -1)


def units_of(name: str) -> tuple[av1.Unit, ...]:
    return tuple(av1.units(item(name)))


@pytest.mark.parametrize("name", FILES)
def test_a_picture_falls_into_its_tiles_and_is_put_together_again(name: str) -> None:
    picture = av1.picture(item(name))
    count = {"one": 1, "sixteen": 16}.get(name, 4)
    assert len(picture.tiles) == picture.frame.tiles == count
    assert picture.frame.columns == picture.frame.rows == tuple(range(0, 513, {1: 512, 4: 256, 16: 128}[count]))
    assert picture.joined(picture.tiles) == item(name)


@pytest.mark.parametrize(
    ("size", "columns", "rows"), [((333, 211), (0, 192, 333), (0, 128, 211)), ((65, 64), (0, 64, 65), (0, 64))]
)
def test_the_last_tiles_are_as_narrow_as_the_picture_leaves_them(
    size: tuple[int, int], columns: tuple[int, ...], rows: tuple[int, ...]
) -> None:
    frame = av1.picture(parts(tiled(cover(*size), 2, 2))[2]).frame
    assert (frame.columns, frame.rows) == (columns, rows)


@pytest.mark.parametrize("name", FILES)
def test_a_plain_picture_has_the_same_tiles(name: str) -> None:
    picture = av1.picture(item(name))
    plain = av1.picture(picture.joined(picture.tiles, plain=True))
    assert plain.tiles == picture.tiles
    assert plain.frame.columns == picture.frame.columns
    assert decoded(name, plain.joined(plain.tiles)).shape[:2] == (512, 512)


def test_a_plain_picture_is_neither_filtered_nor_has_it_film_grain() -> None:
    with_grain, without = av1.picture(item("grain")), av1.picture(item("four"))
    assert with_grain.tiles == without.tiles
    assert np.any(decoded("grain", item("grain")) != decoded("four", item("four")))
    plain = decoded("four", without.joined(without.tiles, plain=True))
    np.testing.assert_array_equal(decoded("grain", with_grain.joined(with_grain.tiles, plain=True)), plain)
    assert np.any(decoded("four", item("four")) != plain)
    lossless = av1.picture(item("lossless"))
    np.testing.assert_array_equal(
        decoded("lossless", lossless.joined(lossless.tiles, plain=True)), decoded("lossless", item("lossless"))
    )


@pytest.mark.parametrize("name", ["four", "grain", "lossless", "grey", "restoration"])
def test_a_tile_of_a_plain_picture_does_not_tell_on_others_beyond_its_reach(name: str) -> None:
    picture = av1.picture(item(name))
    other = picture.tiles[0][:40] + bytes(len(picture.tiles[0]) + 20_000)
    before = decoded(name, picture.joined(picture.tiles, plain=True))
    changed = np.any(decoded(name, picture.joined((other, *picture.tiles[1:]), plain=True)) != before, axis=-1)
    border = 256 + picture.frame.reach
    assert changed[:256, :256].mean() > 0.5
    assert not changed[border:].any()
    assert not changed[:, border:].any()


def with_bits(data: bytes, bits: str, at: int) -> bytes:
    """Bytes of which some bits are others."""
    text = "".join(f"{byte:08b}" for byte in data)
    text = text[:at] + bits + text[at + len(bits) :]
    return int(text, 2).to_bytes(len(data), "big")


def refused() -> dict[str, bytes]:
    delimiter, sequence, frame = units_of("four")
    start, header, first, second = units_of("groups")[:4], *units_of("groups")[2:]
    beginning = b"".join(map(bytes, start[:2]))
    bits = len(av1.picture(item("four")).frame.header)
    return {
        "forbidden bit": item("four") + b"\x92\0",
        "reserved bit": item("four") + b"\x13\0",
        "layer": bytes(delimiter) + bytes(sequence) + b"\x36\x08" + bytes(frame)[1:],
        "longer than the data": item("four")[:-1],
        "no sequence header": bytes(frame),
        "sequence header twice": bytes(sequence) + item("four"),
        "sequence header last": bytes(frame) + bytes(sequence),
        "frame twice": item("four") + bytes(frame),
        "delimiter with a body": obu(av1.TEMPORAL_DELIMITER, b"\0") + item("four"),
        "padding": obu(15, b"\x80") + item("four"),
        "bytes behind the sequence header": obu(1, sequence.body + b"hidden") + bytes(frame),
        "bits behind the sequence header": obu(1, sequence.body[:-1] + bytes((sequence.body[-1] | 1,))) + bytes(frame),
        "sequence header without its end": obu(1, sequence.body[:-1]) + bytes(frame),
        "bits behind the frame header": bytes(sequence) + obu(av1.FRAME, with_bits(frame.body, "1", bits)),
        "bytes behind the frame header": beginning + obu(3, header.body + b"hidden") + bytes(first) + bytes(second),
        "tile group first": beginning + bytes(first) + bytes(header) + bytes(second),
        "tile groups in another order": beginning + bytes(header) + bytes(second) + bytes(first),
        "tile group twice": beginning + bytes(header) + bytes(first) * 2 + bytes(second),
        "tile group missing": beginning + bytes(header) + bytes(first),
        "one more tile group": item("groups") + bytes(second),
        "bits behind the numbers of tiles": beginning
        + bytes(header)
        + obu(av1.TILE_GROUP, with_bits(first.body, "1", 7))
        + bytes(second),
        "no tiles": bytes(sequence) + obu(av1.FRAME, frame.body[: (bits + 7) // 8 + 1]),
    }


REFUSED = refused()


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_still_picture_has_is_refused(name: str) -> None:
    with pytest.raises(Unaccounted):
        av1.picture(REFUSED[name])


def test_a_tile_that_takes_all_that_is_left_leaves_none_for_the_last() -> None:
    _, sequence, frame = units_of("four")
    picture = av1.picture(item("four"))
    shorter = frame.body[: len(frame.body) - len(picture.tiles[-1])]
    with pytest.raises(Unaccounted, match="longer than their unit"):
        av1.picture(bytes(sequence) + obu(av1.FRAME, shorter))


@pytest.mark.parametrize(  # show_existing_frame, frame_type, show_frame
    "bits", ["1000", "0011", "0101", "0000"], ids=["an existing frame", "an inter frame", "intra only", "not shown"]
)
def test_frames_that_are_no_still_pictures_are_refused(bits: str) -> None:
    sequence, frame = full_sequence_header(), units_of("four")[2]
    with pytest.raises(Unaccounted, match="not a still picture's"):
        av1.picture(sequence + obu(av1.FRAME, with_bits(frame.body, bits, 0)))


def full_sequence_header(
    width: int = 512, height: int = 512, operating_points: str = "00000" + "0" * 12 + "01000" + "0"
) -> bytes:
    """A sequence header that is not the reduced one of still pictures: with ordinary tools, 8 bits, 4:2:0."""
    size = f"{15:04b}{15:04b}{width - 1:016b}{height - 1:016b}"
    tools = "0" + "011" + "0000" + "0" + "1" + "1" + "010"  # ids, blocks, inter tools, order, screen content, filters
    return sequence_of("000" + "1" + "0" + "0" + "0" + operating_points + size + tools + "0000" + "00" + "0" + "0")


def sequence_of(bits: str) -> bytes:
    bits += "1"
    bits += "0" * (-len(bits) % 8)
    return obu(1, int(bits, 2).to_bytes(len(bits) // 8, "big"))


def test_a_sequence_header_says_the_size_of_the_largest_frame() -> None:
    header = full_sequence_header(4000, 3000)
    (unit,) = av1.units(header)
    sequence = av1_sequence.sequence_header(unit.body)
    assert (sequence.width, sequence.height, sequence.is_reduced, sequence.planes) == (4000, 3000, False, 3)
    assert av1.frame_size(DELIMITER + header) == (4000, 3000)


@pytest.mark.parametrize(
    "operating_points",
    ["00000" + "000100000001" + "01000" + "0", "00001" + ("0" * 12 + "01000" + "0") * 2],
    ids=["layers", "two operating points"],
)
def test_layers_are_refused_but_their_size_is_known(operating_points: str) -> None:
    header = full_sequence_header(operating_points=operating_points)
    (unit,) = av1.units(header)
    with pytest.raises(Unaccounted):
        av1_sequence.sequence_header(unit.body)
    assert av1.frame_size(header) == (512, 512)


@given(st.binary(max_size=200))
def test_noise_as_a_frame_is_refused_or_put_together_again(noise: bytes) -> None:
    for header in (bytes(units_of("four")[1]), full_sequence_header()):
        for kind in (av1.FRAME, av1.FRAME_HEADER):
            assert_is_refused_or_put_together_again(header + obu(kind, noise) + obu(av1.TILE_GROUP, noise))


@given(st.binary(max_size=40))
def test_noise_as_a_sequence_header_is_refused_or_put_together_again(noise: bytes) -> None:
    assert_is_refused_or_put_together_again(obu(1, noise) + bytes(units_of("four")[2]))


@given(
    st.sampled_from(sorted(FILES)), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 255)), min_size=1, max_size=4)
)
def test_changed_headers_are_refused_or_put_together_again(name: str, changes: list[tuple[int, int]]) -> None:
    changed = bytearray(item(name))
    for place, value in changes:
        changed[place] = value
    assert_is_refused_or_put_together_again(bytes(changed))


def assert_is_refused_or_put_together_again(data: bytes) -> None:
    try:
        picture = av1.picture(data)
    except Unaccounted:
        return
    assert picture.joined(picture.tiles) == data
    assert all(picture.tiles)
    assert len(picture.tiles) == picture.frame.tiles
    assert list(picture.frame.columns) == sorted(set(picture.frame.columns))
    plain = picture.joined(picture.tiles, plain=True)
    assert av1.picture(plain).tiles == picture.tiles


def test_lengths_of_units_in_more_bytes_than_they_need_stay() -> None:
    delimiter, sequence, frame = units_of("four")
    padded = [unit._replace(size_bytes=4) for unit in (delimiter, sequence, frame)]
    data = b"".join(map(bytes, padded))
    assert len(data) > len(item("four"))
    picture = av1.picture(data)
    assert picture.joined(picture.tiles) == data


def test_a_last_unit_without_a_length_stays() -> None:
    delimiter, sequence, frame = units_of("four")
    data = bytes(delimiter) + bytes(sequence) + b"\x30" + frame.body
    picture = av1.picture(data)
    assert picture.joined(picture.tiles) == data
    shorter = picture.joined((picture.tiles[0][:-1], *picture.tiles[1:]))
    assert len(shorter) == len(data) - 1


def test_white_tiles_are_tiles_too() -> None:
    picture = av1.picture(parts(tiled(Image.new("RGB", LARGE, "white"), 4, 4))[2])
    assert len(picture.tiles) == 16
