"""Which of a TIFF's pages are pictures to be seen, and what decoding one would take, before it is tried.

TIFF 6.0 (Adobe, 1992), section 8: NewSubfileType says that a page is a smaller version of another or its transparency
mask, and so did SubfileType before it.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from faceveil.transforms.arrays import FloatArray
from faceveil.transforms.codecs import tiff, tiff_directory
from faceveil.transforms.codecs.pillow import open_image
from faceveil.transforms.codecs.tiff_tags import number
from faceveil.transforms.quarantine import Quarantine, Reason
from faceveil.transforms.runtime.memory import is_out_of_memory

_SUBFILE_TYPE, _OLD_SUBFILE_TYPE = 254, 255
_REDUCED, _MASK, _OLD_REDUCED = 1, 4, 2  # bits of the first tag, a value of the second
_TRANSPARENCY_MASK = 4  # of PhotometricInterpretation

_MIN_CORRELATION = 0.95
_LARGEST_DIFFERENCE = 26
"""Of 255, the mean over a block once contrast and brightness are fitted. 65 photos reduced to 1/2, 1/4 and 1/8 in five
ways (nearest, box, Lanczos, JPEG 40, sharpened) stay below 25, and 95 % of them above the correlation in each way;
other photos reach 0.53, other pages of text 0.73."""

_BLOCK = 8

# How many bytes a byte can stand for, by the compression: 1 is none; a PackBits run is 128 bytes in 2 (TIFF 6.0,
# section 9); an LZW code of 9 bits at least stands for 3,838 bytes at most (section 13); deflate reaches 1032
# (https://zlib.net/zlib_tech.html).
_MAX_EXPANSION = {1: 1, 5: 3412, 8: 1032, 32946: 1032, 32773: 64}
_YCBCR = 6


def is_marked(directory: tiff_directory.Directory, flavour: tiff_directory.Flavour) -> bool:
    """Whether a page says of itself that it is a preview or the mask of another one."""
    kind = number(directory, flavour, _SUBFILE_TYPE, 0)
    if kind & _REDUCED or number(directory, flavour, _OLD_SUBFILE_TYPE, 0) == _OLD_REDUCED:
        return True
    has_one_bit = all(number(directory, flavour, tag, 1) == 1 for tag in (tiff.SAMPLES_PER_PIXEL, tiff.BITS_PER_SAMPLE))
    return has_one_bit and (kind & _MASK != 0 or number(directory, flavour, tiff.PHOTOMETRIC, 0) == _TRANSPARENCY_MASK)


def reject_pages(directories: Sequence[tiff_directory.Directory], flavour: tiff_directory.Flavour) -> None:
    """Refuses a TIFF of several pictures, by its tags: what may be an unmarked preview of the first passes.

    Raises:
        Quarantine: MULTIPLE_FRAMES.
    """
    first, *others = (
        directory for page, directory in enumerate(directories) if page == 0 or not is_marked(directory, flavour)
    )
    width, height = _size(first, flavour)
    for directory in others:
        w, h = _size(directory, flavour)
        if not (0 < w < width and 0 < h < height and abs(w * height - h * width) <= max(width, height)):
            raise _several(1 + len(others))


def reject_pictures(data: bytes, max_pixels: int | None) -> None:
    """Refuses a TIFF of several pictures, by its pixels: pages are dropped if they are smaller versions of the first.

    Args:
        data: the TIFF; what its first page takes has been looked at.
        max_pixels: as in `check_page_pixels`.

    Raises:
        Quarantine: MULTIPLE_FRAMES.
    """
    flavour, directories = tiff_directory.pages(data)
    others = [page for page in range(1, len(directories)) if not is_marked(directories[page], flavour)]
    if not others:
        return
    try:
        whole = _grey(tiff.page(data, 0))
        for page in others:
            part = tiff.page(data, page)
            check_page_pixels(part, max_pixels)
            if not _is_reduced(whole, _grey(part)):
                raise _several(1 + len(others))
    except MemoryError:
        raise
    except Exception as error:  # as in decoder_errors: Pillow promises no list of them
        if is_out_of_memory(error):
            raise
        raise _several(1 + len(others)) from error


def _several(pictures: int) -> Quarantine:
    return Quarantine(Reason.MULTIPLE_FRAMES, f"{pictures} pictures in one file")


def _size(directory: tiff_directory.Directory, flavour: tiff_directory.Flavour) -> tuple[int, int]:
    return number(directory, flavour, 256, 0), number(directory, flavour, 257, 0)


def _grey(data: bytes) -> FloatArray:
    """The picture in shades of grey, 0 to 255."""
    with open_image(data, "tiff") as image:
        image.load()
        if image.mode.startswith("I;16"):
            return np.asarray(image).astype(np.float32) / np.float32(257)
        return np.asarray(image.convert("L")).astype(np.float32)


def _is_reduced(whole: FloatArray, small: FloatArray) -> bool:
    """Whether a picture is another one in a smaller size: nowhere does it show something else."""
    height, width = small.shape
    expected = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
    contrasts = float(expected.std()), float(small.std())
    if min(contrasts) < 1:  # nothing to be compared
        return False
    covariance = float(((expected - expected.mean()) * (small - small.mean())).mean())
    fitted = (expected - expected.mean()) * (covariance / contrasts[0] ** 2) + small.mean()
    blocks = max(1, width // _BLOCK), max(1, height // _BLOCK)
    difference = cv2.resize(small - fitted, blocks, interpolation=cv2.INTER_AREA)
    is_alike = covariance >= _MIN_CORRELATION * contrasts[0] * contrasts[1]
    return is_alike and float(np.abs(difference).max()) <= _LARGEST_DIFFERENCE


def check_page_pixels(data: bytes, max_pixels: int | None) -> None:
    """Looks at what decoding the first page would take, before it is tried.

    Args:
        data: the TIFF.
        max_pixels: of a tile, which decoders hold whole, however small the picture; None for no limit.

    Raises:
        Quarantine: TRUNCATED when its strips or tiles are too few bytes for its pixels however well they compress,
            TOO_LARGE for its tiles, and what reading its directories raises.
    """
    flavour, directory, segments, tags = tiff.read_picture(data)

    tile = number(directory, flavour, 322, 0) * number(directory, flavour, 323, 0)
    if tags == tiff_directory.TILES and max_pixels is not None and tile > max_pixels:
        raise Quarantine(
            Reason.TOO_LARGE, f"tiff: its tiles are of more than {max_pixels} px (--max_pixels allows more)"
        )
    expansion = _MAX_EXPANSION.get(number(directory, flavour, tiff.COMPRESSION, 1))
    if expansion is None or number(directory, flavour, tiff.PHOTOMETRIC, 2) == _YCBCR:
        return  # colours may be sampled more coarsely
    samples, bits = (number(directory, flavour, tag, 1) for tag in (tiff.SAMPLES_PER_PIXEL, tiff.BITS_PER_SAMPLE))
    width, height = _size(directory, flavour)
    row = -(-width * samples * bits // 8)
    held = sum(map(len, segments))
    if held * expansion < row * height:
        raise Quarantine(Reason.TRUNCATED, f"tiff: {held} bytes cannot hold {height} rows of {row} bytes")
