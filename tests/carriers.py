"""Files that carry a payload wherever a parser skips something: what an attacker, or a camera, hides in them."""

from __future__ import annotations

import contextlib
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import partial

import tensorflow as tf

from faceveil.transforms.codecs import isobmff, jpeg_markers, png, tiff, tiff_directory, webp
from faceveil.transforms.codecs.isobmff_boxes import read_boxes, write_box

MARKER = b"hidden picture! "
PAYLOAD = MARKER * 440
"""7 kB, as a thumbnail."""

Carrier = Callable[[bytes], bytes]


def holds_marker(data: bytes) -> bool:
    """Whether a payload can be read from data, as it is or inflated."""
    return MARKER in data or any(MARKER in inflated for inflated in _inflated(data))


def _inflated(data: bytes) -> Iterator[bytes]:
    """What every zlib stream in data says (RFC 1950), wherever it begins, and what stands behind it."""
    position = data.find(b"\x78")
    while position >= 0:
        if len(data) > position + 1 and (data[position] * 256 + data[position + 1]) % 31 == 0:
            stream = zlib.decompressobj()
            with contextlib.suppress(zlib.error):
                yield stream.decompress(data[position:], 1 << 24)
        position = data.find(b"\x78", position + 1)


def carriers(ending: str) -> dict[str, Carrier]:
    """The places of a format, by what an image file's name ends with."""
    return {**_BEHIND, **_BY_ENDING.get(ending, {})}


def carry(ending: str, data: bytes, chance: random.Random) -> bytes:
    """The same picture with a payload in one to three places."""
    places = carriers(ending)
    for name in chance.sample(sorted(places), min(len(places), chance.choice((1, 1, 2, 3)))):
        data = places[name](data)
    return data


_BEHIND: dict[str, Carrier] = {"behind the end": lambda data: data + PAYLOAD}


def _segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + (len(content) + 2).to_bytes(2, "big") + content


def _first(insert: bytes) -> Carrier:
    """Right behind SOI."""
    return lambda data: data[:2] + insert + data[2:]


def _before(wanted: int, insert: bytes) -> Carrier:
    def put(data: bytes) -> bytes:
        start = next((start for marker, start, _ in jpeg_markers.segments(data) if marker == wanted), len(data))
        return data[:start] + insert + data[start:]

    return put


def _longer_frame(data: bytes) -> bytes:
    _, start, end = next(s for s in jpeg_markers.segments(data) if s[0] in jpeg_markers.FRAMES)
    content = data[start + 4 : end] + PAYLOAD
    return data[:start] + _segment(data[start + 1], content) + data[end:]


_TABLE = bytes((0x03, 0, 1, 5, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0)) + MARKER  # lengths of 16 codes, and these
_JPEG: dict[str, Carrier] = {
    **{f"APP{number}": _first(_segment(0xE0 + number, b"Any\0" + PAYLOAD)) for number in range(16)},
    "a comment": _first(_segment(jpeg_markers.COM, PAYLOAD)),
    "EXIF": _first(_segment(0xE1, b"Exif\0\0" + PAYLOAD)),
    "an ICC profile that is none": _first(_segment(0xE2, b"ICC_PROFILE\0\1\1" + PAYLOAD)),
    "between segments": _before(jpeg_markers.SOS, PAYLOAD),
    "behind the scans": lambda data: data[:-2] + PAYLOAD + data[-2:],
    "Huffman tables that nothing uses": _before(jpeg_markers.SOS, b"".join(_segment(0xC4, _TABLE) for _ in range(400))),
    "quantisation tables that nothing uses": _before(
        jpeg_markers.SOS, b"".join(_segment(0xDB, bytes((3,)) + MARKER * 4) for _ in range(100))
    ),
    "Adobe's segment": _first(_segment(0xEE, b"Adobe\0\x64\0\0\0\0\1" + PAYLOAD)),
    "a longer frame header": _longer_frame,
    "a longer DRI": _before(jpeg_markers.SOS, _segment(0xDD, b"\0\0" + PAYLOAD)),
    "DNL": lambda data: data[:-2] + _segment(0xDC, b"\0\1" + PAYLOAD) + data[-2:],
}


def _png_chunk(name: bytes, content: bytes) -> bytes:
    return png.chunk(name, content)


def _in_png(name: bytes, content: bytes, before: bytes = b"IDAT") -> Carrier:
    def put(data: bytes) -> bytes:
        at = next(start for found, start, _ in png.chunks(data) if found == before)
        return data[:at] + _png_chunk(name, content) + data[at:]

    return put


def _png_pixels(change: Callable[[bytes], bytes]) -> Carrier:
    """Changes the zlib stream of the pixels, in one chunk."""

    def put(data: bytes) -> bytes:
        parts = list(png.chunks(data))
        stream = b"".join(data[start + 8 : end - 4] for name, start, end in parts if name == b"IDAT")
        written, done = png.SIGNATURE, False
        for name, start, end in parts:
            if name != b"IDAT":
                written += data[start:end]
            elif not done:
                written, done = written + _png_chunk(b"IDAT", change(stream)), True
        return written

    return put


_PNG: dict[str, Carrier] = {
    **{name: _in_png(name.encode(), PAYLOAD) for name in ("faCe", "eXIf", "vpAg", "caNv", "sPLT", "hIST", "tIME")},
    **{name: _in_png(name.encode(), b"\0" * 4 + PAYLOAD) for name in ("sBIT", "pHYs", "gAMA", "sRGB", "cICP", "cHRM")},
    "tEXt": _in_png(b"tEXt", b"Comment\0" + PAYLOAD),
    "zTXt": _in_png(b"zTXt", b"Comment\0\0" + zlib.compress(PAYLOAD)),
    "iTXt": _in_png(b"iTXt", b"Comment\0\1\0\0\0" + zlib.compress(PAYLOAD)),
    "an iCCP that is none": _in_png(b"iCCP", b"icc\0\0" + zlib.compress(PAYLOAD)),
    "another IDAT": _in_png(b"IDAT", PAYLOAD, before=b"IEND"),
    "behind the zlib stream": _png_pixels(lambda stream: stream + PAYLOAD),
    "more rows": _png_pixels(lambda stream: zlib.compress(zlib.decompress(stream) + PAYLOAD)),
    "within IEND": lambda data: data[:-12] + _png_chunk(b"IEND", PAYLOAD),
}


def _in_riff(name: bytes, content: bytes, first: bool = False) -> Carrier:
    def put(data: bytes) -> bytes:
        parts = list(webp.chunks(data))
        at = 0 if first and parts[0][0] != b"VP8X" else 1 if first else len(parts)
        return webp.join([*parts[:at], (name, content), *parts[at:]])

    return put


def _longer_picture(data: bytes) -> bytes:
    picture = (b"VP8 ", b"VP8L")
    return webp.join([(name, content + PAYLOAD if name in picture else content) for name, content in webp.chunks(data)])


_WEBP: dict[str, Carrier] = {
    **{name: _in_riff(name.encode(), PAYLOAD) for name in ("EXIF", "XMP ", "ICCP", "ALPH", "JUNK", "VP8 ", "VP8L")},
    "a longer picture": _longer_picture,
    "a longer VP8X": lambda data: webp.join(
        [(name, content + PAYLOAD if name == b"VP8X" else content) for name, content in webp.chunks(data)]
    ),
}


def _gif_blocks(content: bytes) -> bytes:
    parts = (content[at : at + 255] for at in range(0, len(content), 255))
    return b"".join(bytes((len(part),)) + part for part in parts) + b"\0"


def _in_gif(block: bytes) -> Carrier:
    def put(data: bytes) -> bytes:
        flags = data[10]
        at = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
        return data[:at] + block + data[at:]

    return put


_GIF: dict[str, Carrier] = {
    "a comment": _in_gif(b"\x21\xfe" + _gif_blocks(PAYLOAD)),
    "an application's block": _in_gif(b"\x21\xff\x0bANYTHING1.0" + _gif_blocks(PAYLOAD)),
    "an ICC profile that is none": _in_gif(b"\x21\xff\x0bICCRGBG1012" + _gif_blocks(PAYLOAD)),
    "plain text": _in_gif(b"\x21\x01\x0c" + bytes(12) + _gif_blocks(PAYLOAD)),
    "a longer control block": _in_gif(b"\x21\xf9\x04\0\0\0\0" + _gif_blocks(PAYLOAD)),
    "behind the picture's codes": lambda data: data[:-2] + _gif_blocks(PAYLOAD) + data[-1:],
}


def _bmp_gap(data: bytes) -> bytes:
    (at,) = struct.unpack_from("<I", data, 10)
    return data[:10] + struct.pack("<I", at + len(PAYLOAD)) + data[14:at] + PAYLOAD + data[at:]


_BMP: dict[str, Carrier] = {"before the pixels": _bmp_gap}


def _in_tiff(tag: int, entry: Callable[[tiff_directory.Flavour], tiff_directory.Entry]) -> Carrier:
    def put(data: bytes) -> bytes:
        flavour, directory, segments, tags = tiff.read_picture(data)
        return tiff_directory.write(flavour, {**directory, tag: entry(flavour)}, None, segments, tags)

    return put


def _payload_of(kind: int, _: tiff_directory.Flavour) -> tiff_directory.Entry:
    return tiff_directory.Entry(kind, len(PAYLOAD), PAYLOAD)


def _longer_strips(data: bytes) -> bytes:
    flavour, directory, segments, tags = tiff.read_picture(data)
    return tiff_directory.write(flavour, directory, None, [segment + PAYLOAD for segment in segments], tags)


_TIFF: dict[str, Carrier] = {
    **{
        f"tag {tag}, of type {kind}": _in_tiff(tag, partial(_payload_of, kind))
        for tag, kind in ((270, 2), (305, 1), (700, 1), (33723, 7), (34377, 1), (34675, 7), (37724, 7), (65000, 1))
    },
    **{
        f"tag {tag}, which takes numbers": _in_tiff(tag, lambda _: tiff_directory.Entry(1, len(PAYLOAD), PAYLOAD))
        for tag in (263, 266, 280, 282, 291, 318, 332, 334, 336, 529, 532)
    },
    "longer strips": _longer_strips,
}


def _at_top(name: bytes) -> Carrier:
    def put(data: bytes) -> bytes:
        return data + write_box(name, PAYLOAD)

    return put


def _brands(data: bytes) -> bytes:
    """Behind them offsets are no longer true, so the items are written anew."""
    name, start, end = next(read_boxes(data, 0, len(data)))
    clean = isobmff.strip(data, b"")
    _, _, stop = next(read_boxes(clean, 0, len(clean)))
    moved = clean[stop:]
    grown = write_box(name, data[start:end] + PAYLOAD)
    return _moved(grown, moved, len(grown) - stop)


def _moved(head: bytes, rest: bytes, by: int) -> bytes:
    """Boxes that begin later than they were written for: the places of items (an iloc of 4-byte offsets) are raised."""
    at = rest.index(b"iloc") + 4
    count = struct.unpack_from(">H", rest, at + 6)[0]
    patched = bytearray(rest)
    for number in range(count):
        place = at + 8 + 14 * number + 6
        struct.pack_into(">I", patched, place, struct.unpack_from(">I", rest, place)[0] + by)
    return head + bytes(patched)


_ISOBMFF: dict[str, Carrier] = {
    **{name: _at_top(name.encode()) for name in ("free", "skip", "uuid", "mdat", "udta")},
    "brands": _brands,
}

_BY_ENDING: dict[str, dict[str, Carrier]] = {
    "jpg": _JPEG,
    "png": _PNG,
    "webp": _WEBP,
    "gif": _GIF,
    "bmp": _BMP,
    "tif": _TIFF,
    "tiff": _TIFF,
    "avif": _ISOBMFF,
    "heic": _ISOBMFF,
}


def _field(number: int, content: bytes) -> bytes:
    """A protobuf field of bytes, under a number below 2,048."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes((*parts, value))


def _entry(key: bytes, feature: bytes, more: bytes = b"") -> bytes:
    return _field(1, _field(1, _field(1, key) + _field(2, feature) + more))


EXAMPLE_CARRIERS: dict[str, Callable[[bytes], bytes]] = {
    "a field of the Example": lambda record: record + _field(77, PAYLOAD),
    "a field of Features": lambda record: record + _field(1, _field(77, PAYLOAD)),
    "a field of an entry": lambda record: record + _entry(b"note", _field(1, _field(1, b"x")), _field(77, PAYLOAD)),
    "a field of a Feature": lambda record: record + _entry(b"note", _field(1, _field(1, b"x")) + _field(77, PAYLOAD)),
    "a field of a list": lambda record: record + _entry(b"note", _field(1, _field(1, b"x") + _field(77, PAYLOAD))),
    "an earlier value": lambda record: (
        record + _entry(b"note", _field(1, _field(1, PAYLOAD))) + _entry(b"note", _field(1, _field(1, b"x")))
    ),
    "another kind of list": lambda record: (
        record + _entry(b"note", _field(1, _field(1, PAYLOAD)) + _field(3, _field(1, b"\1")))
    ),
}
"""Each keeps the Example readable, and shows TensorFlow nothing of the payload."""


def example_shows_payload(record: bytes) -> bool:
    """Whether TensorFlow reads the payload as a feature's value, which then is the user's."""
    features = tf.train.Example.FromString(record).features.feature
    return any(MARKER in value for feature in features.values() for value in feature.bytes_list.value)
