"""Solid: nothing but black."""

from __future__ import annotations

from faceveil.transforms.anonymizers.masks import face_masks
from faceveil.transforms.anonymizers.paint import paint
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.arrays import Values
from faceveil.transforms.faces import Faces


def solid(values: Values, faces: Faces, style: Style, black: tuple[int, ...]) -> Values:
    """Paint each mask black.

    Args:
        values: uint8 or uint16 ``[H, W, C]``, upright; not modified.
        faces: the faces in it.
        style: the masks' shape.
        black: the value of each channel, C of them.

    Returns:
        A new array like `values`.
    """
    filled = values.copy()
    for rectangle, mask in face_masks(faces, style.geometry, *values.shape[:2]):
        paint(filled, rectangle, mask, black)
    return filled
