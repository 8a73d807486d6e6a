"""Pictures that hide in AVIF and HEIF: in brands, properties, units that no decoder shows, and behind coded data."""

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from faceveil.transforms.codecs import decode_pixels, probe
from faceveil.transforms.codecs.isobmff_boxes import write_box, write_full_box
from faceveil.transforms.codecs.isobmff_read import read
from tests.transforms.codecs.hidden import both, cleaned, cover, face, holds, payload
from tests.transforms.codecs.samples import encode


def heic(image: Image.Image, **options: Any) -> bytes:
    output = io.BytesIO()
    pillow_heif.from_pillow(image).save(output, quality=60, **options)
    return output.getvalue()


FILES = {"avif": encode(cover(), "AVIF", quality=60), "heif": heic(cover())}


def parts(data: bytes) -> tuple[list[bytes], bytes, bytes]:
    """Properties of the one picture in a file, its kind and data."""
    meta = read(data)
    item = meta.items[meta.primary]
    return [meta.properties[place] for place, _ in item.properties], item.type, item.data


def build(boxes: list[bytes], kind: bytes, content: bytes, brands: bytes = b"", behind: bytes = b"") -> bytes:
    """A file of one picture."""
    uses = bytes((0x80 if box[4:8] in (b"av1C", b"hvcC") else 0) | place for place, box in enumerate(boxes, 1))

    def meta(start: int) -> bytes:
        info = write_full_box(b"infe", struct.pack(">HH", 1, 0) + kind + b"\0", version=2)
        return write_full_box(
            b"meta",
            write_full_box(b"hdlr", bytes(4) + b"pict" + bytes(13))
            + write_full_box(b"pitm", struct.pack(">H", 1))
            + write_full_box(b"iloc", struct.pack(">HHHHHII", 0x4400, 1, 1, 0, 1, start, len(content)))
            + write_full_box(b"iinf", struct.pack(">H", 1) + info)
            + write_box(
                b"iprp",
                write_box(b"ipco", b"".join(boxes))
                + write_full_box(b"ipma", struct.pack(">IHB", 1, 1, len(boxes)) + uses),
            ),
        )

    brand = b"avif" if kind == b"av01" else b"heic"
    file_type = write_box(b"ftyp", brand + bytes(4) + brand + b"mif1" + brands)
    return file_type + meta(len(file_type) + len(meta(0)) + 8) + write_box(b"mdat", content + behind)


@pytest.mark.parametrize("name", FILES)
def test_the_files_that_are_built_here_are_proper_ones(name: str) -> None:
    data = build(*parts(FILES[name]))
    np.testing.assert_array_equal(
        decode_pixels(data, probe(data)).values, decode_pixels(FILES[name], probe(FILES[name])).values
    )
    output = cleaned(data)
    assert parts(output)[1] == parts(data)[1]
    assert len(parts(data)[2]) - len(parts(output)[2]) in ((0,) if name == "avif" else range(400))


@pytest.mark.parametrize("name", FILES)
def test_made_up_brands_do_not_pass(name: str) -> None:
    output = cleaned(build(*parts(FILES[name]), brands=payload()[: len(payload()) // 4 * 4]))
    assert output or name == "heif"  # libheif refuses so many
    assert not holds(output, payload(), 16)


PROPERTIES = {
    **{b"ispe": 12, b"pasp": 8, b"clli": 4, b"mdcv": 24, b"amve": 8, b"cclv": 1, b"irot": 1, b"imir": 1},
    **{b"pixi": 8, b"clap": 32, b"lsel": 2, b"a1op": 1, b"a1lx": 7},
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", PROPERTIES)
def test_bytes_behind_a_property_do_not_pass(name: str, kind: bytes) -> None:
    boxes, item, content = parts(FILES[name])
    proper = next((box[8:] for box in boxes if box[4:8] == kind), bytes(PROPERTIES[kind]))
    others = [box for box in boxes if box[4:8] != kind]
    assert not holds(cleaned(build([*others, write_box(kind, proper + payload())], item, content)), payload())


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", [b"nclx", b"nclc", b"made"])
def test_bytes_behind_a_colour_description_do_not_pass(name: str, kind: bytes) -> None:
    boxes, item, content = parts(FILES[name])
    boxes = [box for box in boxes if box[4:8] != b"colr"]
    colour = write_box(b"colr", kind + struct.pack(">HHHB", 1, 13, 6, 0x80) + payload())
    assert not holds(cleaned(build([*boxes, colour], item, content)), payload())


@pytest.mark.parametrize("name", FILES)
def test_a_property_that_is_there_a_hundred_times_passes_once(name: str) -> None:
    boxes, item, content = parts(FILES[name])
    pieces = [payload()[at : at + 24] for at in range(0, 24 * 100, 24)]
    output = cleaned(build([*boxes, *(write_box(b"mdcv", piece) for piece in pieces)], item, content))
    assert sum(piece in output for piece in pieces) <= 1
    turned = [write_box(b"irot", bytes((byte & 0xFC,))) for byte in payload()[:100]]
    assert cleaned(build([*boxes, *turned], item, content)) == b""


@pytest.mark.parametrize("name", FILES)
def test_bytes_behind_the_decoder_configuration_do_not_pass(name: str) -> None:
    boxes, item, content = parts(FILES[name])
    longer = [write_box(box[4:8], box[8:] + payload()) if box[4:8] in (b"av1C", b"hvcC") else box for box in boxes]
    assert not holds(cleaned(build(longer, item, content)), payload())


def obu(kind: int, content: bytes) -> bytes:
    size, rest = b"", len(content)
    while rest > 127:
        size, rest = size + bytes((rest & 127 | 128,)), rest >> 7
    return bytes((kind << 3 | 2,)) + size + bytes((rest,)) + content


def nal(kind: int, content: bytes, layer: int = 0) -> bytes:
    unit = bytes((kind << 1 | layer >> 5, (layer & 31) << 3 | 1)) + content
    return len(unit).to_bytes(4, "big") + unit


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("kind", [0, 2, 5, 8, 9, 12, 15])
def test_units_of_av1_that_hold_no_picture_do_not_pass(kind: int, first: bool) -> None:
    boxes, item, content = parts(FILES["avif"])
    unit = obu(kind, payload())
    output = cleaned(build(boxes, item, unit + content if first else content + unit))
    assert not holds(output, payload())
    assert output == b"" or parts(output)[2] == content


@pytest.mark.parametrize("kind", [5, 15])
def test_units_in_the_av1_configuration_that_hold_no_picture_do_not_pass(kind: int) -> None:
    boxes, item, content = parts(FILES["avif"])
    longer = [write_box(box[4:8], box[8:] + obu(kind, payload())) if box[4:8] == b"av1C" else box for box in boxes]
    output = cleaned(build(longer, item, content))
    assert output
    assert not holds(output, payload())


def test_bytes_behind_a_sequence_header_do_not_pass() -> None:
    boxes, item, content = parts(FILES["avif"])
    secret = payload()[:48]
    length = content[3]
    assert content[:3] == b"\x12\0\x0a"
    longer = content[:3] + bytes((length + len(secret),)) + content[4 : 4 + length] + secret + content[4 + length :]
    assert secret not in cleaned(build(boxes, item, longer))
    header = obu(1, content[4 : 4 + length] + secret)
    configured = [write_box(b"av1C", box[8:] + header) if box[4:8] == b"av1C" else box for box in boxes]
    assert secret not in cleaned(build(configured, item, content))


def test_delimiters_between_units_of_av1_do_not_pass() -> None:
    """The length of nothing may be written in one to eight bytes, so each of many would say three bits."""
    boxes, item, content = parts(FILES["avif"])
    delimiters = b"".join(b"\x12" + b"\x80" * (byte & 7) + b"\0" for byte in payload())
    for data in (delimiters + content, content[:2] + delimiters + content[2:], content + delimiters):
        output = cleaned(build(boxes, item, data))
        assert parts(output)[2] in (content, content[2:])


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("kind", [35, 36, 38, 39, 40, 41, 48, 63])
def test_units_of_hevc_that_hold_no_picture_do_not_pass(kind: int, first: bool) -> None:
    boxes, item, content = parts(FILES["heif"])
    unit = nal(kind, payload())
    output = cleaned(build(boxes, item, unit + content if first else content + unit))
    assert not holds(output, payload())


def test_supplements_in_the_hevc_configuration_and_other_layers_do_not_pass() -> None:
    boxes, item, content = parts(FILES["heif"])
    unit = nal(39, payload())[2:]
    array = bytes((39,)) + struct.pack(">H", 1) + unit
    longer = [
        write_box(b"hvcC", box[8:30] + bytes((box[30] + 1,)) + box[31:] + array) if box[4:8] == b"hvcC" else box
        for box in boxes
    ]
    output = cleaned(build(longer, item, content))
    assert output
    assert not holds(output, payload())
    assert not holds(cleaned(build(boxes, item, content + nal(19, b"\x80" + payload(), layer=1))), payload())


def with_tail(name: str, content: bytes) -> bytes:
    """The last unit goes on behind its coded data."""
    if name == "avif":
        position, units = 0, []
        while position < len(content):
            start, shift, size = position, 0, 0
            position += 1
            while True:
                size |= (content[position] & 127) << shift
                position, shift = position + 1, shift + 7
                if not content[position - 1] & 128:
                    break
            units.append((content[start] >> 3, content[position : position + size]))
            position += size
        kind, last = units[-1]
        return b"".join(obu(*unit) for unit in units[:-1]) + obu(kind, last + payload())
    position = 0
    while position < len(content):
        start = position
        position += 4 + int.from_bytes(content[position : position + 4], "big")
    last = content[start + 4 :] + payload()
    return content[:start] + len(last).to_bytes(4, "big") + last


@pytest.mark.parametrize("name", FILES)
def test_bytes_behind_the_coded_data_of_a_unit_do_not_pass(name: str) -> None:
    boxes, item, content = parts(FILES[name])
    output = cleaned(build(boxes, item, with_tail(name, content)))
    assert not holds(output, payload())
    assert output


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("first", [False, True])
def test_a_second_picture_in_an_item_does_not_pass(name: str, first: bool) -> None:
    boxes, item, content = parts(FILES[name])
    hidden = parts(encode(face(), "AVIF", quality=60) if name == "avif" else heic(face()))[2]
    output = cleaned(build(boxes, item, hidden + content if first else content + hidden))
    assert not holds(output, hidden)


@pytest.mark.parametrize("name", FILES)
def test_bytes_in_no_unit_do_not_pass(name: str) -> None:
    boxes, item, content = parts(FILES[name])
    for data in (content + payload(), payload() + content, content + b"\xff" * 4 + payload()):
        assert not holds(cleaned(build(boxes, item, data)), payload())


def test_a_picture_that_decoders_cut_off_does_not_pass() -> None:
    """The conformance window of HEVC's sequence parameter set shows the upper half alone."""
    boxes, item, content = parts(heic(both()))
    configuration = next(box for box in boxes if box[4:8] == b"hvcC")
    at = configuration.index(bytes((33 << 1, 1)))
    length = int.from_bytes(configuration[at - 2 : at], "big")
    unit = configuration[at : at + length]
    bits = "".join(f"{byte:08b}" for byte in unit[2:].replace(b"\0\0\3", b"\0\0"))

    def coded(number: int) -> str:
        return "0" * ((number + 1).bit_length() - 1) + f"{number + 1:b}"

    def skip(position: int) -> int:
        zeros = bits.index("1", position) - position
        return position + 2 * zeros + 1

    position = 8 + 96
    for _ in range(4):  # number, chroma format (not 3), width, height
        position = skip(position)
    assert bits[position] == "0"
    window = "1" + coded(0) + coded(0) + coded(0) + coded(both().height // 4)
    bits = bits[:position] + window + bits[position + 1 :].rstrip("0")[:-1] + "1"
    bits += "0" * (-len(bits) % 8)
    raw = bytes(int(bits[start : start + 8], 2) for start in range(0, len(bits), 8))
    escaped, zeros = b"", 0
    for byte in raw:
        if zeros == 2 and byte <= 3:
            escaped, zeros = escaped + b"\3", 0
        escaped += bytes((byte,))
        zeros = zeros + 1 if byte == 0 else 0
    changed = unit[:2] + escaped
    new = configuration[8 : at - 2] + len(changed).to_bytes(2, "big") + changed + configuration[at + length :]
    half = write_full_box(b"ispe", struct.pack(">II", both().width, both().height // 2))
    boxes = [write_box(b"hvcC", new) if box is configuration else half if box[4:8] == b"ispe" else box for box in boxes]
    data = build(boxes, item, content)
    assert np.asarray(pillow_heif.open_heif(io.BytesIO(data))).shape[:2] == (both().height // 2, both().width)
    assert not holds(cleaned(data), content[100:])


ORDINARY: dict[str, Callable[[], bytes]] = {
    "avif": lambda: FILES["avif"],
    "avif alpha": lambda: encode(Image.merge("RGBA", (*cover().split(), face().convert("L"))), "AVIF"),
    "avif grey": lambda: encode(cover().convert("L"), "AVIF"),
    "avif large": lambda: encode(cover(1300, 1100), "AVIF", quality=40),
    "avif white": lambda: encode(Image.new("RGB", (200, 100), "white"), "AVIF"),
    "heif alpha": lambda: heic(Image.merge("RGBA", (*cover().split(), face().convert("L")))),
    "heif odd": lambda: heic(cover(97, 61)),
    "heif": lambda: FILES["heif"],
}


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_pictures_stay_as_they_are_coded(name: str) -> None:
    data = ORDINARY[name]()
    output = cleaned(data)
    meta, cleaned_meta = read(data), read(output)
    before, after = meta.items[meta.primary].data, cleaned_meta.items[cleaned_meta.primary].data
    assert before.endswith(after) if name.startswith("heif") else before == after


def test_bytes_behind_the_tiles_of_a_grid_do_not_pass() -> None:
    pieces = [cover().crop((left, top, left + 96, top + 80)) for top in (0, 80) for left in (0, 96)]
    boxes = [box for box in parts(heic(pieces[0]))[0] if box[4:8] in (b"hvcC", b"ispe", b"pixi")]
    contents = [parts(heic(piece))[2] for piece in pieces]
    honest = cleaned(grid(boxes, contents))
    assert honest
    for number in range(4):
        changed = [with_tail("heif", content) if place == number else content for place, content in enumerate(contents)]
        output = cleaned(grid(boxes, changed))
        assert output
        assert not holds(output, payload())
    assert not holds(cleaned(grid(boxes, contents, payload())), payload())


def grid(boxes: list[bytes], contents: list[bytes], behind: bytes = b"") -> bytes:
    """A file of 2 x 2 tiles that are coded alike, with these bytes behind what says how they lie."""
    contents = [bytes((0, 0, 1, 1)) + struct.pack(">HH", 192, 160) + behind, *contents]
    whole = write_full_box(b"ispe", struct.pack(">II", 192, 160))
    tile = bytes(0x80 * (box[4:8] == b"hvcC") | place for place, box in enumerate(boxes, 1))
    uses = struct.pack(">IHBB", 5, 1, 1, len(boxes) + 1)
    uses += b"".join(struct.pack(">HB", number, len(boxes)) + tile for number in range(2, 6))

    def meta(start: int) -> bytes:
        infos, places = b"", b""
        for number, content in enumerate(contents, 1):
            kind = b"grid" if number == 1 else b"hvc1"
            infos += write_full_box(b"infe", struct.pack(">HH", number, 0) + kind + b"\0", version=2, flags=number > 1)
            places += struct.pack(">HHHII", number, 0, 1, start, len(content))
            start += len(content)
        parts = (
            write_full_box(b"hdlr", bytes(4) + b"pict" + bytes(13)),
            write_full_box(b"pitm", struct.pack(">H", 1)),
            write_full_box(b"iloc", struct.pack(">HH", 0x4400, 5) + places),
            write_full_box(b"iinf", struct.pack(">H", 5) + infos),
            write_full_box(b"iref", write_box(b"dimg", struct.pack(">HH4H", 1, 4, 2, 3, 4, 5))),
            write_box(b"iprp", write_box(b"ipco", b"".join((*boxes, whole))) + write_full_box(b"ipma", uses)),
        )
        return write_full_box(b"meta", b"".join(parts))

    file_type = write_box(b"ftyp", b"heic" + bytes(4) + b"heicmif1")
    start = len(file_type) + len(meta(0)) + 8
    return file_type + meta(start) + write_box(b"mdat", b"".join(contents))
