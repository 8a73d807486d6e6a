"""From bytes to pixels: a preview for the detector, and the stored pixels for the anonymizer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceveil.transforms.codecs import converted, heif, isobmff, jpeg, jpeg_markers, netpbm, png, sixteen_bits, tiff
from faceveil.transforms.codecs.image import ImageInfo, Pixels
from faceveil.transforms.codecs.isobmff_composition import is_padding
from faceveil.transforms.codecs.kinds import explained_errors
from faceveil.transforms.codecs.orientation import stored, upright
from faceveil.transforms.codecs.originals import open_original
from faceveil.transforms.codecs.renderings import renderings
from faceveil.transforms.quarantine import Quarantine, Reason


class Rendering(NamedTuple):
    """What a reader may show: uint8 ``[h, w, 3]``, and the orientation, 1 to 8, by which it turns what is stored."""

    rgb: NDArray[np.uint8]
    orientation: int


@dataclass(frozen=True)
class Preview:
    """An image as the detector sees it.

    Attributes:
        decoded: its stored pixels, or fewer of them when it was decoded at a reduced size: by the same factor in both
            directions up to rounding up.
        orientations: 1 to 8; the file's own first, then others by which some readers turn it.
        is_reduced: whether it was.
        ambiguous_inks: whether readers differ in what 0 of CMYK means.
        hides_pixels: whether the file holds pixels that are not among these, such as those beyond a crop; then its
            compressed data may not be copied.
    """

    decoded: Pixels
    orientations: tuple[int, ...]
    is_reduced: bool
    ambiguous_inks: bool
    hides_pixels: bool

    @property
    def pixels(self) -> Pixels | None:
        """The stored pixels, if they were decoded whole on the way, so that nothing is decoded twice."""
        return None if self.is_reduced else self.decoded

    def renderings(self) -> Iterator[Rendering]:
        """What readers may show; one picture for nearly all images.

        Each is made when it is asked for: of a large image they would fill the memory. It is a view where turning it
        needs no copy.
        """
        for orientation in self.orientations:
            for rgb in renderings(self.decoded, self.ambiguous_inks):
                yield Rendering(upright(rgb, orientation), orientation)


def decode_for_detection(data: bytes, info: ImageInfo, long_side: int) -> Preview:
    """Decode an image for a detector that works at `long_side` pixels.

    A JPEG that is larger by a factor of two or more is decoded at 1/2, 1/4 or 1/8, never below `long_side`;
    everything else is decoded whole. Whatever readers may show is shown (`renderings`), in each orientation that the
    file names. First comes the picture without
    alpha: the colours under transparent pixels are in the file, and readers of its RGB see them. Its 16 bits are
    scaled so that the brightest value becomes 255, since many such images use only 10 to 14 of the bits.

    Args:
        data: the encoded image.
        info: its header's facts, from `probe`.
        long_side: of the image that the detector wants, in pixels.

    Raises:
        Quarantine: TRUNCATED or CORRUPT_IMAGE.
    """
    shrink = jpeg.shrink_factor(info, long_side) if info.format == "jpeg" else 1
    if shrink > 1:
        values = jpeg.decode(data, info, shrink)
        if values is not None:
            reduced = Pixels(values, info.mode, faultless=True)
            return Preview(reduced, info.orientations, True, _has_ambiguous_inks(data, info), info.hides_pixels)
    pixels, hides_pixels = _decode_whole(data, info)
    return Preview(pixels, info.orientations, False, _has_ambiguous_inks(data, info), hides_pixels)


def _has_ambiguous_inks(data: bytes, info: ImageInfo) -> bool:
    return info.format == "jpeg" and info.mode == "CMYK" and not jpeg_markers.has_adobe_segment(data)


def decode_pixels(data: bytes, info: ImageInfo) -> Pixels:
    """Decode the stored pixels, all of them, with their own channels.

    Palettes become RGB, or RGBA with transparency; a single transparent colour (PNG's tRNS) becomes an alpha
    channel, except in 16-bit grey, where `encode_pixels` writes it again; 1, 2 and 4 bits become 8. Colours that
    are premultiplied with alpha stay so. Grey of 16 bits where 0 is white becomes its opposite.

    Raises:
        Quarantine: TRUNCATED or CORRUPT_IMAGE.
    """
    return _decode_whole(data, info)[0]


def _decode_whole(data: bytes, info: ImageInfo) -> tuple[Pixels, bool]:
    """The stored pixels, and whether the file holds others."""
    if info.format == "jpeg":
        values = jpeg.decode(data, info)
        if values is not None:
            return Pixels(values, info.mode, faultless=True), info.hides_pixels
    with explained_errors(data, info.source or info.format):
        if info.format in ("avif", "heif"):
            pixels, hides_pixels = _decode_composed(data, info)
        else:
            pixels, hides_pixels = _decode(data, info), info.hides_pixels
    if pixels.values.shape[:2] != (info.height, info.width):
        raise Quarantine(
            Reason.CORRUPT_IMAGE, f"{info.source or info.format}: the pixels are not of the size its header says"
        )
    return pixels, hides_pixels


def _decode_composed(data: bytes, info: ImageInfo) -> tuple[Pixels, bool]:
    """Decodes a picture that may be put together from others, with all that its tiles hold."""
    tiles = None if info.hides_pixels else isobmff.uncut(data)
    if tiles is None:
        return _decode(data, info), info.hides_pixels
    whole = _decode(tiles, info)
    shown = replace(whole, values=whole.values[: info.height, : info.width])
    # Alpha was left out, and libavif's colours at the edge depend on what is beyond.
    pixels = _decode(data, info) if info.format == "avif" or Pixels(shown.values, info.mode).has_alpha else shown
    return pixels, not is_padding(whole.values, info.width, info.height)


def _decode(data: bytes, info: ImageInfo) -> Pixels:
    if info.source:
        return converted.decode(data, info)
    if info.format == "netpbm":
        return netpbm.decode(data, info)
    if info.mode in _SIXTEEN_BITS and info.format != "heif":
        return sixteen_bits.decode(data, info)
    if info.format == "heif":  # libheif turns upright what it decodes
        return Pixels(stored(heif.decode(data), info.orientation), info.mode)
    if info.mode == "RGBa":
        data = tiff.as_rgba(data)
    with open_original(data, info.format, pixels=True) as image:
        if info.format == "png":
            _scale_transparency(image, png.header(data).bit_depth)
        pixels = _pixels(image)
    if info.format == "tiff" and info.mode == "I;16" and tiff.zero_is_white(data):
        return Pixels(0xFFFF - pixels.values, pixels.mode)
    return replace(pixels, mode="RGBa") if info.mode == "RGBa" else pixels


_SIXTEEN_BITS = {"LA;16", "RGB;16", "RGBA;16", "RGBa;16", "CMYK;16"}


def _pixels(image: Image.Image) -> Pixels:
    if image.mode.startswith("I;16"):
        return Pixels(np.asarray(image).astype(np.uint16)[..., np.newaxis], "I;16")
    if image.mode in ("P", "PA", "RGB", "RGBA"):
        mode = "RGBA" if image.has_transparency_data else "RGB"
    elif image.mode == "CMYK":
        mode = "CMYK"
    else:
        mode = "LA" if image.has_transparency_data else "L"
    values = np.asarray(image if image.mode == mode else image.convert(mode), dtype=np.uint8)
    return Pixels(values.reshape(image.height, image.width, -1), mode)


def _scale_transparency(image: Image.Image, bit_depth: int) -> None:
    """Bring the transparent grey of a 2- or 4-bit PNG to 8 bits: Pillow does so with its pixels only."""
    grey = image.info.get("transparency")
    if image.mode == "L" and isinstance(grey, int) and bit_depth < 8:
        image.info["transparency"] = grey * 255 // (2**bit_depth - 1)
