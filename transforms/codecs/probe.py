"""What an image is, from its header alone."""

from __future__ import annotations

import re

from PIL import ExifTags, Image, TiffImagePlugin

from transforms.codecs import png, webp
from transforms.codecs.image import ImageInfo
from transforms.codecs.pillow import decoder_errors, open_image
from transforms.quarantine import Quarantine, Reason

_SIGNATURES = (
    (b"\xff\xd8\xff", "jpeg"),
    (png.SIGNATURE, "png"),
    (b"GIF87a", "gif"),
    (b"GIF89a", "gif"),
    (b"II*\0", "tiff"),
    (b"MM\0*", "tiff"),
    (b"II+\0", "tiff"),
    (b"MM\0+", "tiff"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "jpeg2000"),
    (b"\xff\x4f\xff\x51", "jpeg2000"),
)
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_BMP_HEADER_SIZES = {12, 16, 40, 52, 56, 64, 108, 124}
_SUPPORTED_FORMATS = {"jpeg", "png", "webp", "bmp", "tiff", "avif"}
_SUPPORTED_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "I;16B", "I;16L"}


def probe(data: bytes) -> ImageInfo:
    """Read an image's header; no pixel is decoded.

    Raises:
        Quarantine: EMPTY, NOT_AN_IMAGE, MULTIPLE_FRAMES, UNSUPPORTED_IMAGE (what could not be written back as
            it was: more than 8 bits per channel in colour, floating point, GIF, HEIF, JPEG 2000, …), or
            CORRUPT_IMAGE or TRUNCATED when the header of a known format cannot be read.
    """
    if not data:
        raise Quarantine(Reason.EMPTY)
    image_format = _sniff(data)
    if image_format is None:
        raise Quarantine(Reason.NOT_AN_IMAGE, "begins like no known image format")
    with decoder_errors(image_format):
        if image_format == "gif":
            _reject_frames(open_image(data, image_format))
        if image_format == "webp" and any(name == b"ANIM" for name, _ in webp.chunks(data)):
            raise Quarantine(Reason.MULTIPLE_FRAMES, "an animation, if only of one frame")
        if image_format not in _SUPPORTED_FORMATS:
            raise _unsupported(f"{image_format} cannot be written back like for like; convert it to PNG or JPEG")
        if image_format == "png" and any(name == b"fdAT" for name, *_ in png.chunks(data)):
            raise Quarantine(Reason.MULTIPLE_FRAMES, "an animation")
        image = open_image(png.without_pixels(data) if image_format == "png" else data, image_format)
        _reject_frames(image)
        _reject_lossy(data, image, image_format)
        width, height = image.size
        if isinstance(image, TiffImagePlugin.TiffImageFile):  # Pillow turns TIFFs upright, in their size too
            width, height = int(image.tag_v2[256]), int(image.tag_v2[257])
        return ImageInfo(image_format, width, height, _orientation(image), image.mode)


def _sniff(data: bytes) -> str | None:
    """The format, lower case, by the first bytes."""
    for signature, image_format in _SIGNATURES:
        if data.startswith(signature):
            return image_format
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADER_SIZES:
        return "bmp"
    if data[4:8] == b"ftyp":  # ISO base media: a major brand, a version, compatible brands
        length = min(int.from_bytes(data[:4], "big"), 4096)
        brands = {data[8:12], *(data[i : i + 4] for i in range(16, length, 4))}
        if brands & {b"avif", b"avis"}:
            return "avif"
        if brands & _HEIF_BRANDS:
            return "heif"
    return None


def _orientation(image: Image.Image) -> int:
    """The orientation tag from EXIF, else from XMP, as Pillow's `ImageOps.exif_transpose` finds it."""
    try:
        # The base class's method: PNG's own decodes the pixels first, to see what stands behind them.
        tag = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:  # noqa: BLE001 - EXIF that cannot be read does not matter: it goes anyway
        return 1
    return tag if isinstance(tag, int) and 1 <= tag <= 8 else 1


def _reject_frames(image: Image.Image) -> None:
    """Refuse animations, pages and bursts: only the first picture would be looked at."""
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise Quarantine(Reason.MULTIPLE_FRAMES, f"{frames} pictures in one file")


def _reject_lossy(data: bytes, image: Image.Image, image_format: str) -> None:
    """Refuse what Pillow would silently reduce or could not write back."""
    if image.mode not in _SUPPORTED_MODES:
        raise _unsupported(f"{image_format} with pixels of mode {image.mode}")
    if image_format == "png":
        header = png.header(data)
        if header.bit_depth == 16 and header.colour_type != 0:
            raise _unsupported("png with 16 bits per channel and more than one channel")
    elif image_format == "avif":
        # The AV1 codec configuration box: bit 6 of its third byte is high_bitdepth
        # (https://aomediacodec.github.io/av1-isobmff/, section 2.3.3).
        if any(flags[0] & 0x40 for flags in re.findall(rb"av1C..(.)", data, re.DOTALL)):
            raise _unsupported("avif with more than 8 bits per channel")
    elif image_format == "bmp" and image.mode == "RGBA":
        raise _unsupported("bmp with alpha, which many readers drop; convert it to PNG")
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        _reject_lossy_tiff(image)


def _reject_lossy_tiff(image: TiffImagePlugin.TiffImageFile) -> None:
    tags = image.tag_v2
    samples = tags.get(TiffImagePlugin.SAMPLESPERPIXEL, 1)
    if samples > 1 and max(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))) > 8:
        raise _unsupported("tiff with more than 8 bits per channel and more than one channel")
    if samples != len(image.getbands()):
        raise _unsupported(f"tiff with {samples} channels, of which {len(image.getbands())} have a known meaning")
    if 1 in tags.get(TiffImagePlugin.EXTRASAMPLES, ()):
        raise _unsupported("tiff with premultiplied alpha")
    if image.mode.startswith("I;16") and tags.get(TiffImagePlugin.PHOTOMETRIC_INTERPRETATION) == 0:
        raise _unsupported("tiff with 16-bit grey where 0 is white")


def _unsupported(detail: str) -> Quarantine:
    return Quarantine(Reason.UNSUPPORTED_IMAGE, detail)
