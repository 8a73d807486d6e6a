"""What the codecs hand around: a header's facts, an image's pixels."""

from __future__ import annotations

from dataclasses import dataclass

from faceveil.transforms.arrays import Values
from faceveil.transforms.codecs.orientation import swaps_sides

_BLACK = {
    "L": (0,),
    "LA": (0, 255),
    "RGB": (0, 0, 0),
    "RGBA": (0, 0, 0, 255),
    "CMYK": (0, 0, 0, 255),
    "RGBa": (0, 0, 0, 255),
    "I;16": (0,),
    "LA;16": (0, 0xFFFF),
    "RGB;16": (0, 0, 0),
    "RGBA;16": (0, 0, 0, 0xFFFF),
    "CMYK;16": (0, 0, 0, 0xFFFF),
    "RGBa;16": (0, 0, 0, 0xFFFF),
}


@dataclass(frozen=True)
class ImageInfo:
    """What an image's header says.

    Attributes:
        format: jpeg, png, webp, bmp, gif, tiff, netpbm, avif or heif; what is written.
        width: of the stored pixels.
        height: of the stored pixels.
        orientation: EXIF's orientation tag, 1 to 8; 1 where there is none or a wrong one. In AVIF and HEIF, what their
            own properties say.
        mode: Pillow's name of the stored pixel layout; with ``;16`` behind it where that is of 16 bits.
        exif: the EXIF to write, a TIFF header first: the orientation, unless the format keeps it elsewhere or it is
            1, and what the user keeps. Empty when there is nothing.
        hides_pixels: whether the file is known to hold pixels that it does not show.
        read_only: why pixels of this kind could not be written back like for like; empty where they can be.
        other_orientations: those by which some readers turn it, as XMP or a raw profile says; they are not written.
        source: the format it is read from, where that is another one (see `converted`); else empty.

    Example usage::

        >>> ImageInfo("jpeg", 4000, 3000, orientation=6, mode="RGB").upright_width
        3000
    """

    format: str
    width: int
    height: int
    orientation: int
    mode: str
    exif: bytes = b""
    read_only: str = ""
    hides_pixels: bool = False
    other_orientations: tuple[int, ...] = ()
    source: str = ""

    @property
    def orientations(self) -> tuple[int, ...]:
        """Its own orientation and the others."""
        return (self.orientation, *self.other_orientations)

    def upright_size(self, orientation: int) -> tuple[int, int]:
        """Width and height in pixels of the stored image turned by an orientation."""
        return (self.height, self.width) if swaps_sides(orientation) else (self.width, self.height)

    @property
    def upright_width(self) -> int:
        """The width in pixels of the image as it is meant to be seen."""
        return self.upright_size(self.orientation)[0]

    @property
    def upright_height(self) -> int:
        """The height in pixels of the image as it is meant to be seen."""
        return self.upright_size(self.orientation)[1]


@dataclass(frozen=True)
class Pixels:
    """All pixels of one image, as they are stored: not turned upright.

    Attributes:
        values: uint8 or uint16 ``[H, W, C]``.
        mode: L, LA, RGB, RGBA, RGBa (colours premultiplied with alpha) or CMYK (0 is no ink) for uint8; I;16 (grey),
            LA;16, RGB;16, RGBA;16, RGBa;16 or CMYK;16 for uint16.
        faultless: that they come from a JPEG that libjpeg decoded without a complaint.
    """

    values: Values
    mode: str
    faultless: bool = False

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        return int(self.values.nbytes)

    @property
    def black(self) -> tuple[int, ...]:
        """The value of each channel that together show as opaque black."""
        return _BLACK[self.mode]

    @property
    def has_alpha(self) -> bool:
        """Whether the last channel is alpha."""
        return self.mode.partition(";")[0] in ("LA", "RGBA", "RGBa")

    @property
    def is_premultiplied(self) -> bool:
        """Whether the colours are premultiplied with alpha."""
        return self.mode.startswith("RGBa")
