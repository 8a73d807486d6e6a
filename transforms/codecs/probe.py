"""What an image is, from its header alone."""

from __future__ import annotations

from collections.abc import Collection

from PIL import Image

from faceveil.transforms.codecs import (
    converted,
    heif,
    isobmff,
    jpeg_markers,
    netpbm,
    orientation_claims,
    png,
    tiff,
    tiff_directory,
    tiff_pages,
    webp,
)
from faceveil.transforms.codecs.exif import exif_to_write
from faceveil.transforms.codecs.image import ImageInfo
from faceveil.transforms.codecs.kinds import explained_errors
from faceveil.transforms.codecs.orientation import swaps_sides
from faceveil.transforms.codecs.originals import open_original
from faceveil.transforms.codecs.signatures import CONVERTED, IMAGES, PICTURES, sniff
from faceveil.transforms.quarantine import Quarantine, Reason

_SUPPORTED_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "I;16B", "I;16L"}
_PNG_16_BIT = {0: "I;16", 2: "RGB;16", 4: "LA;16", 6: "RGBA;16"}  # by the colour type


def probe(data: bytes, keep_metadata: Collection[str] = (), max_pixels: int | None = None) -> ImageInfo:
    """Read an image's header; no pixel is decoded.

    Args:
        data: the encoded image.
        keep_metadata: the groups of EXIF tags to keep, names from `KEEPABLE`.
        max_pixels: an image of more is refused; None for no limit but Pillow's own.

    Raises:
        Quarantine: EMPTY, NOT_AN_IMAGE, TOO_LARGE, MULTIPLE_FRAMES, UNSUPPORTED_IMAGE (no decoder keeps all that is
            in it: floating point, LAB, …), or CORRUPT_IMAGE or TRUNCATED when the header of a known
            format cannot be read.
    """
    if not data:
        raise Quarantine(Reason.EMPTY)
    image_format = sniff(data)
    if image_format not in IMAGES:
        if image_format in PICTURES:
            raise _unsupported(f"{image_format} is not read here; convert it to PNG or TIFF")
        raise Quarantine(Reason.NOT_AN_IMAGE, "begins like no known image format")
    with explained_errors(data, image_format):
        if image_format in CONVERTED:
            info = converted.probe(data, image_format)
        else:
            info = _probe(data, image_format, keep_metadata)
    if max_pixels is not None and info.width * info.height > max_pixels:
        raise Quarantine(
            Reason.TOO_LARGE, f"{info.width} x {info.height} px are more than {max_pixels} (--max_pixels allows more)"
        )
    if image_format == "tiff":
        tiff_pages.check_page_pixels(data, max_pixels)
        tiff_pages.reject_pictures(data, max_pixels)
    return info


def _probe(data: bytes, image_format: str, keep_metadata: Collection[str]) -> ImageInfo:
    if image_format == "heif":
        return _probe_heif(data, keep_metadata)
    if image_format == "netpbm":
        return netpbm.probe(data)
    if image_format == "webp" and any(name == b"ANIM" for name, _ in webp.chunks(data)):
        raise Quarantine(Reason.MULTIPLE_FRAMES, "an animation, if only of one frame")
    if image_format == "png" and any(name == b"fdAT" for name, *_ in png.chunks(data)):
        raise Quarantine(Reason.MULTIPLE_FRAMES, "an animation")
    if image_format == "tiff":
        return _probe_tiff(data, keep_metadata)
    image = open_original(data, image_format)
    if image_format != "jpeg":  # a JPEG's other pictures stand behind its end and go as all that stands there
        _reject_frames(getattr(image, "n_frames", 1))
    if image.mode not in _SUPPORTED_MODES:
        raise _unsupported(f"{image_format} with pixels of mode {image.mode}")
    mode, read_only = image.mode, ""
    if image_format == "png":
        header = png.header(data)
        if header.bit_depth == 16:
            mode = _PNG_16_BIT[header.colour_type]
    if image_format == "avif":
        facts = isobmff.facts(data)
        _reject_frames(facts.pictures)
        if facts.is_deep:
            read_only = "avif with more than 8 bits per channel"
        exif = exif_to_write(image.info.get("exif", b""), 1, keep_metadata)
        return ImageInfo(
            *(image_format, *image.size, facts.orientation, mode, exif, read_only, facts.hides_pixels),
            orientation_claims.others(facts.orientation, facts.claimed_orientations),
        )
    if image_format in ("bmp", "gif"):
        return ImageInfo(image_format, *image.size, 1, mode)
    if image_format == "jpeg":
        jpeg_markers.check_length(data, *image.size)
    source = png.exif(data) if image_format == "png" else image.info.get("exif", b"")
    orientation = orientation_claims.of_exif(source) or 1
    claims = png.claimed_orientations(data) if image_format == "png" else _claims_of_xmp(image)
    exif = exif_to_write(source, orientation, keep_metadata)
    others = orientation_claims.others(orientation, claims)
    return ImageInfo(image_format, *image.size, orientation, mode, exif, other_orientations=others)


def _claims_of_xmp(image: Image.Image) -> set[int]:
    """The orientations that the XMP of a JPEG or WebP names."""
    # Of a JPEG's XMP segments Pillow tells the last.
    segments = [content for name, content in getattr(image, "applist", ()) if name == "APP1"]
    parts = [image.info.get("xmp", b""), *(part for part in segments if part.startswith(jpeg_markers.XMP))]
    return set().union(*map(orientation_claims.of_xmp, parts))


def _probe_heif(data: bytes, keep: Collection[str]) -> ImageInfo:
    facts = isobmff.facts(data)
    _reject_frames(facts.pictures)
    image = heif.open_image(data)
    width, height = image.size[::-1] if swaps_sides(facts.orientation) else image.size
    exif = exif_to_write(image.info.get("exif") or b"", 1, keep)
    read_only = "" if image.mode in heif.WRITABLE_MODES else f"heif with pixels of mode {image.mode}"
    others = orientation_claims.others(facts.orientation, facts.claimed_orientations)
    return ImageInfo("heif", width, height, facts.orientation, image.mode, exif, read_only, facts.hides_pixels, others)


def _probe_tiff(data: bytes, keep: Collection[str]) -> ImageInfo:
    flavour, directories = tiff_directory.pages(data)

    def numbers(tag: int, default: int) -> tuple[int, ...]:
        entry = directories[0].get(tag)
        return (entry and entry.numbers(flavour)) or (default,)

    tiff_pages.reject_pages(directories, flavour)
    if tiff_pages.is_marked(directories[0], flavour) or tiff.DNG_VERSION in directories[0]:
        raise _unsupported("tiff whose first picture is a preview or a mask, such as a camera's raw file")
    image = open_original(data, "tiff")
    samples, extra = numbers(tiff.SAMPLES_PER_PIXEL, 1)[0], numbers(tiff.EXTRA_SAMPLES, 0)
    bits = max(numbers(tiff.BITS_PER_SAMPLE, 1))
    mode = image.mode
    if mode not in _SUPPORTED_MODES:
        raise _unsupported(f"tiff with pixels of mode {mode}")
    if numbers(tiff.COMPRESSION, 1)[0] == tiff.OLD_JPEG:
        raise _unsupported("tiff with JPEG compression of the old kind, which no longer is in the standard")
    if samples != len(image.getbands()):
        raise _unsupported(f"tiff with {samples} channels, of which {len(image.getbands())} have a known meaning")
    if tiff.PREMULTIPLIED in extra:
        if mode != "RGBA":
            raise _unsupported(f"tiff with premultiplied alpha and pixels of mode {mode}")
        mode = "RGBa"
    if samples > 1 and bits > 8:
        if bits != 16 or mode not in ("RGB", "RGBA", "RGBa", "CMYK") or numbers(tiff.SAMPLE_FORMAT, 1)[0] != 1:
            raise _unsupported(f"tiff with {bits} bits per channel and pixels of mode {mode}")
        mode += ";16"
    # Pillow hands out 12 bits in 16, which would look darker if they were written as 16.
    read_only = f"tiff with {bits} bits per channel" if mode.startswith("I;16") and bits != 16 else ""
    width, height = numbers(256, 0)[0], numbers(257, 0)[0]
    # Pillow turns TIFFs upright, in their size too.
    if sorted(image.size) != sorted((width, height)):
        raise Quarantine(Reason.CORRUPT_IMAGE, "tiff: it says its size more than once, and differently")
    image.info.pop("xmp", None)  # by which Pillow would go as by the tag
    tag = numbers(tiff.ORIENTATION, 0)[0] or Image.Image.getexif(image).get(tiff.ORIENTATION)
    orientation = tag if isinstance(tag, int) and 1 <= tag <= 8 else 1
    exif = exif_to_write(data, orientation, keep)
    xmp = directories[0].get(tiff.XMP)
    others = orientation_claims.others(orientation, orientation_claims.of_xmp(xmp.value) if xmp else ())
    return ImageInfo("tiff", width, height, orientation, mode, exif, read_only, other_orientations=others)


def _reject_frames(frames: int) -> None:
    """Refuse animations, pages and bursts: only the first picture would be looked at."""
    if frames > 1:
        raise Quarantine(Reason.MULTIPLE_FRAMES, f"{frames} pictures in one file")


def _unsupported(detail: str) -> Quarantine:
    return Quarantine(Reason.UNSUPPORTED_IMAGE, detail)
