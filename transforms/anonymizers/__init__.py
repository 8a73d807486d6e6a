"""The ways to anonymize: pure functions ``method(values, faces, style, black) -> values``.

    values: uint8 or uint16 ``[H, W, C]``, the upright image, not modified.
    faces: the faces in it.
    style: how the masks are shaped and how strong the fill is.
    black: the value of each channel that together show as opaque black.

A method returns a new array in which nothing of the original is left inside the masks, and everything
outside is the same. To add one: a module with such a function, and its line in `METHODS`.

Example usage::

    anonymized = METHODS["blur"](values, faces, Style(), black=(0, 0, 0))
"""

from collections.abc import Callable

from transforms.anonymizers.bar import bar
from transforms.anonymizers.blur import blur
from transforms.anonymizers.masks import MaskGeometry, face_mask
from transforms.anonymizers.pixelate import pixelate
from transforms.anonymizers.solid import solid
from transforms.anonymizers.style import Style, Values
from transforms.faces import Faces

Method = Callable[[Values, Faces, Style, tuple[int, ...]], Values]

METHODS: dict[str, Method] = {
    "blur": blur,
    "pixelate": pixelate,
    "bar": bar,
    "solid": solid,
}

__all__ = ["METHODS", "MaskGeometry", "Method", "Style", "face_mask"]
