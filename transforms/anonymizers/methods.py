"""The ways to anonymize: pure functions ``method(values, faces, style, black) -> values``.

    values: uint8 or uint16 ``[H, W, C]``, the upright image, not modified.
    faces: the faces in it.
    style: how the masks are shaped and how strong the fill is.
    black: the value of each channel that together show as opaque black.

A method returns a new array in which nothing of the original is left inside the masks, and everything
outside is the same. Which pixels are inside, `painted_pixels` says. To add a method: a module with such a
function, its line in `METHODS` and `_MASKS`, and its name in the package's `METHOD_NAMES`.

Example usage::

    anonymized = METHODS["blur"](values, faces, Style(), black=(0, 0, 0))
"""

from collections.abc import Callable, Iterator

import numpy as np

from faceveil.transforms.anonymizers.bar import bar, bar_masks
from faceveil.transforms.anonymizers.blur import blur
from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.anonymizers.masks import Rectangle, face_masks
from faceveil.transforms.anonymizers.pixelate import pixelate
from faceveil.transforms.anonymizers.solid import solid
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.arrays import BoolMask, Values
from faceveil.transforms.faces import Faces

Method = Callable[[Values, Faces, Style, tuple[int, ...]], Values]

METHODS: dict[str, Method] = {
    "blur": blur,
    "pixelate": pixelate,
    "bar": bar,
    "solid": solid,
}

_MASKS: dict[str, Callable[[Faces, MaskGeometry, int, int], Iterator[tuple[Rectangle, BoolMask]]]] = {
    "blur": face_masks,
    "pixelate": face_masks,
    "bar": bar_masks,
    "solid": face_masks,
}


def painted_pixels(method: str, faces: Faces, style: Style, height: int, width: int) -> BoolMask:
    """Which pixels of an upright image a method paints on, bool ``[H, W]``.

    They follow from the faces alone: a pixel counts even where its new value happens to be the old one.

    Args:
        method: its name.
        faces: the faces in the image.
        style: the masks' shape.
        height: of the image.
        width: of the image.
    """
    painted = np.zeros((height, width), np.bool_)
    for rectangle, mask in _MASKS[method](faces, style.geometry, height, width):
        painted[rectangle] |= mask
    return painted
