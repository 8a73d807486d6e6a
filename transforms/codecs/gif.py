"""GIF of one picture (GIF89a, CompuServe 1990): stripping, and painting with the palette it has."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceveil.transforms.arrays import BoolMask
from faceveil.transforms.codecs import icc, lzw, palettes
from faceveil.transforms.codecs.accounting import Unaccounted
from faceveil.transforms.codecs.image import Pixels
from faceveil.transforms.quarantine import Quarantine, Reason

_EXTENSION, _IMAGE, _TRAILER = 0x21, 0x2C, 0x3B
_GRAPHIC_CONTROL, _APPLICATION = 0xF9, 0xFF
_CONTROL_LENGTH = 8
_SCREEN_LENGTH, _BACKGROUND = 13, 11  # signature and screen descriptor (sections 17 and 18); a byte of it
_ICC = b"\x0bICCRGBG1012"  # https://www.color.org/icc1v42.pdf, annex B.5: ICC profiles in GIF
_HAS_PALETTE = 0x80
_CONTROL_FLAGS, _IMAGE_FLAGS = 0x1F, 0xE7  # the bits that mean something (sections 23 and 20)
_LITERAL_BITS = range(2, 9)


def strip(data: bytes, exif: bytes) -> bytes:  # noqa: ARG001  GIF has no place for EXIF
    """The same GIF with its picture, transparency and ICC profile.

    Raises:
        Quarantine: TRUNCATED or CORRUPT_IMAGE when its blocks cannot be followed to the picture's end, MULTIPLE_FRAMES
            when there is a second picture.
        Unaccounted: there is more in it than the picture.
    """
    header = _header(data)
    kept: dict[str, bytes] = {}
    for block in _kept_blocks(data):
        kind = "image" if block[0] == _IMAGE else "control" if block[1] == _GRAPHIC_CONTROL else "profile"
        if kind == "control" and "image" in kept:
            continue  # it is about a picture that does not follow
        if kind == "image" and kind in kept:
            raise Quarantine(Reason.MULTIPLE_FRAMES, "gif: there is a second picture")
        if kind == "control" and kind in kept:
            raise Unaccounted("there are two graphic control extensions")
        kept.setdefault(kind, block)
    image = kept["image"]
    if "control" in kept:
        kept["control"] = _graphic_control(kept["control"])
    kept["image"] = _image(image, header)
    if image[9] & header[10] & _HAS_PALETTE:
        if struct.unpack_from("<HH", image, 5) == struct.unpack_from("<HH", header, 6):  # nothing shows in its colours
            header = header[:10] + bytes((header[10] & ~_HAS_PALETTE,)) + header[11:13]
        else:
            header = _with_background_alone(header)
    stripped = header + b"".join(kept.values()) + bytes((_TRAILER,))
    palettes.check_indices(stripped, "gif")
    return stripped


def without_extensions(data: bytes) -> bytes:
    """The same GIF with its pictures and their transparency alone, for decoders that stumble over anything else.

    Raises:
        Quarantine: TRUNCATED or CORRUPT_IMAGE when its blocks cannot be followed.
    """
    blocks = _kept_blocks(data)
    drawn = (b for b in blocks if b[0] == _IMAGE or (b[1] == _GRAPHIC_CONTROL and len(b) == _CONTROL_LENGTH))
    return b"".join((_header(data), *drawn, bytes((_TRAILER,))))


def _graphic_control(block: bytes) -> bytes:
    """The extension with nothing in its unused bits."""
    if len(block) != _CONTROL_LENGTH:
        raise Unaccounted("its graphic control extension has a wrong length")
    return block[:3] + bytes((block[3] & _CONTROL_FLAGS,)) + block[4:]


def _image(block: bytes, header: bytes) -> bytes:
    """The picture as it is, once its codes are found to hold as many pixels as the screen has."""
    screen = struct.unpack_from("<HH", header, 6)
    left, top, width, height = struct.unpack_from("<HHHH", block, 1)
    if left + width > screen[0] or top + height > screen[1]:
        raise Unaccounted("the picture is larger than the screen")
    codes_at = 10 + _palette_bytes(block[9])
    if block[codes_at] not in _LITERAL_BITS:
        raise Unaccounted(f"its codes begin with {block[codes_at]} bits")
    position, codes = codes_at + 1, []
    while block[position]:
        codes.append(block[position + 1 : position + 1 + block[position]])
        position += 1 + block[position]
    stream = b"".join(codes)
    if any(stream[lzw.used_bytes(stream, block[codes_at], width * height, tiff=False) :]):
        raise Unaccounted("there are bytes behind the picture's codes")
    return block[:9] + bytes((block[9] & _IMAGE_FLAGS,)) + block[10:]


def _with_background_alone(header: bytes) -> bytes:
    """The header with one colour in its palette: readers fill with it what a picture of colours of its own leaves."""
    palette = bytearray(len(header) - _SCREEN_LENGTH)
    at = 3 * header[_BACKGROUND]
    palette[at : at + 3] = header[_SCREEN_LENGTH + at : _SCREEN_LENGTH + at + 3]
    return header[:_SCREEN_LENGTH] + palette[: len(header) - _SCREEN_LENGTH]


def _header(data: bytes) -> bytes:
    """Signature, screen descriptor and global palette."""
    if len(data) < _SCREEN_LENGTH:
        raise Quarantine(Reason.TRUNCATED, "gif: ends within its header")
    return data[: _SCREEN_LENGTH + _palette_bytes(data[10])]


def _palette_bytes(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & _HAS_PALETTE else 0


def _kept_blocks(data: bytes) -> Iterator[bytes]:
    position = len(_header(data))
    pictures = 0
    try:
        while data[position] != _TRAILER:
            if not data[position]:  # some encoders end a block twice
                position += 1
                continue
            start, kind, label = position, data[position], data[position + 1]
            if kind == _EXTENSION:
                position += 2
            elif kind == _IMAGE:
                position += 10 + _palette_bytes(data[position + 9]) + 1
                pictures += 1
            else:
                raise Quarantine(Reason.CORRUPT_IMAGE, f"gif: no proper block at byte {position}")
            while data[position]:
                position += 1 + data[position]
            position += 1
            block = data[start:position]
            if kind == _EXTENSION and label == _APPLICATION and block[2:].startswith(_ICC):
                if profile := _clean_profile(block):
                    yield profile
            elif kind == _IMAGE or label == _GRAPHIC_CONTROL:
                yield block
            if position == len(data) and pictures:
                break  # without a trailer, which readers do not miss
    except IndexError as error:
        raise Quarantine(Reason.TRUNCATED, "gif: ends within a block") from error
    if not pictures:
        raise Quarantine(Reason.CORRUPT_IMAGE, "gif: ends without a picture")


def _clean_profile(block: bytes) -> bytes:
    """The block of an ICC profile with a clean one; nothing if it is none."""
    begin = 2 + len(_ICC)
    profile, position = b"", begin
    while block[position]:
        profile += block[position + 1 : position + 1 + block[position]]
        position += 1 + block[position]
    cleaned = icc.clean(profile)
    if cleaned == profile:
        return block if profile else b""
    pieces = (cleaned[start : start + 255] for start in range(0, len(cleaned), 255))
    return block[:begin] + b"".join(bytes((len(piece),)) + piece for piece in pieces) + b"\0" if cleaned else b""


def encode(pixels: Pixels, before: Pixels, image: Image.Image, data: bytes) -> bytes:
    """Encode painted pixels with the original's palette, so that all others keep their value.

    Colours that are new take the palette's unused places, the most frequent first; the rest become the nearest colour
    there is. Places that then stay unused are set to black: their colours were those of what is painted over.

    Args:
        pixels: RGB or RGBA, or L or LA where the palette is grey.
        before: the same before painting.
        image: the original, its pixels loaded.
        data: the original.
    """
    header, block = _header(data), next(block for block in _kept_blocks(data) if block[0] == _IMAGE)
    place = _place(block, header)
    indices, values = np.array(image), pixels.values
    changed = (values != before.values).any(axis=-1)
    if place:
        indices, values, changed = indices[place], values[place], changed[place]
    palette = np.zeros((256, 3), np.uint8)
    colours = np.arange(256)[:, np.newaxis].repeat(3, 1) if image.mode == "L" else _palette(image)
    palette[: len(colours)] = colours
    transparent = image.info.get("transparency")
    see_through = values[..., -1] < 128 if pixels.has_alpha else np.zeros(indices.shape, np.bool_)
    used = np.bincount(indices[~changed], minlength=256) > 0
    if place:  # readers fill what it leaves free with the first colour, or with the background's
        used[0 if block[9] & _HAS_PALETTE else [0, header[_BACKGROUND]]] = True
    if isinstance(transparent, int):
        used[transparent] = True
        indices[changed & see_through] = transparent
    painted = changed & ~see_through
    if painted.any():
        indices[painted] = _paint(replace(pixels, values=values), painted, palette, used, transparent)
    palette[~used] = 0
    alpha = np.full(256, 255, np.uint8)
    if isinstance(transparent, int):
        alpha[transparent] = 0
    indices = palettes.first_of_each_colour(palette, alpha)[indices]
    written = Image.frombytes("P", indices.shape[::-1], np.ascontiguousarray(indices).tobytes())
    written.putpalette(palette.tobytes())
    output = io.BytesIO()
    options = {"transparency": transparent} if isinstance(transparent, int) else {}
    written.save(output, "GIF", optimize=False, **options)
    profile = b"".join(block for block in _kept_blocks(data) if block[2:].startswith(_ICC))
    clean = output.getvalue()
    if place:
        return _at_its_place(clean, header, block, profile)
    head = _header(clean)
    return b"GIF89a" + head[6:] + profile + clean[len(head) :]


def _place(block: bytes, header: bytes) -> tuple[slice, slice] | None:
    """The rows and columns of the screen that a picture takes; None where it takes all, or more."""
    screen = struct.unpack_from("<HH", header, 6)
    left, top, width, height = struct.unpack_from("<HHHH", block, 1)
    if (width, height) == screen or left + width > screen[0] or top + height > screen[1]:
        return None
    return slice(top, top + height), slice(left, left + width)


def _at_its_place(clean: bytes, header: bytes, block: bytes, profile: bytes) -> bytes:
    """A picture with a screen around it as the original's: its place, size, background and kind of palette.

    Args:
        clean: the picture as a GIF of its own size, its palette a global one.
        header: the original's.
        block: the original's picture.
        profile: the original's, as a block.
    """
    head = _header(clean)
    *controls, picture = _kept_blocks(clean)
    palette, size = head[_SCREEN_LENGTH:], head[10] & 7
    if block[9] & _HAS_PALETTE:
        screen = _with_background_alone(header) if header[10] & _HAS_PALETTE else header
        flags, palettes_of_picture = picture[9] | _HAS_PALETTE | size, palette
    else:
        screen = header[:10] + bytes((header[10] & 0x70 | _HAS_PALETTE | size,)) + header[11:_SCREEN_LENGTH] + palette
        flags, palettes_of_picture = picture[9], b""
    picture = picture[:1] + block[1:9] + bytes((flags,)) + palettes_of_picture + picture[10:]
    return b"".join((b"GIF89a", screen[6:], profile, *controls, picture, bytes((_TRAILER,))))


def _palette(image: Image.Image) -> NDArray[np.uint8]:
    return np.array(image.getpalette("RGB") or [], np.uint8).reshape(-1, 3)


def _paint(
    pixels: Pixels,
    painted: BoolMask,
    palette: NDArray[np.uint8],
    used: BoolMask,
    transparent: int | None,
) -> NDArray[np.uint8]:
    """The indices of the painted pixels; new colours are put into the palette, whose used places are marked."""
    colours = pixels.values[..., :-1] if pixels.has_alpha else pixels.values
    rgb = colours if colours.shape[-1] == 3 else colours.repeat(3, -1)
    fill = Image.frombytes("RGB", (int(painted.sum()), 1), np.ascontiguousarray(rgb[painted]).tobytes()).quantize(256)
    fill_indices, fill_colours = np.asarray(fill)[0], _palette(fill)
    most_frequent = np.argsort(-np.bincount(fill_indices, minlength=len(fill_colours)), kind="stable")
    free = np.flatnonzero(~used)[: len(most_frequent)]
    palette[free] = fill_colours[most_frequent[: len(free)]]
    used[free] = True
    distances = ((fill_colours[:, np.newaxis].astype(int) - palette) ** 2).sum(axis=-1)
    distances[:, ~used] = np.iinfo(int).max
    if transparent is not None:
        distances[:, transparent] = np.iinfo(int).max
    nearest: NDArray[np.uint8] = distances.argmin(axis=1).astype(np.uint8)[fill_indices]
    return nearest
