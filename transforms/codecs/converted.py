"""DICOM, OpenEXR, JPEG 2000 and Radiance HDR: read through tensorflow-io, written as PNG.

None of them is written as it was: their headers hold names, and nothing here writes them without. So a PNG is made of
the pixels that the detector has seen, with faces or without.

The decoders in tensorflow-io show half a file, never end or end the process where a file is damaged. So the modules of
the formats look first whether it is whole, and of which kind; what is wrong all the same, the sandbox survives.
"""

from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from faceveil.transforms.arrays import FloatArray, Values
from faceveil.transforms.codecs import dicom, jpeg2000, openexr, png, radiance
from faceveil.transforms.codecs.image import ImageInfo, Pixels
from faceveil.transforms.models.frameworks import load_tensorflow, load_tensorflow_io
from faceveil.transforms.quarantine import Quarantine, Reason

_KEY = 0.18
"""Of a picture of middling brightness; from Reinhard et al., section 3.1."""
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
"""Of sRGB's red, green and blue (IEC 61966-2-1)."""
_SMALLEST = 1e-6
_BRIGHTEST = float(np.finfo(np.float32).max)
_ROWS = 64  # at a time, since in between they take ten times their memory
_HOW = "needs tensorflow-io: pip install 'faceveil[tfio]', in an environment of its own (docs/images.md tells more)"

_PROBES: dict[str, Callable[[bytes], ImageInfo]] = {
    "dicom": dicom.probe,
    "openexr": openexr.probe,
    "jpeg2000": jpeg2000.probe,
    "radiance hdr": radiance.probe,
}


def is_installed() -> bool:
    """Whether tensorflow-io is there; whether it works shows when it is used."""
    return importlib.util.find_spec("tensorflow_io") is not None


def probe(data: bytes, image_format: str) -> ImageInfo:
    """Reads the header of an image of one of these formats; ``source`` names it, all else speaks of the PNG.

    Raises:
        Quarantine: UNSUPPORTED_IMAGE where tensorflow-io is not installed, or the image is of a kind that it cannot
            show; MULTIPLE_FRAMES, TRUNCATED or CORRUPT_IMAGE.
    """
    if not is_installed():
        raise Quarantine(Reason.UNSUPPORTED_IMAGE, f"{image_format}: {_HOW}")
    return _PROBES[image_format](data)


def decode(data: bytes, info: ImageInfo) -> Pixels:
    """The pixels of the PNG that is to be written.

    Raises:
        Quarantine: UNSUPPORTED_IMAGE where tensorflow-io does not work, CORRUPT_IMAGE where it cannot decode the image.
    """
    try:
        tensorflow, tensorflow_io = load_tensorflow(), load_tensorflow_io()
        with tensorflow.device("/cpu:0"):
            values = _DECODERS[info.source](data, info, tensorflow, tensorflow_io)
    except (ImportError, NotImplementedError) as error:  # with a TensorFlow that it was not built for
        raise Quarantine(Reason.UNSUPPORTED_IMAGE, f"{info.source}: tensorflow-io does not work; {_HOW}") from error
    except tensorflow.errors.InvalidArgumentError as error:
        raise Quarantine(Reason.CORRUPT_IMAGE, f"{info.source}: it cannot be decoded") from error
    if values.shape[2:] != (3 if info.mode.startswith("RGB") else 1,):
        raise Quarantine(Reason.CORRUPT_IMAGE, f"{info.source}: it has other channels than its header says")
    return Pixels(values, info.mode)


def encode(pixels: Pixels, data: bytes, info: ImageInfo) -> bytes:
    """A PNG of pixels, with the colour profile of a JPEG 2000 file.

    Args:
        pixels: as `decode` returned them, painted on.
        data: the original.
        info: its header's facts.
    """
    image = Image.fromarray(np.zeros((1, 1), np.uint8))
    profile = jpeg2000.find_codestream(data).profile if info.source == "jpeg2000" else b""
    if pixels.values.dtype == np.uint16:
        image.save(output := io.BytesIO(), "PNG", **({"icc_profile": profile} if profile else {}))
        return png.encode_16_bit(pixels, output.getvalue())
    values = pixels.values[..., 0] if pixels.mode == "L" else pixels.values
    image = Image.fromarray(np.ascontiguousarray(values))
    image.save(output := io.BytesIO(), "PNG", **({"icc_profile": profile} if profile else {}))
    return output.getvalue()


def tone_mapped(light: FloatArray) -> Values:
    """Light of any strength as a picture of 8 bits, in sRGB.

    The brightest light becomes white, and a picture as a whole middling bright: the global operator of Reinhard, Stark,
    Shirley and Ferwerda, "Photographic Tone Reproduction for Digital Images" (SIGGRAPH 2002), equations 1, 2 and 4, on
    the luminance; then the transfer function of sRGB (IEC 61966-2-1). What is no number is black, what is negative too.

    Args:
        light: float32 ``[H, W, C]``, linear; three channels or one.

    Returns:
        uint8 ``[H, W, C]``.

    Example usage::

        >>> tone_mapped(np.array([[[0.0], [0.18], [1.0]]], np.float32)).ravel().tolist()
        [0, 238, 255]
    """
    blocks = [slice(start, start + _ROWS) for start in range(0, len(light), _ROWS)]
    logarithms = brightest = 0.0
    for block in blocks:
        luminance = _luminance(_finite(light[block]))
        logarithms += float(np.log(luminance + _SMALLEST).sum())
        brightest = max(brightest, float(luminance.max()))
    exposure = _KEY / math.exp(logarithms / (light.shape[0] * light.shape[1]))
    shown = np.empty(light.shape, np.uint8)
    for block in blocks:
        shown[block] = _shown(_finite(light[block]), exposure, max(exposure * brightest, _SMALLEST))
    return shown


def _shown(light: NDArray[np.float64], exposure: float, white: float) -> Values:
    luminance = _luminance(light)
    scaled = exposure * luminance
    compressed = scaled * (1 + scaled / white**2) / (1 + scaled)
    linear = (light * (compressed / np.maximum(luminance, _SMALLEST**2))).clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    values: Values = np.rint(255 * encoded).astype(np.uint8)
    return values


def _finite(light: FloatArray) -> NDArray[np.float64]:
    finite: NDArray[np.float64] = np.nan_to_num(light.astype(np.float64), nan=0, posinf=_BRIGHTEST, neginf=0)
    return finite.clip(0)


def _luminance(light: NDArray[np.float64]) -> NDArray[np.float64]:
    return light @ _LUMINANCE[:, np.newaxis] if light.shape[2] == 3 else light


def _decode_dicom(data: bytes, info: ImageInfo, tensorflow: Any, tensorflow_io: Any) -> Values:
    kind = tensorflow.uint16 if info.mode.endswith("16") else tensorflow.uint8
    # Its names mean: more bits than fit are shifted out below, and fewer fill all.
    data = dicom.without_transform(data)
    decoded = tensorflow_io.image.decode_dicom_image(data, color_dim=True, on_error="lossy", scale="auto", dtype=kind)
    if decoded.ndim != 4 or len(decoded) != 1:
        raise Quarantine(Reason.CORRUPT_IMAGE, "dicom: it cannot be decoded")
    values: Values = decoded.numpy()[0]
    return values


def _decode_exr(data: bytes, info: ImageInfo, tensorflow: Any, tensorflow_io: Any) -> Values:
    del info
    types = {openexr.HALF: tensorflow.float16, openexr.FLOAT: tensorflow.float32}  # any other ends the process
    channels = [
        tensorflow_io.experimental.image.decode_exr(data, 0, name, types[kind]).numpy().astype(np.float32)
        for name, kind in openexr.shown_channels(data).channels.items()
    ]
    return tone_mapped(np.stack(channels, axis=-1))


def _decode_hdr(data: bytes, info: ImageInfo, tensorflow: Any, tensorflow_io: Any) -> Values:
    del info, tensorflow
    return tone_mapped(tensorflow_io.experimental.image.decode_hdr(data).numpy())


def _decode_jpeg2000(data: bytes, info: ImageInfo, tensorflow: Any, tensorflow_io: Any) -> Values:
    kind = tensorflow.uint16 if info.mode.endswith("16") else tensorflow.uint8  # any other ends the process
    file = jpeg2000.wrapped(data, jpeg2000.find_codestream(data))
    values: Values = tensorflow_io.experimental.image.decode_jp2(file, kind).numpy()
    return values


_DECODERS: dict[str, Callable[[bytes, ImageInfo, Any, Any], Values]] = {
    "dicom": _decode_dicom,
    "openexr": _decode_exr,
    "jpeg2000": _decode_jpeg2000,
    "radiance hdr": _decode_hdr,
}
