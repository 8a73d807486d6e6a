"""Pictures that hide in WebP: below the last row, beside the picture, behind its streams."""

import struct

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
def test_rows_below_a_lossy_webp_with_its_height_halved_do_not_pass(extended):
    content = vp8_with_height(webp_chunks(encode(both(), "WEBP"))[b"VP8 "], HALF)
    canvas = bytes(4) + (191).to_bytes(3, "little") + (HALF - 1).to_bytes(3, "little")
    data = webp.join([*([(b"VP8X", canvas)] if extended else []), (b"VP8 ", content)])
    assert shows(webp.join([(b"VP8 ", vp8_with_height(content, 2 * HALF))]), face()) or extended
    output = cleaned(data)
    assert output
    left = webp_chunks(output)[b"VP8 "]
    assert not shows(webp.join([(b"VP8 ", vp8_with_height(left, 2 * HALF) + bytes(9))]), face())
    assert len(left) < 0.8 * len(content)


def test_rows_below_a_lossless_webp_with_its_height_halved_do_not_pass():
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
def test_a_second_picture_in_a_webp_does_not_pass(first, second, extended):
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
def test_bytes_that_no_webp_decoder_reads_do_not_pass(data, name, change):
    chunks = [(kind, change(content) if kind == name else content) for kind, content in webp.chunks(data)]
    output = cleaned(webp.join(chunks))
    assert output or name == b"VP8X"
    assert not holds(output, payload())
    assert len(output) < 2 * len(data) + 31000 * (name == b"ALPH")


def test_alpha_that_belongs_to_no_picture_does_not_pass():
    for chunks in (
        [(b"ALPH", payload()), *webp.chunks(LOSSLESS)],
        [(b"VP8X", b"\x10\0\0\0\xbf\0\0\x9f\0\0"), (b"ALPH", payload()), *webp.chunks(LOSSLESS)],
        [(b"ALPH", b"\0" + payload()), *webp.chunks(LOSSY)],
        [*webp.chunks(LOSSY), (b"ALPH", payload())],
    ):
        assert not holds(cleaned(webp.join(chunks)), payload())


def test_a_webp_whose_canvas_is_larger_than_its_picture_does_not_pass_as_it_is():
    chunks = [(b"VP8X", bytes(4) + b"\xff\1\0\xff\1\0"), *webp.chunks(LOSSY)]
    assert cleaned(webp.join(chunks)) != webp.join(chunks)
