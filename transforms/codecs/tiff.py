"""TIFF's directories: read, keep what describes the picture, write.

TIFF 6.0 (Adobe, 1992), section 2; BigTIFF (https://www.awaresystems.be/imaging/tiff/bigtiff.html). EXIF is a TIFF
without pixels (Exif 2.32, CIPA DC-008), so `exif.py` reads and writes its directories here too.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from faceveil.transforms.codecs import icc, jpeg_strip, palettes, tiff_segments, tiff_tags
from faceveil.transforms.codecs.image import Pixels
from faceveil.transforms.quarantine import Quarantine, Reason

BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, ORIENTATION = 258, 259, 262, 274
SAMPLES_PER_PIXEL, PLANAR, SAMPLE_FORMAT, EXTRA_SAMPLES = 277, 284, 339, 338
XMP, EXIF_DIRECTORY, DNG_VERSION = 700, 34665, 50706
PREMULTIPLIED, OLD_JPEG, JPEG = 1, 6, 7
STRIPS, TILES = (273, 279), (324, 325)  # offsets, byte counts
_JPEG_TABLES, _ICC_PROFILE, _PREDICTOR = 347, 34675, 317
_DEFLATE = 8
_ABOUT_COLOUR = {ORIENTATION, 282, 283, 296, 318, 319, _ICC_PROFILE}  # and about density
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_ASCII, _SHORT, _LONG, _UNDEFINED = 2, 3, 4, 7
_NUMBERS = {1: "B", _SHORT: "H", _LONG: "I", 13: "I", 16: "Q"}
_STRIP_BYTES = 2**18


class Flavour(NamedTuple):
    """How numbers are written: struct's sign for the byte order, and whether offsets have 8 bytes (BigTIFF)."""

    order: str
    big: bool = False


@dataclass(frozen=True)
class Entry:
    """One tag's value: its type and count as in TIFF 6.0, section 2, and its bytes in the file's order."""

    type: int
    count: int
    value: bytes

    def numbers(self, flavour: Flavour) -> tuple[int, ...]:
        """The value as whole numbers; empty when it is of another type."""
        letter = _NUMBERS.get(self.type)
        return struct.unpack(f"{flavour.order}{self.count}{letter}", self.value) if letter else ()


Directory = dict[int, Entry]


def shorts(flavour: Flavour, *values: int) -> Entry:
    """An entry of 16-bit numbers."""
    return Entry(_SHORT, len(values), struct.pack(f"{flavour.order}{len(values)}H", *values))


def longs(flavour: Flavour, *values: int) -> Entry:
    """An entry of 32-bit numbers, or 64-bit ones in a BigTIFF."""
    type_, letter = (16, "Q") if flavour.big else (_LONG, "I")
    return Entry(type_, len(values), struct.pack(f"{flavour.order}{len(values)}{letter}", *values))


def flavour_of(data: bytes) -> tuple[Flavour, int]:
    """The flavour, and where the first directory begins.

    Raises:
        Quarantine: CORRUPT_IMAGE when the data begin like no TIFF.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    version = int.from_bytes(data[2:4], "little" if order == "<" else "big")
    if order is None or version not in (42, 43) or len(data) < 16:
        raise Quarantine(Reason.CORRUPT_IMAGE, "tiff: no proper header")
    flavour = Flavour(order, version == 43)
    return flavour, struct.unpack_from(f"{order}Q" if flavour.big else f"{order}I", data, 8 if flavour.big else 4)[0]


def read_directory(data: bytes, flavour: Flavour, start: int) -> tuple[Directory, int]:
    """The entries of the directory at a byte, and where the next one begins: 0 for none.

    Entries of unknown types, and those whose value does not lie in the data, are left out: readers do without them,
    and where the picture needs them, it cannot be read.

    Raises:
        Quarantine: TRUNCATED when the directory reaches beyond the data, CORRUPT_IMAGE when its values overlap so
            often that they would fill the memory.
    """
    entries, following, _ = _read_directory(data, flavour, start, 2 * len(data))
    return entries, following


def _read_directory(data: bytes, flavour: Flavour, start: int, most: int) -> tuple[Directory, int, int]:
    """As `read_directory`, and the bytes of the directory with its values, which may not be more than `most`."""
    order, big = flavour
    number, offset = ("Q", "Q") if big else ("H", "I")
    inline = 8 if big else 4
    total = 0
    try:
        (count,) = struct.unpack_from(order + number, data, start)
        position = start + struct.calcsize(order + number)
        entries: Directory = {}
        for _ in range(count):
            tag, type_, values = struct.unpack_from(f"{order}HH{offset}", data, position)
            at = position + 4 + inline
            size = _SIZES.get(type_, 0) * values
            if size > inline:
                (at,) = struct.unpack_from(order + offset, data, at)
            total += 4 + 2 * inline
            if type_ in _SIZES and at + size <= len(data):
                total += size
                if total > most:
                    raise Quarantine(Reason.CORRUPT_IMAGE, f"tiff: what the directory at byte {start} holds overlaps")
                entries.setdefault(tag, Entry(type_, values, data[at : at + size]))
            position += 4 + 2 * inline
        (following,) = struct.unpack_from(order + offset, data, position)
    except (struct.error, OverflowError) as error:  # BigTIFF's offsets may be too large for any memory
        raise Quarantine(Reason.TRUNCATED, f"tiff: the directory at byte {start} lies beyond the end") from error
    return entries, following, total


def pages(data: bytes) -> tuple[Flavour, list[Directory]]:
    """The directories of the main chain, in order; each page or thumbnail has one.

    Raises:
        Quarantine: CORRUPT_IMAGE when there is none, they form a ring or overlap.
    """
    flavour, start = flavour_of(data)
    directories: list[Directory] = []
    seen: set[int] = set()
    left = 2 * len(data)
    while start:
        if start in seen:
            raise Quarantine(Reason.CORRUPT_IMAGE, "tiff: its directories form a ring")
        seen.add(start)
        entries, start, used = _read_directory(data, flavour, start, left)
        directories.append(entries)
        left -= used
    if not directories:
        raise Quarantine(Reason.CORRUPT_IMAGE, "tiff: there is no directory")
    return flavour, directories


def write(
    flavour: Flavour,
    directory: Mapping[int, Entry],
    exif: Mapping[int, Entry] | None = None,
    segments: Sequence[bytes] = (),
    tags: tuple[int, int] = STRIPS,
) -> bytes:
    """A TIFF of one directory: header, directory, EXIF directory, segments, and nothing else.

    Args:
        flavour: of the values in the entries.
        directory: the entries, without those of `tags` and of the EXIF directory.
        exif: the EXIF directory's entries, if there is to be one.
        segments: the coded strips or tiles.
        tags: the tags of the segments' offsets and byte counts.
    """
    entries = dict(directory)
    if segments:
        entries |= {tag: longs(flavour, *[0] * len(segments)) for tag in tags}
    if exif:
        entries[EXIF_DIRECTORY] = longs(flavour, 0)
    header = struct.pack(
        flavour.order + ("2sHHHQ" if flavour.big else "2sHI"),
        b"II" if flavour.order == "<" else b"MM",
        *((43, 8, 0, 16) if flavour.big else (42, 8)),
    )
    # Only now that all sizes are known, so are all offsets.
    exif_at = len(header) + len(_packed(flavour, entries, 0))
    exif_part = _packed(flavour, exif, exif_at) if exif else b""
    if exif:
        entries[EXIF_DIRECTORY] = longs(flavour, exif_at)
    offsets, position = [], exif_at + len(exif_part)
    for segment in segments:
        offsets.append(position if segment else 0)
        position += len(segment) + len(segment) % 2
    if segments:
        entries[tags[0]] = longs(flavour, *offsets)
        entries[tags[1]] = longs(flavour, *map(len, segments))
    body = (segment + b"\0" * (len(segment) % 2) for segment in segments)
    return b"".join((header, _packed(flavour, entries, len(header)), exif_part, *body))


def _packed(flavour: Flavour, entries: Mapping[int, Entry], start: int) -> bytes:
    """A directory that begins at a byte, with the values that do not fit into their entries behind it."""
    order, big = flavour
    number, offset = ("Q", "Q") if big else ("H", "I")
    inline = 8 if big else 4
    table = [struct.pack(order + number, len(entries))]
    values = b""
    values_at = start + struct.calcsize(order + number) + len(entries) * (4 + 2 * inline) + inline
    for tag, entry in sorted(entries.items()):
        value = entry.value
        if len(value) > inline:
            value = struct.pack(order + offset, values_at + len(values))
            values += entry.value + b"\0" * (len(entry.value) % 2)
        table.append(struct.pack(f"{order}HH{offset}", tag, entry.type, entry.count) + value.ljust(inline, b"\0"))
    return b"".join((*table, bytes(inline), values))


def strip(data: bytes, exif: bytes) -> bytes:
    """The first page in a file of its own, its strips or tiles as they were, with the tags that describe the picture.

    Args:
        data: the TIFF.
        exif: EXIF to write, in the same byte order but for its orientation; none if empty.

    Raises:
        Quarantine: TRUNCATED or CORRUPT_IMAGE when the strips or tiles do not lie in the file.
        Unaccounted: there is more in them than the picture.
    """
    flavour, directory, segments, tags = read_picture(data)
    layout = tiff_tags.layout(directory, flavour, is_tiled=tags == TILES)
    segments = tiff_segments.accounted(segments, layout)
    tiff_tags.check(pages(data)[1][0], directory, flavour)
    _check_tiles(flavour, directory, segments, layout)
    exif_entries: Directory = {}
    if exif:
        exif_flavour, start = flavour_of(exif)
        kept, _ = read_directory(exif, exif_flavour, start)
        if pointer := kept.pop(EXIF_DIRECTORY, None):
            exif_entries, _ = read_directory(exif, exif_flavour, pointer.numbers(exif_flavour)[0])
        if upright := kept.pop(ORIENTATION, None):  # of a type that readers take, though it is not the tag's
            directory[ORIENTATION] = shorts(flavour, *upright.numbers(exif_flavour))
        directory |= kept
    if directory.get(COMPRESSION) == shorts(flavour, JPEG):
        tables = directory.get(_JPEG_TABLES)
        segments, value = jpeg_strip.strip_in_tiff(segments, tables.value if tables else b"")
        directory.pop(_JPEG_TABLES, None)
        if tables and value:
            directory[_JPEG_TABLES] = replace(tables, count=len(value), value=value)
    stripped = write(flavour, directory, exif_entries, segments, tags)
    if layout.photometric == tiff_tags.PALETTE:
        palettes.check_indices(stripped, "tiff")
    return stripped


def _check_tiles(flavour: Flavour, directory: Directory, segments: list[bytes], layout: tiff_segments.Layout) -> None:
    """That tiles hold nothing beyond the picture's edges."""
    whole = layout.across * layout.segment_width, layout.down * layout.segment_height
    if not layout.is_tiled or whole == (layout.width, layout.height):
        return
    canvas = {tag: entry for tag, entry in directory.items() if tag != ORIENTATION}
    canvas |= {256: longs(flavour, whole[0]), 257: longs(flavour, whole[1])}
    tiff_segments.check_margins(write(flavour, canvas, None, segments, TILES), layout)


def read_picture(data: bytes, page: int = 0) -> tuple[Flavour, Directory, list[bytes], tuple[int, int]]:
    """A page: tags of the picture but those of its segments, segments, and these segments' two tags.

    Raises:
        Quarantine: TRUNCATED or CORRUPT_IMAGE when the strips or tiles do not lie in the file.
    """
    flavour, directories = pages(data)
    entries = directories[page]
    tags = TILES if TILES[0] in entries else STRIPS
    directory = tiff_tags.clean({tag: entry for tag, entry in entries.items() if tag not in (*STRIPS, *TILES)}, flavour)
    _clean_profile(directory)
    if tags[0] not in entries:
        raise Quarantine(Reason.CORRUPT_IMAGE, "tiff: there are no pixels")
    offsets = entries[tags[0]].numbers(flavour)
    if tags[1] in entries:
        counts = entries[tags[1]].numbers(flavour)
    else:  # some old writers leave it out where there is one strip that goes to the end
        counts = tuple(len(data) - offset for offset in offsets[:1])
    if len(offsets) != len(counts) or not offsets:
        raise Quarantine(Reason.CORRUPT_IMAGE, f"tiff: {len(offsets)} strips or tiles, but {len(counts)} sizes")
    # Of uncompressed strips readers take what they need, and do not mind a last one that is said to be too long.
    is_plain = entries.get(COMPRESSION, shorts(flavour, 1)) == shorts(flavour, 1)
    ends = offsets if is_plain else map(sum, zip(offsets, counts, strict=True))
    if any(end > len(data) for end in ends):
        raise Quarantine(Reason.TRUNCATED, "tiff: a strip or tile lies beyond the end")
    if sum(counts) > 2 * len(data):
        raise Quarantine(Reason.CORRUPT_IMAGE, "tiff: its strips or tiles overlap")
    segments = [data[offset : offset + count] for offset, count in zip(offsets, counts, strict=True)]
    return flavour, directory, segments, tags


def without_metadata(data: bytes) -> bytes:
    """The first page in a file of its own, with the tags that describe the picture: for decoders that refuse others.

    Raises:
        Quarantine: as `strip`.
    """
    flavour, directory, segments, tags = read_picture(data)
    return write(flavour, directory, None, segments, tags)


def page(data: bytes, number: int) -> bytes:
    """A page in a file of its own, as it is stored: not turned upright.

    Raises:
        Quarantine: as `read_picture`.
    """
    flavour, directory, segments, tags = read_picture(data, number)
    directory.pop(ORIENTATION, None)
    return write(flavour, directory, None, segments, tags)


def _clean_profile(directory: Directory) -> None:
    """Cleans a directory's ICC profile, in place."""
    if entry := directory.pop(_ICC_PROFILE, None):
        profile = icc.clean(entry.value)
        if profile:
            directory[_ICC_PROFILE] = replace(entry, count=len(profile), value=profile)


def as_rgba(data: bytes) -> bytes:
    """The same four channels called RGB and plain alpha, so that decoders hand out what is stored.

    They would divide by a premultiplied alpha, and OpenCV turns CMYK into RGB.
    """
    flavour, directory, segments, tags = read_picture(data)
    directory |= {PHOTOMETRIC: shorts(flavour, 2), EXTRA_SAMPLES: shorts(flavour, 2)}
    return write(flavour, directory, None, segments, tags)


def has_planes(data: bytes) -> bool:
    """Whether the channels are stored apart (PlanarConfiguration 2)."""
    flavour, (entries, *_) = pages(data)
    return entries.get(PLANAR) == shorts(flavour, 2)


def zero_is_white(data: bytes) -> bool:
    """Whether grey is stored upside down (PhotometricInterpretation 0)."""
    flavour, (entries, *_) = pages(data)
    return entries.get(PHOTOMETRIC) == shorts(flavour, 0)


def planes(data: bytes) -> list[bytes]:
    """Each channel of a picture whose channels are stored apart (PlanarConfiguration 2), as a grey picture.

    Raises:
        Quarantine: CORRUPT_IMAGE when the strips or tiles cannot be shared out among the channels.
    """
    flavour, directory, segments, tags = read_picture(data)
    bits = directory[BITS_PER_SAMPLE].numbers(flavour)
    if not bits or len(segments) % len(bits):
        raise Quarantine(Reason.CORRUPT_IMAGE, f"tiff: {len(segments)} strips or tiles for {len(bits)} channels")
    grey = {tag: entry for tag, entry in directory.items() if tag not in (EXTRA_SAMPLES, SAMPLE_FORMAT, _ICC_PROFILE)}
    grey[BITS_PER_SAMPLE] = shorts(flavour, bits[0])
    grey[PHOTOMETRIC] = grey[SAMPLES_PER_PIXEL] = grey[PLANAR] = shorts(flavour, 1)
    each = len(segments) // len(bits)
    return [write(flavour, grey, None, segments[first : first + each], tags) for first in range(0, len(segments), each)]


_PHOTOMETRIC = {"L": 1, "I;16": 1, "CMYK": 5, "CMYK;16": 5}  # others are 2, RGB


def encode(pixels: Pixels, data: bytes) -> bytes:
    """Encode pixels without loss: uncompressed where the original was, else as deflate with horizontal differences.

    Density, orientation, ICC profile and the other tags about colour are the original's, as is its byte order.

    Args:
        pixels: uint8 or uint16, of any mode of `Pixels`.
        data: the original.
    """
    flavour, (original, *_) = pages(data)
    values = pixels.values
    height, width, channels = values.shape
    plain = original.get(COMPRESSION, shorts(flavour, 1)) == shorts(flavour, 1)
    directory = {
        **{tag: original[tag] for tag in _ABOUT_COLOUR & original.keys()},
        256: longs(flavour, width),
        257: longs(flavour, height),
        BITS_PER_SAMPLE: shorts(flavour, *[8 * values.itemsize] * channels),
        COMPRESSION: shorts(flavour, 1 if plain else _DEFLATE),
        PHOTOMETRIC: shorts(flavour, _PHOTOMETRIC.get(pixels.mode, 1 if channels == 2 else 2)),
        SAMPLES_PER_PIXEL: shorts(flavour, channels),
        PLANAR: shorts(flavour, 1),
    }
    if pixels.has_alpha:
        directory[EXTRA_SAMPLES] = shorts(flavour, PREMULTIPLIED if pixels.is_premultiplied else 2)
    if not plain:
        directory[_PREDICTOR] = shorts(flavour, 2)
        values = np.concatenate((values[:, :1], values[:, 1:] - values[:, :-1]), axis=1)  # modulo 2^8 or 2^16
    stored = values.astype(f"{flavour.order}u{values.itemsize}", copy=False)
    rows = max(1, math.ceil(_STRIP_BYTES / stored[0].nbytes))
    directory[278] = longs(flavour, rows)
    strips = [np.ascontiguousarray(stored[top : top + rows]).tobytes() for top in range(0, height, rows)]
    return write(flavour, directory, None, strips if plain else [zlib.compress(strip) for strip in strips])
