"""Pictures that hide in WebP: below the last row, beside the picture, behind its streams."""

import base64
import struct
from collections.abc import Callable

import pytest
from PIL import Image

from faceveil.transforms.codecs import webp
from tests.transforms.codecs.hidden import both, cleaned, cover, face, holds, payload, shows
from tests.transforms.codecs.samples import encode, picture

HALF = both().height // 2


def webp_chunks(data: bytes) -> dict[bytes, bytes]:
    return dict(webp.chunks(data))


def vp8_with_height(content: bytes, height: int) -> bytes:
    return content[:8] + struct.pack("<H", height) + content[10:]


@pytest.mark.parametrize("extended", [False, True])
def test_rows_below_a_lossy_webp_with_its_height_halved_do_not_pass(extended: bool) -> None:
    content = vp8_with_height(webp_chunks(encode(both(), "WEBP"))[b"VP8 "], HALF)
    canvas = bytes(4) + (191).to_bytes(3, "little") + (HALF - 1).to_bytes(3, "little")
    data = webp.join([*([(b"VP8X", canvas)] if extended else []), (b"VP8 ", content)])
    assert shows(webp.join([(b"VP8 ", vp8_with_height(content, 2 * HALF))]), face()) or extended
    output = cleaned(data)
    assert output
    left = webp_chunks(output)[b"VP8 "]
    assert not shows(webp.join([(b"VP8 ", vp8_with_height(left, 2 * HALF) + bytes(9))]), face())
    assert len(left) < 0.8 * len(content)


def test_rows_below_a_lossless_webp_with_its_height_halved_do_not_pass() -> None:
    content = webp_chunks(encode(both(), "WEBP", lossless=True))[b"VP8L"]
    (bits,) = struct.unpack_from("<I", content, 1)
    lower = bits & ~(0x3FFF << 14) | (HALF - 1) << 14
    output = cleaned(webp.join([(b"VP8L", content[:1] + struct.pack("<I", lower) + content[5:])]))
    left = webp_chunks(output)[b"VP8L"] if output else bytes(9)
    assert not shows(webp.join([(b"VP8L", content[:5] + left[5:] + bytes(9))]), face())


LOSSY, LOSSLESS = encode(cover(), "WEBP"), encode(cover(), "WEBP", lossless=True)
TRANSLUCENT = Image.merge("RGBA", (*cover().split(), picture("L", 192, 160)))
ALPHA = encode(TRANSLUCENT, "WEBP", quality=70)


@pytest.mark.parametrize("first", [b"VP8 ", b"VP8L"])
@pytest.mark.parametrize("second", [b"VP8 ", b"VP8L"])
@pytest.mark.parametrize("extended", [False, True])
def test_a_second_picture_in_a_webp_does_not_pass(first: bytes, second: bytes, extended: bool) -> None:
    hidden = encode(face(), "WEBP", lossless=second == b"VP8L")
    shown = LOSSLESS if first == b"VP8L" else LOSSY
    canvas = [(b"VP8X", bytes(4) + b"\xbf\0\0\x9f\0\0")] if extended else []
    output = cleaned(webp.join([*canvas, (first, webp_chunks(shown)[first]), (second, webp_chunks(hidden)[second])]))
    assert not holds(output, webp_chunks(hidden)[second])


def first_partition_tail(content: bytes) -> bytes:
    tag = int.from_bytes(content[:3], "little")
    end = 10 + (tag >> 5)
    longer = (tag & 0x1F | (tag >> 5) + len(payload()) << 5).to_bytes(3, "little")
    return longer + content[3:end] + payload() + content[end:]


@pytest.mark.parametrize(
    ("data", "name", "change"),
    [
        (LOSSY, b"VP8 ", lambda content: content + payload()),
        (LOSSY, b"VP8 ", first_partition_tail),
        (LOSSLESS, b"VP8L", lambda content: content + payload()),
        (ALPHA, b"VP8 ", lambda content: content + payload()),
        (ALPHA, b"ALPH", lambda content: content + payload()),
        (ALPHA, b"ALPH", lambda _: b"\0" + picture("L", 192, 160).tobytes() + payload()),
        (ALPHA, b"VP8X", lambda content: content + payload()),
    ],
)
def test_bytes_that_no_webp_decoder_reads_do_not_pass(
    data: bytes, name: bytes, change: Callable[[bytes], bytes]
) -> None:
    chunks = [(kind, change(content) if kind == name else content) for kind, content in webp.chunks(data)]
    output = cleaned(webp.join(chunks))
    assert output or name == b"VP8X"
    assert not holds(output, payload())
    assert len(output) < 2 * len(data) + 31000 * (name == b"ALPH")


def test_alpha_that_belongs_to_no_picture_does_not_pass() -> None:
    for chunks in (
        [(b"ALPH", payload()), *webp.chunks(LOSSLESS)],
        [(b"VP8X", b"\x10\0\0\0\xbf\0\0\x9f\0\0"), (b"ALPH", payload()), *webp.chunks(LOSSLESS)],
        [(b"ALPH", b"\0" + payload()), *webp.chunks(LOSSY)],
        [*webp.chunks(LOSSY), (b"ALPH", payload())],
    ):
        assert not holds(cleaned(webp.join(chunks)), payload())


def test_a_webp_whose_canvas_is_larger_than_its_picture_does_not_pass_as_it_is() -> None:
    chunks = [(b"VP8X", bytes(4) + b"\xff\1\0\xff\1\0"), *webp.chunks(LOSSY)]
    assert cleaned(webp.join(chunks)) != webp.join(chunks)


# The cup of coffee by libwebp's encoder with its option `partitions` at 2, which Pillow does not pass on.
FOUR_PARTITIONS = base64.b64decode("""
UklGRr4CAABXRUJQVlA4ILICAADwCQCdASowAFAAPzmKvFqvKCUkKJQLoeCnCWxgEqWaT/c+Tl1H+pv8j7YNbKm3+Xfh/qB6nXjO1o9MlnL2YJ
5v9QH6v2FEMJ4BkQcb+ldDcHfIsnLUgyYAAOAAAHsAAHIAAP7pD+/9arH8/C1XO2EUUFYeZ9Xt+ChmtiyokcCs7Qmo7HOl/7//tGzEf+T/aLzC
y5Qg20I0D9j3lX6scs4271L5/o8WNeKpSY2taBrYcZxUaHWk4JQJvL4DBPgdWdKYzd2SD/ojM2IiKT4hbNuVFt/8z/xtG93/ph0HdkLhx3PXgY
Mo/MAL+Qb3L6Rif2kWInjh7oo/6+wXBPriUGukgmJGihdSCoeBlerup8TnU7kGAdKPYcz2l6aEqHLN+/Txa5v0RJblMRMHgcwf9qzLQ4V/N/S5
6a8sp6CGtFwxTAAA9zQrdB95/iB6XJm/gt9w3nOuZIy9NvjXObCwm2Yf22fsPDK4qIirCYA8ytWRGEgcNx/5e5tI8q8YbjiHhHX6qw9oRotB0u
kdtN49V8PG70QubC/0O9MK5gk9M00/vFaCJPcaDXtOmOjSzjRAtxx6ZSIe9yCMPieFiAAAv//+WzeZsY5Id/CW9kmjbxZ5YuEArm2cTYH6We8f
mZaNPM1r8iVh/+/nUE7lebMG763NcmHqne/+6mb0Xq0xezS8RTKX+oGR/OWFRBZ6i3IWlbT2R0lpT0eXUF3Hy87GQWHuTDRO8E2BIOvMC05CO4
AA+yqF2vZef3LpDzWdP/um96P89/NmdNIoKdjsp382NrM4eytctIEio37NuZ1S0v1gygmqTNvO2O6OZ3eRtNHL/JrvDjk8ODCH2xHKBv9+QBk7
6uBd2zN7CMXvWpuxDGVd1ocbTDEhakotzHpGwOyd+ufb9NIEM8yLV6JrIoIHXFIB/AA=
""")


@pytest.mark.parametrize("number", range(5))
def test_bytes_behind_each_partition_of_a_lossy_webp_do_not_pass(number: int) -> None:
    content = webp_chunks(FOUR_PARTITIONS)[b"VP8 "]
    first = int.from_bytes(content[:3], "little") >> 5
    table = 10 + first
    sizes = [int.from_bytes(content[table + 3 * at : table + 3 * at + 3], "little") for at in range(3)]
    parts, start = [content[10:table]], table + 9
    for size in sizes:
        parts.append(content[start : start + size])
        start += size
    parts.append(content[start:])
    assert cleaned(FOUR_PARTITIONS) == FOUR_PARTITIONS
    parts[number] += payload()
    tag = (int.from_bytes(content[:3], "little") & 0x1F | len(parts[0]) << 5).to_bytes(3, "little")
    new_table = b"".join(len(part).to_bytes(3, "little") for part in parts[1:-1])
    data = webp.join([(b"VP8 ", tag + content[3:10] + parts[0] + new_table + b"".join(parts[1:]))])
    output = cleaned(data)
    assert output
    assert not holds(output, payload())
    assert len(output) <= len(FOUR_PARTITIONS)
