"""What the codecs hand around: a header's facts, an image's pixels, a preview for detection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transforms.codecs.orientation import swaps_sides

Values = NDArray[np.uint8] | NDArray[np.uint16]

_BLACK = {
    "L": (0,),
    "LA": (0, 255),
    "RGB": (0, 0, 0),
    "RGBA": (0, 0, 0, 255),
    "CMYK": (0, 0, 0, 255),
    "I;16": (0,),
}


@dataclass(frozen=True)
class ImageInfo:
    """What an image's header says.

    Attributes:
        format: jpeg, png, webp, bmp, tiff or avif.
        width: of the stored pixels.
        height: of the stored pixels.
        orientation: EXIF's orientation tag, 1 to 8; 1 where there is none or a wrong one.
        mode: Pillow's name of the stored pixel layout.

    Example usage::

        >>> ImageInfo("jpeg", 4000, 3000, orientation=6, mode="RGB").upright_width
        3000
    """

    format: str
    width: int
    height: int
    orientation: int
    mode: str

    @property
    def upright_width(self) -> int:
        """The width in pixels of the image as it is meant to be seen."""
        return self.height if swaps_sides(self.orientation) else self.width

    @property
    def upright_height(self) -> int:
        """The height in pixels of the image as it is meant to be seen."""
        return self.width if swaps_sides(self.orientation) else self.height


@dataclass(frozen=True)
class Pixels:
    """All pixels of one image, as they are stored: not turned upright.

    Attributes:
        values: uint8 or uint16 ``[H, W, C]``.
        mode: L, LA, RGB, RGBA, CMYK (0 is no ink) or I;16 (grey, uint16).
    """

    values: Values
    mode: str

    @property
    def black(self) -> tuple[int, ...]:
        """The value of each channel that together show as opaque black."""
        return _BLACK[self.mode]


@dataclass(frozen=True)
class Preview:
    """An image as the detector sees it.

    Attributes:
        rgb: uint8 ``[h, w, 3]``, upright; a view where turning it needs no copy. Smaller than the image, by
            the same factor in both directions up to rounding up, when it was decoded at a reduced size.
        pixels: the stored pixels, if they were decoded whole on the way, so that nothing is decoded twice.
    """

    rgb: NDArray[np.uint8]
    pixels: Pixels | None
