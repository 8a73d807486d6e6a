"""From pixels to bytes: the original's format again, as much like the original as the format allows."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin

from faceveil.transforms.codecs import bmp, converted, gif, heif, isobmff, jpeg, netpbm, png, tiff, webp
from faceveil.transforms.codecs.decode import decode_pixels
from faceveil.transforms.codecs.image import ImageInfo, Pixels
from faceveil.transforms.codecs.orientation import orientation_exif
from faceveil.transforms.codecs.originals import open_original
from faceveil.transforms.codecs.strip import strip
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.runtime.memory import is_out_of_memory

_LOSSY_QUALITY = 95
"""For lossy WebP, AVIF and HEIC, which keep no quality to read back: high enough that re-encoding hardly shows."""

_ALWAYS_LOSSY = ("jpeg", "avif", "heif")


def encode_pixels(pixels: Pixels, data: bytes, info: ImageInfo) -> bytes:
    """Encode pixels in the format of the original they came from.

    JPEG keeps its quantisation tables, subsampling, progression and colour space (YCCK becomes CMYK). PNG, BMP, TIFF,
    GIF, Netpbm's formats and lossless WebP are lossless; palettes and 1, 2 or 4 bits are written as `decode_pixels`
    returned them, since fills need values that they lack, except GIF's and Netpbm's; TIFF is written uncompressed
    where it was, else as deflate. Lossy WebP, AVIF and HEIC are written at quality 95.

    What is read from a format that nothing here writes becomes PNG (`converted`).

    ICC profile, density, PNG's colour chunks, the orientation and `info.exif` are kept; all other metadata go.

    Args:
        pixels: as `decode_pixels` returned them, painted on; in the stored layout.
        data: the original.
        info: its header's facts.

    Raises:
        Quarantine: UNSUPPORTED_IMAGE when such pixels cannot be written back like for like, TRUNCATED or
            CORRUPT_IMAGE when the original is broken around its pixels, ANONYMIZATION_FAILED when the encoder refuses.
    """
    if info.read_only:
        raise Quarantine(Reason.UNSUPPORTED_IMAGE, f"it has to be encoded again, but {info.read_only} cannot be")
    try:
        return strip(_encode(pixels, data, info), info, faultless=True)
    except Quarantine:  # the original is broken where decoding its pixels did not look
        raise
    except Exception as error:  # as in decoder_errors: Pillow promises no list of them
        if is_out_of_memory(error):
            raise
        raise Quarantine(Reason.ANONYMIZATION_FAILED, f"cannot encode {info.format}: {error}") from error


def encode_losslessly(pixels: Pixels, data: bytes, info: ImageInfo, why: str) -> bytes:
    """Encodes unpainted pixels, since the original's compressed data cannot be copied.

    As `encode_pixels`, but every pixel keeps its value: lossy WebP becomes lossless WebP, which is larger.

    Args:
        pixels: as `decode_pixels` returned them.
        data: the original.
        info: its header's facts.
        why: the compressed data cannot be copied.

    Raises:
        Quarantine: CORRUPT_IMAGE when the format has no lossless way for such pixels; else as `encode_pixels`.
    """
    if info.read_only or info.format in _ALWAYS_LOSSY:
        raise Quarantine(Reason.CORRUPT_IMAGE, f"{info.format}: {why}")
    try:
        return strip(_encode(pixels, data, info, lossless=True), info)
    except Quarantine:
        raise
    except Exception as error:  # as in `encode_pixels`
        if is_out_of_memory(error):
            raise
        raise Quarantine(Reason.CORRUPT_IMAGE, f"{info.format}: {why}, and it cannot be encoded: {error}") from error


def is_lossy(data: bytes, info: ImageInfo) -> bool:
    """Whether encoding an image in its format again changes unpainted pixels."""
    if info.format == "webp":
        return all(name != b"VP8L" for name, _ in webp.chunks(data))
    return info.format in _ALWAYS_LOSSY


def _encode(pixels: Pixels, data: bytes, info: ImageInfo, *, lossless: bool = False) -> bytes:
    if info.source:
        return converted.encode(pixels, data, info)
    if info.format == "tiff":
        return tiff.encode(pixels, data)
    if info.format == "bmp":
        return bmp.encode(pixels, data)
    if info.format == "netpbm":
        return netpbm.encode(pixels, data)
    if info.format == "heif":
        return isobmff.copy_showing(data, heif.encode(pixels, data, info.orientation, _LOSSY_QUALITY))
    if info.format == "png" and pixels.values.dtype == np.uint16 and pixels.mode != "I;16":
        return png.encode_16_bit(pixels, data)
    with open_original(data, info.format, pixels=info.format == "gif") as original:
        if info.format == "gif":
            before = decode_pixels(data, info)
            return gif.encode(pixels, before, original, data)
        return _encode_with_pillow(_image(pixels), original, data, info, lossless or not is_lossy(data, info))


def _encode_with_pillow(
    image: Image.Image, original: Image.Image, data: bytes, info: ImageInfo, lossless: bool
) -> bytes:
    common = _kept_metadata(original)
    if info.format == "png" and (profile := png.profile(data)):
        common["icc_profile"] = profile
    if isinstance(original, JpegImagePlugin.JpegImageFile):
        return jpeg.encode(image, original, info.orientation, **common)
    options: dict[str, Any] = {}
    if info.format == "png":
        options = _png_options(image, original, data)
    elif info.format == "webp":
        options = {"exact": True, **({"lossless": True} if lossless else {"quality": _LOSSY_QUALITY})}
    elif info.format == "avif":
        options = {"quality": _LOSSY_QUALITY, "subsampling": "4:0:0" if info.mode in ("L", "LA") else "4:4:4"}
    exif = info.exif
    if info.format == "avif" and info.orientation != 1:
        exif = orientation_exif(info.orientation)  # becomes a property of the picture
    if exif:
        options["exif"] = b"Exif\0\0" + exif
    output = io.BytesIO()
    image.save(output, info.format.upper(), **common, **options)
    written = output.getvalue()
    if info.format == "avif":
        return isobmff.copy_showing(data, isobmff.copy_colours(data, written))
    return written


def _image(pixels: Pixels) -> Image.Image:
    values = pixels.values[..., 0] if pixels.values.shape[2] == 1 else pixels.values
    image = Image.fromarray(np.ascontiguousarray(values))
    # fromarray takes any four channels for RGBA; the buffer is the same for CMYK.
    return Image.frombytes("CMYK", image.size, image.tobytes()) if pixels.mode == "CMYK" else image


def _kept_metadata(original: Image.Image) -> dict[str, Any]:
    """Pillow's options for the ICC profile and the density in dots per inch, where there are any."""
    kept: dict[str, Any] = {}
    if profile := original.info.get("icc_profile"):
        kept["icc_profile"] = profile
    density = tuple(float(value) for value in original.info.get("dpi", ()))
    if len(density) == 2 and all(math.isfinite(value) and 1 <= value < 2**16 for value in density):
        kept["dpi"] = density
    return kept


def _png_options(image: Image.Image, original: Image.Image, data: bytes) -> dict[str, Any]:
    colours = PngImagePlugin.PngInfo()
    for name, start, end in png.sound_chunks(data):
        if name in png.COLOUR_CHUNKS:
            colours.add(name, data[start + 8 : end - 4])
    options: dict[str, Any] = {"pnginfo": colours}
    if image.mode == "I;16" and "transparency" in original.info:
        options["transparency"] = original.info["transparency"]
    return options
