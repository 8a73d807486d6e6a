"""Pictures that hide in PNG, GIF and BMP, behind what decoders read."""

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from faceveil.transforms.codecs import png
from tests.transforms.codecs.hidden import both, cleaned, cover, face, holds, payload, shows
from tests.transforms.codecs.samples import encode

HALF = both().height // 2


def png_chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, data[start + 8 : end - 4]) for name, start, end in png.chunks(data)]


def png_file(chunks: list[tuple[bytes, bytes]]) -> bytes:
    return png.SIGNATURE + b"".join(png.chunk(name, content) for name, content in chunks)


def png_of(image: Image.Image, **options: Any) -> list[tuple[bytes, bytes]]:
    return png_chunks(encode(image, "PNG", **options))


def with_height(chunks: list[tuple[bytes, bytes]], height: int) -> list[tuple[bytes, bytes]]:
    header = chunks[0][1]
    return [(b"IHDR", header[:4] + struct.pack(">I", height) + header[8:]), *chunks[1:]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1"])
def test_rows_below_a_png_with_its_height_halved_do_not_pass(mode: str) -> None:
    output = cleaned(png_file(with_height(png_of(both().convert(mode)), HALF)))
    assert not shows(png_file(with_height(png_chunks(output), 2 * HALF)), face())
    stream = b"".join(content for name, content in png_chunks(output) if name == b"IDAT")
    header = png.header(output)
    channels = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[header.colour_type]
    assert len(zlib.decompress(stream)) == HALF * (1 + -(-header.width * channels * header.bit_depth // 8))


def test_an_interlaced_png_is_held_to_the_length_of_its_passes() -> None:
    values = np.asarray(face(37, 29))
    starts = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = b"".join(
        b"\0" + row.tobytes() for top, left, down, across in starts for row in values[top::down, left::across]
    )
    header = (b"IHDR", struct.pack(">IIBBBBB", 37, 29, 8, 2, 0, 0, 1))
    honest = png_file([header, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")])
    assert cleaned(honest) == honest
    output = cleaned(png_file([header, (b"IDAT", zlib.compress(rows + payload(), 0)), (b"IEND", b"")]))
    assert not holds(output, payload())


def idat_tail(chunks: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [(name, content + payload() if name == b"IDAT" else content) for name, content in chunks]


def idat_more(chunks: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [*chunks[:-1], (b"IDAT", payload()), chunks[-1]]


def idat_second_run(chunks: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [*chunks[:-1], (b"tEXt", b"a\0b"), (b"IDAT", payload()), chunks[-1]]


def idat_split(chunks: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    at = [name for name, _ in chunks].index(b"IDAT")
    stream = b"".join(content for name, content in chunks if name == b"IDAT")
    return [*chunks[:at], (b"IDAT", stream[:100]), (b"tEXt", payload()), (b"IDAT", stream[100:]), (b"IEND", b"")]


def rows_more(chunks: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    stream = b"".join(content for name, content in chunks if name == b"IDAT")
    longer = zlib.compress(zlib.decompress(stream) + payload(), 0)
    return [chunk for chunk in chunks[:-1] if chunk[0] != b"IDAT"] + [(b"IDAT", longer), chunks[-1]]


@pytest.mark.parametrize("attack", [idat_tail, idat_more, idat_second_run, idat_split, rows_more])
def test_bytes_that_a_png_decoder_does_not_read_do_not_pass(
    attack: Callable[[list[tuple[bytes, bytes]]], list[tuple[bytes, bytes]]],
) -> None:
    assert not holds(cleaned(png_file(attack(png_of(cover())))), payload())


PROPER = {
    b"sBIT": b"\x08\x08\x08",
    b"bKGD": bytes(6),
    b"pHYs": bytes(9),
    b"gAMA": struct.pack(">I", 45455),
    b"sRGB": b"\0",
    b"cICP": b"\1\1\0\1",
    b"cHRM": struct.pack(">8I", *range(1000, 9000, 1000)),
    b"tRNS": bytes(6),
}


@pytest.mark.parametrize("repeated", [False, True])
@pytest.mark.parametrize("name", [*PROPER, b"PLTE"])
def test_over_long_and_repeated_chunks_do_not_pass(name: bytes, repeated: bool) -> None:
    chunks = png_of(cover())
    secret = payload()[: len(payload()) // 3 * 3]
    if name == b"PLTE":  # of a picture that has none
        secret = secret[:768]
    proper = PROPER.get(name, b"")
    extra = [(name, proper), (name, secret)] if repeated and proper else [(name, proper + secret)]
    output = cleaned(png_file([chunks[0], *extra, *chunks[1:]]))
    assert not holds(output, secret)
    if output and repeated and proper and name != b"tRNS":
        assert png.chunk(name, proper) in output


def test_a_palette_longer_than_pixels_can_use_does_not_pass() -> None:
    chunks = png_of(cover().quantize(4))
    assert png.header(png_file(chunks)).bit_depth == 2
    secret = payload()[: 3 * 250]
    longer = [(name, content[:12] + secret if name == b"PLTE" else content) for name, content in chunks]
    assert not holds(cleaned(png_file(longer)), secret)
    longer.insert(2, (b"tRNS", bytes(4) + secret[:200]))
    assert not holds(cleaned(png_file(longer)), secret)


@pytest.mark.parametrize("interlaced", [0, 1])
def test_bits_that_fill_up_rows_of_a_png_do_not_pass(interlaced: int) -> None:
    """Seven of eight bits, where a picture of one bit is one pixel wide."""
    secret = payload()
    rows = b"".join(bytes((0, byte & 0x7F)) for byte in secret)
    header = struct.pack(">IIBBBBB", 1, len(secret), 1, 0, 0, 0, 0)
    if interlaced:
        header = struct.pack(">IIBBBBB", 1, 8 * len(secret), 1, 0, 0, 0, 1)
        rows += bytes(2 * 7 * len(secret))
    output = cleaned(png_file([(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]))
    stream = zlib.decompress(b"".join(content for name, content in png_chunks(output) if name == b"IDAT"))
    assert not holds(stream[1::2], bytes(byte & 0x7F for byte in secret))


def gif_parts(data: bytes) -> tuple[bytes, bytes, list[bytes]]:
    """Header with palette, image descriptor with its code size, sub-blocks' contents."""
    at = 13 + 3 * 2 ** ((data[10] & 7) + 1)
    header = data[:at]
    while data[at] == 0x21:
        at += 2
        while data[at]:
            at += 1 + data[at]
        at += 1
    start = at
    at += 10 + (3 * 2 ** ((data[at + 9] & 7) + 1) if data[at + 9] & 0x80 else 0) + 1
    descriptor, blocks = data[start:at], []
    while data[at]:
        blocks.append(data[at + 1 : at + 1 + data[at]])
        at += 1 + data[at]
    return header, descriptor, blocks


def gif_blocks(content: bytes) -> bytes:
    return b"".join(
        bytes((len(content[at : at + 255]),)) + content[at : at + 255] for at in range(0, len(content), 255)
    )


def gif_file(header: bytes, descriptor: bytes, codes: bytes, extensions: bytes = b"") -> bytes:
    return header + extensions + descriptor + gif_blocks(codes) + b"\0;"


def gif_with_height(data: bytes, height: int) -> bytes:
    header, descriptor, blocks = gif_parts(data)
    side = struct.pack("<H", height)
    return gif_file(header[:8] + side + header[10:], descriptor[:7] + side + descriptor[9:], b"".join(blocks))


@pytest.mark.parametrize("colours", [4, 256])
def test_rows_below_a_gif_with_its_height_halved_do_not_pass(colours: int) -> None:
    data = gif_with_height(encode(both().quantize(colours), "GIF", optimize=False, interlace=0), HALF)
    assert shows(gif_with_height(data, 2 * HALF), face())
    output = cleaned(data)
    assert output
    assert not shows(gif_with_height(output, 2 * HALF), face())
    assert len(output) < 0.75 * len(data)


SMALL = encode(cover().quantize(64), "GIF")
CONTROL = b"\x21\xf9\x04\0\0\0\0\0"
ICC_LIKE = b"\x21\xff\x0bICCRGBG1013"


@pytest.mark.parametrize(
    "extensions",
    [
        b"\x21\xf9" + gif_blocks(b"\0\0\0\0" + payload()) + b"\0",
        b"\x21\xf9\x04\0\0\0\0" + gif_blocks(payload()) + b"\0",
        b"".join(b"\x21\xf9\x04" + payload()[at : at + 4] + b"\0" for at in range(0, len(payload()) - 4, 4)),
        CONTROL + b"\x21\x01" + gif_blocks(payload()) + b"\0",
        b"\x21\xfe" + gif_blocks(payload()) + b"\0",
        ICC_LIKE + gif_blocks(payload()) + b"\0",
        b"\x21\x77" + gif_blocks(payload()) + b"\0",
    ],
)
def test_extensions_of_a_gif_do_not_pass(extensions: bytes) -> None:
    header, descriptor, blocks = gif_parts(SMALL)
    output = cleaned(gif_file(header, descriptor, b"".join(blocks), extensions))
    assert not holds(output, payload())
    assert output.count(b"\x21\xf9\x04") <= 1


def test_bytes_behind_the_codes_of_a_gif_do_not_pass() -> None:
    header, descriptor, blocks = gif_parts(SMALL)
    output = cleaned(gif_file(header, descriptor, b"".join(blocks) + payload()))
    assert output
    assert not holds(output.replace(b"\xff", b""), payload().replace(b"\xff", b""), 30)


def test_a_palette_that_a_gif_does_not_use_does_not_pass() -> None:
    header, descriptor, blocks = gif_parts(encode(cover().quantize(256), "GIF"))
    local = descriptor[:9] + b"\x87" + header[13:] + descriptor[10:]
    output = cleaned(gif_file(header[:13] + payload()[:768], local, b"".join(blocks)))
    assert output
    assert not holds(output, payload()[:768])


def test_a_second_picture_of_a_gif_does_not_pass() -> None:
    header, descriptor, blocks = gif_parts(SMALL)
    _, other, codes = gif_parts(encode(face().quantize(64), "GIF"))
    data = gif_file(header, descriptor, b"".join(blocks))[:-1] + other + gif_blocks(b"".join(codes)) + b"\0;"
    assert not holds(cleaned(data), codes[3])


def bmp_with_height(data: bytes, height: int) -> bytes:
    return data[:22] + struct.pack("<i", height) + data[26:]


def test_rows_of_a_bmp_with_its_height_halved_do_not_pass() -> None:
    flipped = both().transpose(Image.Transpose.FLIP_TOP_BOTTOM)  # BMP begins below
    output = cleaned(bmp_with_height(encode(flipped, "BMP"), HALF))
    assert output
    assert not shows(bmp_with_height(output, 2 * HALF), face().transpose(Image.Transpose.FLIP_TOP_BOTTOM))
    assert len(output) == 54 + 3 * 192 * HALF


def bmp(
    width: int, height: int, bits: int, pixels: bytes, palette: bytes = b"", compression: int = 0, colours: int = 0
) -> bytes:
    at = 54 + len(palette)
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, bits, compression, len(pixels), 0, 0, colours, 0)
    return struct.pack("<2sIII", b"BM", at + len(pixels), 0, at) + header + palette + pixels


@pytest.mark.parametrize(("compression", "palette"), [(0, b""), (3, struct.pack("<3I", 0xFF0000, 0xFF00, 0xFF))])
def test_a_picture_in_the_fourth_bytes_of_a_bmp_does_not_pass(compression: int, palette: bytes) -> None:
    pixels = np.dstack((np.asarray(cover())[::-1, :, ::-1], np.asarray(face().convert("L"))[::-1]))
    output = cleaned(bmp(192, 160, 32, pixels.tobytes(), palette, compression))
    at = int.from_bytes(output[10:14], "little")
    assert not np.frombuffer(output[at:], np.uint8)[3::4].any()


def test_a_fourth_byte_that_is_the_same_in_all_pixels_stays() -> None:
    pixels = np.dstack((np.asarray(cover())[::-1, :, ::-1], np.full((160, 192), 255, np.uint8)))
    data = bmp(192, 160, 32, pixels.tobytes())
    assert cleaned(data) == data


def test_bits_of_no_channel_of_a_16_bit_bmp_do_not_pass() -> None:
    values = np.random.default_rng(0).integers(0, 2**15, (160, 192), np.uint16)
    secret = (np.asarray(face().convert("L")) > 127).astype(np.uint16)
    output = cleaned(bmp(192, 160, 16, (values | secret << 15).astype("<u2").tobytes()))
    assert not (np.frombuffer(output[54:], "<u2") >> 15).any()


def test_bytes_that_fill_up_rows_of_a_bmp_do_not_pass() -> None:
    """Three of four bytes, where a picture of a byte is one pixel wide."""
    secret = payload()[: len(payload()) // 3 * 3]
    pixels = b"".join(b"\0" + secret[at : at + 3] for at in range(0, len(secret), 3))
    palette = bytes(value if place < 3 else 0 for value in range(256) for place in range(4))
    output = cleaned(bmp(1, len(secret) // 3, 8, pixels, palette))
    assert not any(output[14 + 40 + 1024 :])
    bits = cleaned(bmp(1, len(secret), 1, b"".join(bytes((byte & 0x7F, 0, 0, 0)) for byte in secret), bytes(8)))
    assert not np.frombuffer(bits[62:], np.uint8).any()


@pytest.mark.parametrize("bits", [1, 4, 24])
def test_colours_of_a_bmp_that_no_pixel_can_have_do_not_pass(bits: int) -> None:
    side = 64
    stride = (side * bits + 31) // 32 * 4
    colours = 2**bits if bits <= 8 else 0
    secret = payload()[: (256 - colours if colours else len(payload()) // 4) * 4]
    palette = b"".join(bytes((value, 0, value, 0)) for value in range(colours)) + secret
    output = cleaned(bmp(side, side, bits, bytes(stride * side), palette, colours=colours + len(secret) // 4))
    assert output
    assert not holds(output, secret)


def test_the_unused_bytes_of_a_bmps_palette_do_not_pass() -> None:
    palette = b"".join(bytes((value, 0, value, secret)) for value, secret in enumerate(payload()[:256]))
    output = cleaned(bmp(64, 64, 8, bytes(64 * 64), palette))
    assert not any(output[54:1078][3::4])


def rle(row: bytes) -> bytes:
    return b"".join(
        bytes((0, len(row[at : at + 250]))) + row[at : at + 250] + b"\0" * (len(row[at : at + 250]) % 2)
        for at in range(0, len(row), 250)
    )


@pytest.mark.parametrize("place", ["below", "beside", "behind"])
def test_run_lengths_beyond_a_bmp_do_not_pass(place: str) -> None:
    indices = np.asarray(cover().convert("L"))[::-1]
    beside = iter(range(0, len(payload()), 48))
    rows = []
    for row in indices:
        runs = payload()[at : at + 48] if place == "beside" and (at := next(beside, None)) is not None else b""
        rows.append(rle(row.tobytes()) + b"".join(bytes((1, value)) for value in runs) + b"\0\0")
    if place == "below":
        rows += [rle(payload()[at : at + 192]) + b"\0\0" for at in range(0, len(payload()) // 192 * 192, 192)]
    data = b"".join(rows) + b"\0\1" + (payload() if place == "behind" else b"")
    palette = bytes(value if place < 3 else 0 for value in range(256) for place in range(4))
    output = cleaned(bmp(192, 160, 8, data, palette, compression=1))
    assert not holds(output, payload())
    assert not any(holds(output[start::2], payload(), 48) for start in (0, 1))


@pytest.mark.parametrize(
    "image", [cover(), face(97, 61), both(), cover(640, 480)], ids=["portrait", "small", "both", "large"]
)
def test_ordinary_files_stay_as_they_are(image: Image.Image) -> None:
    text = PngImagePlugin.PngInfo()
    for data in (
        encode(image, "PNG", pnginfo=text),
        *(encode(image.convert(mode), "PNG", dpi=(72, 72)) for mode in ("L", "1", "P", "RGBA", "LA")),
        *(encode(image.quantize(colours), "PNG") for colours in (2, 3, 16, 256)),
        *(encode(image.quantize(colours), "GIF", interlace=1) for colours in (2, 3, 16, 200, 256)),
        encode(image.quantize(200), "GIF", transparency=3),
        *(encode(image.convert(mode), "BMP") for mode in ("1", "L", "P", "RGB")),
        *(encode(image, "WEBP", quality=quality, method=method) for quality in (5, 50, 95) for method in (0, 4, 6)),
        encode(image, "WEBP", lossless=True),
        encode(image.convert("RGBA"), "WEBP"),
    ):
        assert cleaned(data) == data


def test_tails_of_zeros_stay() -> None:
    header, descriptor, blocks = gif_parts(SMALL)
    data = gif_file(header, descriptor, b"".join(blocks) + bytes(3))
    with Image.open(io.BytesIO(data)) as image:
        image.load()
    assert cleaned(data) == data


@pytest.mark.parametrize("image_format", ["PNG", "GIF", "BMP", "TIFF"])
def test_a_picture_in_the_indices_of_a_palette_of_one_colour_does_not_pass(image_format: str) -> None:
    image = face().convert("L")
    indices = Image.frombytes("P", image.size, image.tobytes())
    indices.putpalette(bytes((7, 7, 9)) * 256)
    output = cleaned(encode(indices, image_format, **({"optimize": False} if image_format == "GIF" else {})))
    assert output
    with Image.open(io.BytesIO(output)) as shown:
        values = np.asarray(shown)
    assert (values == values[:1, :1]).all()


def test_indices_beyond_the_palette_of_a_png_do_not_pass() -> None:
    image = face().convert("L")
    indices = Image.frombytes("P", image.size, image.tobytes())
    indices.putpalette(bytes(range(256)) * 3)
    chunks = [(name, content[:6] if name == b"PLTE" else content) for name, content in png_of(indices)]
    output = cleaned(png_file(chunks))
    assert not output or png.header(output).colour_type == 2  # RGB, as it is shown
