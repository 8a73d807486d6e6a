"""Blur: a smooth picture of a few cells."""

from __future__ import annotations

import cv2

from faceveil.transforms.anonymizers.blocks import Edges
from faceveil.transforms.anonymizers.cells import fill_from_cells
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.arrays import Values
from faceveil.transforms.faces import Faces


def blur(values: Values, faces: Faces, style: Style, black: tuple[int, ...]) -> Values:  # noqa: ARG001
    """Reduce each face to a few cells (`fill_from_cells`), then draw these smoothly.

    Unlike a Gaussian, which keeps traces that can be sharpened again, what is drawn is a function of the cells'
    colours. Linear interpolation between the cells' centres and a moving average never overshoot.

    Args:
        values: uint8 or uint16 ``[H, W, C]``, upright; not modified.
        faces: the faces in it.
        style: the masks' shape, and what the cells' colours come from.
        black: unused, as every method is called in the same way.

    Returns:
        A new array like `values`.
    """
    return fill_from_cells(values, faces, style, _interpolate)


def _interpolate(averages: Values, down: Edges, across: Edges) -> Values:
    size = int(across[-1]), int(down[-1])
    between_centres = cv2.resize(averages, size, interpolation=cv2.INTER_LINEAR)
    # Once more over a cell's width: linear interpolation alone shows bright and dark lines through the centres.
    cell = max(1, size[0] // averages.shape[1]), max(1, size[1] // averages.shape[0])
    smooth: Values = cv2.blur(between_centres, cell, borderType=cv2.BORDER_REPLICATE)
    return smooth.reshape(size[1], size[0], -1)
