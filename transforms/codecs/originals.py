"""Opening images with Pillow, which refuses some for metadata that go anyway: those it gets without."""

from __future__ import annotations

from collections.abc import Callable

from PIL import ExifTags, Image

from faceveil.transforms.codecs import gif, jpeg_markers, png, tiff, webp
from faceveil.transforms.codecs.pillow import open_image
from faceveil.transforms.quarantine import Quarantine
from faceveil.transforms.runtime.memory import is_out_of_memory

_WITHOUT_METADATA: dict[str, Callable[[bytes], bytes]] = {
    "jpeg": jpeg_markers.without_metadata,
    "gif": gif.without_extensions,
    "tiff": tiff.without_metadata,
    "webp": webp.whole,
}


def open_original(data: bytes, image_format: str, *, pixels: bool = False) -> Image.Image:
    """Open an image as it came in; a PNG without texts, EXIF and profile, others without metadata only if need be.

    Args:
        data: the image.
        image_format: in lower case.
        pixels: whether its pixels are wanted, as they are stored, and not only what its header says.

    Raises:
        Exception: whatever Pillow raises, which promises no list.
    """
    if image_format == "png":
        return _opened(png.drawn(data, pixels=pixels), image_format, pixels)
    try:
        return _opened(data, image_format, pixels)
    except Image.DecompressionBombError:
        raise
    except Exception as refusal:
        if is_out_of_memory(refusal):
            raise
        without_metadata = _WITHOUT_METADATA.get(image_format)
        if without_metadata is None:
            raise
        try:
            return _opened(without_metadata(data), image_format, pixels)
        except (Quarantine, OSError, SyntaxError, ValueError):
            raise refusal from None


def _opened(data: bytes, image_format: str, pixels: bool) -> Image.Image:
    image = open_image(data, image_format)
    if not pixels:
        return image
    if image_format != "tiff":
        image.load()
        return image
    image.info.pop("xmp", None)  # by which Pillow would turn the pixels, too
    turned = Image.Image.getexif(image).get(ExifTags.Base.Orientation)
    image.load()
    return image.transpose(_TURN_BACK[turned]) if turned in _TURN_BACK else image


_TURN_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""The inverse of what Pillow does to a TIFF's pixels, by the orientation tag."""
