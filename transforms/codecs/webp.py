"""WebP's chunks (WebP container, RFC 9649, section 2)."""

from __future__ import annotations

import functools
import struct
from collections.abc import Iterator

import numpy as np

from faceveil.transforms.codecs import icc, webp_streams
from faceveil.transforms.codecs.accounting import Unaccounted
from faceveil.transforms.quarantine import Quarantine, Reason

_ICC_FLAG, _ALPHA_FLAG, _EXIF_FLAG = 0x20, 0x10, 0x08  # bits of VP8X's first byte
_KNOWN_FLAGS = 0x3E
_SEEN_FLAGS = _ICC_FLAG | _ALPHA_FLAG
_PICTURES = {b"VP8 ", b"VP8L"}
_KEPT = {b"VP8X", b"ICCP", b"ALPH", b"VP8 ", b"VP8L"}


def chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The chunks of a RIFF file of the form WEBP: name and content.

    A chunk behind the picture that is longer than the file is left out, as libwebp's decoder does.

    Raises:
        Quarantine: TRUNCATED when the data end before the file's stated size, CORRUPT_IMAGE when a chunk
            reaches beyond it.
    """
    if len(data) < 12:
        raise Quarantine(Reason.TRUNCATED, "webp: ends within its header")
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        raise Quarantine(Reason.TRUNCATED, f"webp: {len(data)} of {end} bytes")
    position, has_picture = 12, False
    while position + 8 <= end:
        name, size = struct.unpack_from("<4sI", data, position)
        if position + 8 + size > end:
            if has_picture and name not in _PICTURES:
                return
            raise Quarantine(Reason.CORRUPT_IMAGE, f"webp: the chunk at byte {position} is longer than the file")
        yield name, data[position + 8 : position + 8 + size]
        has_picture = has_picture or name in _PICTURES
        position += 8 + size + size % 2


def join(parts: list[tuple[bytes, bytes]]) -> bytes:
    """A WebP file of these chunks."""
    body = b"".join(
        name + struct.pack("<I", len(content)) + content + b"\0" * (len(content) % 2) for name, content in parts
    )
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body


def whole(data: bytes) -> bytes:
    """A file of the chunks that are whole and of flags that are known: Pillow refuses one cut off behind the picture.

    Raises:
        Quarantine: as `chunks`.
    """
    parts = []
    for name, content in chunks(data):
        if name == b"VP8X":
            content = bytes((int.from_bytes(content[:1], "big") & _KNOWN_FLAGS, 0, 0, 0)) + content[4:]
        parts.append((name, content))
    return join(parts)


def strip(data: bytes, exif: bytes) -> bytes:
    """The same WebP with its picture, alpha and ICC profile, and with this EXIF, if any.

    A file that has EXIF has the header chunk that must announce it, so there is somewhere to put it. What decoders
    do not read at the ends of the picture's streams is cut off.

    Raises:
        Quarantine: CORRUPT_IMAGE or TRUNCATED when its chunks cannot be followed to the end.
        Unaccounted: it holds two pictures, or its picture is of another size than it says.
    """
    found = [(name, content) for name, content in chunks(data) if name in _KEPT]
    pictures = [(name, content) for name, content in found if name in _PICTURES]
    if not pictures:
        raise Quarantine(Reason.CORRUPT_IMAGE, "webp: ends without a picture")
    if len(pictures) > 1:
        raise Unaccounted("it has two pictures")
    kept = dict(reversed(found))  # decoders use the first of each
    kept = {name: kept[name] for name, _ in found}
    (name, content) = pictures[0]
    width, height = webp_streams.size(name, content)
    extended = kept.get(b"VP8X")
    if extended is None:
        kept = {name: content}  # what stands behind a simple file's picture is not looked at
    else:
        flags = int.from_bytes(extended[:1], "big") & _SEEN_FLAGS
        if name == b"VP8L" or not flags & _ALPHA_FLAG:
            kept.pop(b"ALPH", None)
        if found[0][0] != b"VP8X" or extended[4:10] != _canvas(width, height):
            raise Unaccounted("its picture is of another size than it says")
        profile = icc.clean(kept.pop(b"ICCP", b""))
        if profile:
            kept = {b"VP8X": kept.pop(b"VP8X"), b"ICCP": profile, **kept}
        else:
            flags &= ~_ICC_FLAG
        if exif:
            flags |= _EXIF_FLAG
        kept[b"VP8X"] = bytes((flags, 0, 0, 0)) + extended[4:10]
    kept = _without_tails(kept, name)
    return join([*kept.items(), *([(b"EXIF", exif)] if exif and extended else [])])


def _canvas(width: int, height: int) -> bytes:
    return (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")


def _without_tails(kept: dict[bytes, bytes], picture: bytes) -> dict[bytes, bytes]:
    """The chunks without what no decoder reads at the ends of their streams."""

    pixels = webp_streams.decode(join(list(kept.items())))
    if pixels is None:
        raise Unaccounted("it cannot be decoded")

    def is_same(content: bytes, name: bytes) -> bool:
        other = webp_streams.decode(join(list({**kept, name: content}.items())))
        return other is not None and np.array_equal(other, pixels)

    cut = webp_streams.vp8 if picture == b"VP8 " else webp_streams.vp8l
    kept[picture] = cut(kept[picture], functools.partial(is_same, name=picture))
    if b"ALPH" in kept:
        kept[b"ALPH"] = webp_streams.alpha(
            kept[b"ALPH"], pixels.shape[0] * pixels.shape[1], functools.partial(is_same, name=b"ALPH")
        )
    return kept
