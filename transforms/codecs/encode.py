"""From pixels to bytes: the original's format again, as much like the original as the format allows."""

from __future__ import annotations

import io
import math
from typing import Any

import numpy as np
from PIL import ExifTags, Image, JpegImagePlugin, PngImagePlugin

from transforms.codecs import jpeg, png, webp
from transforms.codecs.image import ImageInfo, Pixels
from transforms.codecs.orientation import orientation_exif
from transforms.codecs.pillow import open_image
from transforms.quarantine import Quarantine, Reason

_LOSSLESS_TIFF = {"raw", "tiff_lzw", "packbits", "tiff_adobe_deflate"}
_LOSSY_QUALITY = 95
"""For lossy WebP and AVIF, which keep no quality to read back: high enough that re-encoding hardly shows."""


def encode_pixels(pixels: Pixels, data: bytes, info: ImageInfo) -> bytes:
    """Encode pixels in the format of the original they came from.

    JPEG keeps its quantisation tables, subsampling, progression and colour space (YCCK becomes CMYK). PNG,
    BMP, TIFF and lossless WebP are lossless; palettes and 1, 2 or 4 bits are written as `decode_pixels`
    returned them, since fills need values that they lack; TIFF compressions that are lossy or for 1 bit
    become deflate. Lossy WebP and AVIF are written at quality 95.

    ICC profile, density, PNG's colour chunks and the orientation are kept; all other metadata go.

    Args:
        pixels: as `decode_pixels` returned them, painted on; in the stored layout.
        data: the original.
        info: its header's facts.

    Raises:
        Quarantine: ANONYMIZATION_FAILED when the encoder refuses.
    """
    try:
        with open_image(data, info.format) as original:
            return _encode(_image(pixels), original, data, info)
    except Exception as error:  # as in decoder_errors: Pillow promises no list of them
        raise Quarantine(Reason.ANONYMIZATION_FAILED, f"cannot encode {info.format}: {error}") from error


def _encode(image: Image.Image, original: Image.Image, data: bytes, info: ImageInfo) -> bytes:
    common = _kept_metadata(original)
    if isinstance(original, JpegImagePlugin.JpegImageFile):
        return jpeg.encode(image, original, info.orientation, **common)
    options: dict[str, Any] = {}
    if info.format == "png":
        options = _png_options(image, original, data)
    elif info.format == "tiff":
        compression = original.info.get("compression")
        options["compression"] = compression if compression in _LOSSLESS_TIFF else "tiff_adobe_deflate"
        options["tiffinfo"] = {int(ExifTags.Base.Orientation): info.orientation}
    elif info.format == "webp":
        lossless = any(name == b"VP8L" for name, _ in webp.chunks(data))
        options = {"exact": True, **({"lossless": True} if lossless else {"quality": _LOSSY_QUALITY})}
    elif info.format == "avif":
        options = {"quality": _LOSSY_QUALITY, "subsampling": "4:4:4"}
    if info.orientation != 1 and info.format in ("png", "webp", "avif"):
        options["exif"] = b"Exif\0\0" + orientation_exif(info.orientation)
    output = io.BytesIO()
    image.save(output, info.format.upper(), **common, **options)
    return output.getvalue()


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
    for name, start, end in png.chunks(data):
        if name in png.COLOUR_CHUNKS:
            colours.add(name, data[start + 8 : end - 4])
    options: dict[str, Any] = {"pnginfo": colours}
    if image.mode == "I;16" and "transparency" in original.info:
        options["transparency"] = original.info["transparency"]
    return options
