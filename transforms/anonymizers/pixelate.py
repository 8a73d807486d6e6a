"""Pixelate: flat cells."""

from __future__ import annotations

from faceveil.transforms.anonymizers.blocks import Edges, cell_sides
from faceveil.transforms.anonymizers.cells import fill_from_cells
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.arrays import Values
from faceveil.transforms.faces import Faces


def pixelate(values: Values, faces: Faces, style: Style, black: tuple[int, ...]) -> Values:  # noqa: ARG001
    """Reduce each face to a few flat cells (`fill_from_cells`).

    Args:
        values: uint8 or uint16 ``[H, W, C]``, upright; not modified.
        faces: the faces in it.
        style: the masks' shape, and what the cells' colours come from.
        black: unused, as every method is called in the same way.

    Returns:
        A new array like `values`.
    """
    return fill_from_cells(values, faces, style, _repeat)


def _repeat(averages: Values, down: Edges, across: Edges) -> Values:
    return averages.repeat(cell_sides(across), axis=1).repeat(cell_sides(down), axis=0)
