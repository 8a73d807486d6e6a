"""Replacing a face by a few cells: what blur and pixelate have in common."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from faceveil.transforms.anonymizers.blocks import Edges, block_averages
from faceveil.transforms.anonymizers.masks import face_masks, mask_extent
from faceveil.transforms.anonymizers.paint import paint
from faceveil.transforms.anonymizers.scene import SCENE_CELLS, Scene, scene_cells
from faceveil.transforms.anonymizers.style import SCENE, Style
from faceveil.transforms.arrays import Values
from faceveil.transforms.faces import Faces

_SMALLEST_CELL = 4
"""Pixels. A face of 12 px is not recognisable, but cells of 2 px would leave it as it is; so that a cell is
always an average of 16 pixels or more, tiny faces get fewer cells."""


def fill_from_cells(
    values: Values,
    faces: Faces,
    style: Style,
    expand: Callable[[Values, Edges, Edges], Values],
) -> Values:
    """Replace each face by what can be drawn from a few cells' colours and nothing else.

    By default these are the scene's (`scene_cells`); with a lower strength, the averages of the face. They are taken
    from the original, so the order of overlapping faces decides only which fill is on top: the best score's, the first.

    Args:
        values: uint8 or uint16 ``[H, W, C]``, upright; not modified.
        faces: the faces in it.
        style: the masks' shape and the cells' size.
        expand: draws ``[h, w, C]`` from colours ``[k, l, C]`` and the edges of their rows and columns.
    """
    filled = values.copy()
    of_scene = style.strength == SCENE
    size = 1 / SCENE_CELLS if of_scene else style.strength
    masks = list(face_masks(faces, style.geometry, *values.shape[:2]))
    scene = Scene.around(masks, values) if of_scene else None
    for box, (rectangle, mask) in zip(faces.boxes[::-1], masks[::-1], strict=True):
        if not mask.any():
            continue
        extent = mask_extent(box, style.geometry)
        down = _cell_edges(mask.shape[0], extent.bottom - extent.top, size)
        across = _cell_edges(mask.shape[1], extent.right - extent.left, size)
        if scene is None:
            cells = block_averages(values[rectangle], down, across)
        else:
            cells = scene_cells(scene, rectangle, extent, down, across)
        paint(filled, rectangle, mask, expand(cells, down, across))
    return filled


def _cell_edges(visible: int, full: int, size: float) -> Edges:
    """The edges of the cells along one side, as even as whole pixels allow, from 0 to `visible`.

    Cells are measured by the whole mask: a face half outside the image gets half as many, not finer ones.
    """
    cells = visible / max(full * size, _SMALLEST_CELL)
    count = max(1, int(cells + 1e-6))  # 35 / (35 * 0.2) is a little less than 5
    return np.arange(count + 1) * visible // count
