"""TIFF: keep what describes the picture, write pixels back.

TIFF 6.0 (Adobe, 1992), section 2; BigTIFF (https://www.awaresystems.be/imaging/tiff/bigtiff.html).
"""

from __future__ import annotations

import math
import zlib
from dataclasses import replace

import numpy as np

from faceveil.transforms.codecs import icc, jpeg_strip, palettes, tiff_segments, tiff_tags
from faceveil.transforms.codecs.image import Pixels
from faceveil.transforms.codecs.tiff_directory import (
    EXIF_DIRECTORY,
    STRIPS,
    TILES,
    Directory,
    Flavour,
    flavour_of,
    longs,
    pages,
    read_directory,
    shorts,
    write,
)
from faceveil.transforms.quarantine import Quarantine, Reason

BITS_PER_SAMPLE, COMPRESSION, PHOTOMETRIC, ORIENTATION = 258, 259, 262, 274
SAMPLES_PER_PIXEL, PLANAR, SAMPLE_FORMAT, EXTRA_SAMPLES = 277, 284, 339, 338
XMP, DNG_VERSION = 700, 50706
PREMULTIPLIED, OLD_JPEG, JPEG = 1, 6, 7
_JPEG_TABLES, _ICC_PROFILE, _PREDICTOR = 347, 34675, 317
_DEFLATE = 8
_ABOUT_COLOUR = {ORIENTATION, 282, 283, 296, 318, 319, _ICC_PROFILE}  # and about density
_STRIP_BYTES = 2**18


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


def _check_tiles(
    flavour: Flavour, directory: Directory, segments: list[bytes], layout: tiff_segments.SegmentLayout
) -> None:
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
