"""Pictures that hide in TIFFs: in rows below the last, beyond tiles, behind coded data, in tags."""

import io
import struct
import zlib
from typing import Any, Literal

import numpy as np
import pytest
import tifffile
from PIL import Image, TiffImagePlugin

from faceveil.transforms.codecs import tiff_directory
from tests.transforms.codecs.hidden import both, cleaned, cover, face, holds, payload, shows
from tests.transforms.codecs.samples import encode

HALF = both().height // 2
COMPRESSIONS = ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg", "lzma", "zstd", "group3", "group4"]
BILEVEL = ("group3", "group4")


def one_strip(image: Image.Image, compression: str) -> bytes:
    """A TIFF of one strip."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[278] = image.height
    image = image.convert("1") if compression in BILEVEL else image
    return encode(image, "TIFF", compression=compression, tiffinfo=tags, strip_size=10**9)


def change(data: bytes, **changes: Any) -> bytes:
    """The TIFF with other values of tags, by their numbers behind a letter, or other strips (in `strips`)."""
    flavour, (directory, *_) = tiff_directory.pages(data)
    offsets = directory.pop(273).numbers(flavour)
    counts = directory.pop(279).numbers(flavour)
    strips = [data[at : at + count] for at, count in zip(offsets, counts, strict=True)]
    for name, value in changes.items():
        if name.startswith("t"):
            directory[int(name[1:])] = (
                value if isinstance(value, tiff_directory.Entry) else tiff_directory.longs(flavour, value)
            )
    return tiff_directory.write(flavour, directory, None, changes.get("strips", strips))


def strips_of(data: bytes) -> list[bytes]:
    flavour, (directory, *_) = tiff_directory.pages(data)
    places = zip(directory[273].numbers(flavour), directory[279].numbers(flavour), strict=True)
    return [data[at : at + count] for at, count in places]


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_rows_below_a_tiff_with_its_height_halved_do_not_pass(compression: str) -> None:
    whole = one_strip(both(), compression)
    assert len(strips_of(whole)) == 1
    output = cleaned(change(whole, t257=HALF))
    secret = face()
    if compression in BILEVEL:
        secret = both().convert("1").crop((0, HALF, 192, 2 * HALF)).convert("RGB")
    assert shows(whole, secret)
    assert output
    strip = strips_of(whole)[0]
    assert not holds(output, strip[int(0.6 * len(strip)) :])
    if compression not in BILEVEL:  # of which libtiff shows whatever is in its memory when they are too short
        for rows in (2 * HALF, HALF):
            assert not shows(change(output, t257=2 * HALF, t278=rows), secret)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_strips_below_the_last_do_not_pass(compression: str) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[278] = 16
    whole = encode(both(), "TIFF", compression=compression, tiffinfo=tags, strip_size=16 * 192 * 3)
    assert len(strips_of(whole)) == 20
    shown, hidden = strips_of(whole)[:10], strips_of(whole)[10:]
    for strips in (shown + hidden, hidden + shown):
        data = change(whole, t257=HALF, strips=strips)
        with Image.open(io.BytesIO(data)) as image:
            seen = np.asarray(image)
        output = cleaned(data)  # shows what Pillow shows; which strips these are, readers disagree
        unseen = hidden if np.array_equal(seen, np.asarray(cover())) else shown
        assert output
        assert not [strip for strip in unseen if strip in output]


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "lzma", "group4"])
def test_bytes_behind_a_strips_content_do_not_pass(compression: str) -> None:
    data = one_strip(cover(), compression)
    output = cleaned(change(data, strips=[strips_of(data)[0] + payload()]))
    assert output
    assert not holds(output, payload())


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("planes", [False, True])
def test_a_picture_in_tiles_beyond_the_edge_does_not_pass(compression: str | None, planes: bool) -> None:
    values = np.asarray(both(256, 512))
    values = np.moveaxis(values, -1, 0) if planes else values
    options: dict[str, Any] = {"tile": (512, 256), "compression": compression, "photometric": "rgb"}
    file = io.BytesIO()
    if planes:
        options["planarconfig"] = "separate"
    tifffile.imwrite(file, values, **options)
    data = bytearray(file.getvalue())
    entries = struct.unpack_from("<H", data, int.from_bytes(data[4:8], "little"))[0]
    for number in range(entries):
        at = int.from_bytes(data[4:8], "little") + 2 + 12 * number
        if struct.unpack_from("<H", data, at)[0] == 257:
            struct.pack_into("<H" if data[at + 2] == 3 else "<I", data, at + 8, 256)
    output = cleaned(bytes(data))
    with tifffile.TiffFile(io.BytesIO(output)) as reader:
        assert reader.pages[0].shape[-3 if not planes else -2 :][0] in (256, 3)
        assert 322 not in reader.pages.first.tags
    assert len(output) < 0.75 * len(data)


@pytest.mark.parametrize("edge", ["constant", "edge"])
def test_tiles_that_go_on_plainly_stay_as_they_are(edge: Literal["constant", "edge"]) -> None:
    values = np.pad(np.asarray(cover(97, 61)), ((0, 3), (0, 31), (0, 0)), mode=edge)
    tiles = [
        np.ascontiguousarray(values[top : top + 32, left : left + 32]).tobytes()
        for top in (0, 32)
        for left in (0, 32, 64, 96)
    ]
    flavour = tiff_directory.Flavour("<")
    directory = {
        tag: tiff_directory.longs(flavour, value) for tag, value in ((256, 97), (257, 61), (322, 32), (323, 32))
    }
    directory |= {
        258: tiff_directory.shorts(flavour, 8, 8, 8),
        259: tiff_directory.shorts(flavour, 8),
        262: tiff_directory.shorts(flavour, 2),
        277: tiff_directory.shorts(flavour, 3),
        284: tiff_directory.shorts(flavour, 1),
    }
    data = tiff_directory.write(flavour, directory, None, [zlib.compress(tile) for tile in tiles], (324, 325))
    assert cleaned(data) == data


def test_strips_beside_tiles_do_not_pass() -> None:
    flavour = tiff_directory.Flavour("<")
    data = one_strip(cover(), "raw")
    _, (directory, *_) = tiff_directory.pages(data)
    hidden = face(192, 160).tobytes()
    at = len(data) + 400
    directory |= {
        tag: tiff_directory.longs(flavour, value) for tag, value in ((322, 192), (323, 160), (324, at), (325, 92160))
    }
    places = directory.pop(273), directory.pop(279)
    strip = strips_of(data)[0]
    out = tiff_directory.write(flavour, directory | {273: places[0], 279: places[1]})
    at = len(out)
    directory |= {
        273: tiff_directory.longs(flavour, at),
        279: places[1],
        324: tiff_directory.longs(flavour, at + len(strip)),
    }
    file = tiff_directory.write(flavour, directory) + strip + hidden
    assert len(tiff_directory.write(flavour, directory)) == at
    assert not holds(cleaned(file), hidden)


@pytest.mark.parametrize("kind", [1, 3, 4, 7, 11, 12])
@pytest.mark.parametrize("tag", [254, 256, 257, 258, 259, 262, 266, 274, 277, 278, 280, 282, 284, 296, 301, 317, 320])
def test_numbers_behind_those_of_a_tag_do_not_pass(tag: int, kind: int) -> None:
    data = one_strip(cover(), "tiff_lzw")
    flavour, (directory, *_) = tiff_directory.pages(data)
    size = {1: 1, 3: 2, 4: 4, 7: 1, 11: 4, 12: 8}[kind]
    letter = {1: "B", 3: "H", 4: "I", 7: "B", 11: "f", 12: "d"}[kind]
    numbers = directory[tag].numbers(flavour) if tag in directory else (1,)
    secret = payload()[: len(payload()) // 8 * 8]
    value = struct.pack(f"<{len(numbers)}{letter}", *(min(number, 255 if size == 1 else number) for number in numbers))
    value += secret
    output = cleaned(change(data, **{f"t{tag}": tiff_directory.Entry(kind, len(value) // size, value)}))
    assert not holds(output, secret)


@pytest.mark.parametrize(
    "tag",
    [263, 281, 283, 290, 291, 292, 293, 318, 319, 321, 332, 334, 336, 338, 339, 340, 341, 342, 347, 529, 530, 531, 532],
)
@pytest.mark.parametrize("kind", [1, 3, 5, 7, 12])
def test_numbers_in_tags_that_nobody_needs_do_not_pass(tag: int, kind: int) -> None:
    secret = payload()[: len(payload()) // 8 * 8]
    size = {1: 1, 3: 2, 5: 8, 7: 1, 12: 8}[kind]
    entry = tiff_directory.Entry(kind, len(secret) // size, secret)
    assert not holds(cleaned(change(one_strip(cover(), "raw"), **{f"t{tag}": entry})), secret, 64)


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_bits_that_fill_up_rows_of_a_tiff_do_not_pass(compression: str) -> None:
    """Seven of eight bits, where a picture of one bit is one pixel wide."""
    secret = bytes(byte & 0x7F for byte in payload())
    grey = Image.frombytes("L", (1, len(secret)), secret)
    data = one_strip(grey, compression)
    flavour = tiff_directory.Flavour("<")
    output = cleaned(change(data, t258=tiff_directory.shorts(flavour, 1)))
    assert output
    seen = change(output, t258=tiff_directory.shorts(flavour, 8))
    with Image.open(io.BytesIO(seen)) as image:
        assert not holds(image.tobytes(), secret)


def test_a_jpeg_that_is_larger_than_its_strip_does_not_pass() -> None:
    data = one_strip(cover(), "jpeg")
    output = cleaned(change(data, strips=[encode(both(), "JPEG", subsampling=0)]))
    assert not output or not shows(strips_of(output)[0], face())


@pytest.mark.parametrize("compression", [*COMPRESSIONS[:5], *BILEVEL])
@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "CMYK", "RGBA", "I;16"])
@pytest.mark.parametrize("rows", [7, 1000])
def test_ordinary_tiffs_keep_their_strips(compression: str, mode: str, rows: int) -> None:
    if (compression in BILEVEL) != (mode == "1") or (compression == "jpeg" and mode in ("P", "I;16")):
        pytest.skip("there are no such files")
    image = cover(97, 61)
    image = image.convert("I;16") if mode == "I;16" else image.convert(mode)
    stride = {"I;16": 2 * 97, "RGB": 291, "1": 13, "CMYK": 388, "RGBA": 388}.get(mode, 97)
    data = encode(image, "TIFF", compression=compression, strip_size=rows * stride)
    assert strips_of(cleaned(data)) == strips_of(data)


@pytest.mark.parametrize("width", [1, 7, 65, 1729, 2600, 5300])
@pytest.mark.parametrize(
    ("compression", "options"), [("group4", 0), ("tiff_ccitt", 0), *(("group3", options) for options in (0, 1, 4, 5))]
)
def test_fax_data_of_all_run_lengths_are_followed_to_their_end(width: int, compression: str, options: int) -> None:
    random = np.random.default_rng(width)
    rows = np.zeros((24, width), np.uint8)
    for number in range(1, 24):
        runs = random.integers(1, random.choice([3, 30, 90, 3000]), width)
        rows[number] = np.repeat(np.arange(width) % 2, runs)[:width]
        if number % 3 == 0:
            rows[number] = np.roll(rows[number - 1], random.integers(-4, 5))
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[278] = 24
    if compression == "group3":
        tags[292] = options
    data = encode(Image.fromarray(rows * 255).convert("1"), "TIFF", compression=compression, tiffinfo=tags)
    assert strips_of(cleaned(data)) == strips_of(data)
    output = cleaned(change(data, strips=[strips_of(data)[0] + payload()]))
    assert output
    assert not holds(output, payload())
