"""From bytes to pixels: a preview for the detector, and the stored pixels for the anonymizer."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceveil.transforms.codecs import heif, jpeg, png, sixteen_bits, tiff
from faceveil.transforms.codecs.image import ImageInfo, Pixels, Preview
from faceveil.transforms.codecs.orientation import stored, upright
from faceveil.transforms.codecs.pillow import decoder_errors, open_image
from faceveil.transforms.quarantine import Quarantine, Reason


def decode_for_detection(data: bytes, info: ImageInfo, long_side: int) -> Preview:
    """Decode an image for a detector that works at `long_side` pixels.

    A JPEG that is larger by a factor of two or more is decoded at 1/2, 1/4 or 1/8, never below `long_side`;
    everything else is decoded whole. Alpha is dropped, not composited: the colours under transparent pixels
    are in the file and whoever reads its RGB sees them, so faces there have to be found too. 16 bits are
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
            return Preview(upright(_rgb(Pixels(values, info.mode)), info.orientation), None, faultless=True)
    pixels = decode_pixels(data, info)
    return Preview(upright(_rgb(pixels), info.orientation), pixels, pixels.faultless)


def decode_pixels(data: bytes, info: ImageInfo) -> Pixels:
    """Decode the stored pixels, all of them, with their own channels.

    Palettes become RGB, or RGBA with transparency; a single transparent colour (PNG's tRNS) becomes an alpha
    channel, except in 16-bit grey, where `encode_pixels` writes it again; 1, 2 and 4 bits become 8. Colours that
    are premultiplied with alpha stay so. Grey of 16 bits where 0 is white becomes its opposite.

    Raises:
        Quarantine: TRUNCATED or CORRUPT_IMAGE.
    """
    if info.format == "jpeg":
        values = jpeg.decode(data, info)
        if values is not None:
            return Pixels(values, info.mode, faultless=True)
    with decoder_errors(info.format):
        pixels = _decode(data, info)
    if pixels.values.shape[:2] != (info.height, info.width):
        raise Quarantine(Reason.CORRUPT_IMAGE, f"{info.format}: the pixels are not of the size its header says")
    return pixels


def _decode(data: bytes, info: ImageInfo) -> Pixels:
    if info.mode in _SIXTEEN_BITS and info.format != "heif":
        return sixteen_bits.decode(data, info)
    if info.format == "heif":  # libheif turns upright what it decodes
        return Pixels(stored(heif.decode(data), info.orientation), info.mode)
    if info.mode == "RGBa":
        data = tiff.as_rgba(data)
    with open_image(data, info.format) as image:
        image.load()
        if info.format == "png":
            _scale_transparency(image, png.header(data).bit_depth)
        pixels = _pixels(image)
    if info.format == "tiff":  # Pillow turns TIFFs upright when it loads their pixels
        if info.mode == "I;16" and tiff.zero_is_white(data):
            pixels = Pixels(0xFFFF - pixels.values, pixels.mode)
        pixels = Pixels(stored(pixels.values, info.orientation), "RGBa" if info.mode == "RGBa" else pixels.mode)
    return pixels


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


def _rgb(pixels: Pixels) -> NDArray[np.uint8]:
    """Pixels as uint8 RGB ``[H, W, 3]``."""
    values: NDArray[Any] = pixels.values
    if pixels.mode.startswith("CMYK"):
        inks = np.ascontiguousarray(values >> 8 * (values.itemsize - 1), dtype=np.uint8)
        return np.asarray(Image.fromarray(inks, "CMYK").convert("RGB"))
    if pixels.has_alpha:
        values, alpha = values[..., :-1], values[..., -1:]
        if pixels.is_premultiplied:
            most = np.iinfo(values.dtype).max
            values = np.minimum(values.astype(np.uint32) * most // np.maximum(alpha, 1), most).astype(values.dtype)
    if values.dtype == np.uint16:
        values = (values * np.float32(255.0 / max(int(values.max()), 1))).astype(np.uint8)
    if values.shape[2] == 1:
        grey = np.ascontiguousarray(values[..., 0])
        rgb: NDArray[np.uint8] = cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB)
        return rgb
    return values
