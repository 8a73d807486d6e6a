"""HEIC through `pillow_heif`, which is not installed with faceveil: the wheel holds x265, which is under the GPL."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np

from faceveil.transforms.arrays import Values
from faceveil.transforms.codecs.image import Pixels
from faceveil.transforms.codecs.orientation import orientation_exif
from faceveil.transforms.quarantine import Quarantine, Reason

if TYPE_CHECKING:
    from pillow_heif import HeifFile

WRITABLE_MODES = {"L", "RGB", "RGBA", "RGB;16", "RGBA;16"}
_PRESET = "medium"  # half the time of libheif's "slow", with files 6 % larger and errors no larger


def open_image(data: bytes) -> HeifFile:
    """Read the header; pixels are decoded when they are asked for, upright, as libheif does it.

    Raises:
        Quarantine: UNSUPPORTED_IMAGE when `pillow_heif` is not installed or the coding is not HEVC.
    """
    try:
        import pillow_heif
    except ImportError as error:
        hint = "heif: needs pillow-heif: pip install 'faceveil[heic]'"
        raise Quarantine(Reason.UNSUPPORTED_IMAGE, hint) from error
    opened = pillow_heif.open_heif(io.BytesIO(data), convert_hdr_to_8bit=False)
    if not len(opened):
        raise Quarantine(Reason.UNSUPPORTED_IMAGE, "heif: not coded as HEVC")
    return opened


def decode(data: bytes) -> Values:
    """Decode 8 or 16 bits per channel: ``[H, W, C]``, upright."""
    opened = open_image(data)
    values = np.asarray(opened)
    return values.reshape(*values.shape[:2], -1)


def encode(pixels: Pixels, data: bytes, orientation: int, quality: int) -> bytes:
    """Encode stored pixels as HEVC without chroma subsampling, with the original's orientation and colour space."""
    import pillow_heif

    height, width, _ = pixels.values.shape
    output = io.BytesIO()
    original = open_image(data).info
    pillow_heif.encode(
        pixels.mode,
        (width, height),
        np.ascontiguousarray(pixels.values).tobytes(),
        output,
        quality=quality,
        chroma=444,
        enc_params={"preset": _PRESET},
        bit_depth=original["bit_depth"],
        exif=orientation_exif(orientation),  # becomes a property of the picture
        **{name: original[name] for name in ("icc_profile", "nclx_profile") if original.get(name)},
    )
    return output.getvalue()
