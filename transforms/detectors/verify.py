"""Looking again at what a fast detector proposes: each face is cut out, and a better detector is shown it alone.

A fast detector that sees the whole image rarely overlooks a face, but is often wrong about what is one. A better one
need not see the whole image to tell: it is shown a few squares of one size, whatever the image's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.arrays import RGB, FloatArray
from faceveil.transforms.detectors.candidates import Candidates
from faceveil.transforms.detectors.nms import iou
from faceveil.transforms.detectors.views import resize
from faceveil.transforms.faces import Faces

MIN_PROPOSAL = 0.16
"""Of proposals by their own score, for any threshold. With 0.14 a fifth more are looked at again, and as many faces of
16 px and more are covered at as many false boxes; with 0.18 it is 0.4 % fewer (YuNet-s, every other photo of WIDER
FACE's validation split)."""

MOSAIC = 192
"""Pixels of a mosaic's side."""

ACROSS = (2, 3, 4)
"""How many squares lie side by side in a mosaic: the more there are to look at, the smaller they are shown. With 64 px
instead of 96 px a side 0.5 % fewer faces of those photos are covered at as many false boxes. One alone takes 1.6 times
as long as one of four, and more than four are rarely filled."""

MAX_MOSAICS = 32
"""Of an image, so that crowds have an end: 512 squares. With 16, AP on those photos is 0.825 instead of 0.847."""

_IN_DOUBT = 0.3
"""Of a proposal's own score: in crowds, those nearest to it are looked at again."""

_CONTEXT = 2.5
"""A square's side by that of the face within: what is around a face tells that it is one."""

_GREY = (127, 127, 127)
"""Of what lies beyond the image, and of squares that are left over."""

_SAME_IOU = 0.3
"""What overlaps a proposal by this much is that face; else it is a neighbour's."""

_SURE = 0.3
"""Of the second detector's score: from here on its box counts as much as the proposal's, and its keypoints alone."""


@dataclass(frozen=True)
class CutOut:
    """The proposals of an image that are looked at again.

    Attributes:
        mosaics: uint8 ``[M, 192, 192, 3]``, in rows of squares.
        across: how many squares a row has, and a mosaic rows.
        chosen: int ``[N]``: which of the image's proposals they are.
        squares: float32 ``[N, 3]``: x0, y0 and side of each square in pixels of the upright image.
    """

    mosaics: RGB
    across: int
    chosen: NDArray[np.intp]
    squares: FloatArray


def cut_proposals(source: RGB, width: int, proposals: Faces) -> CutOut:
    """Cuts out what is looked at again: all proposals, or those that are most in doubt.

    Args:
        source: uint8 ``[h, w, 3]``: the upright image, perhaps reduced.
        width: of the full image in pixels.
        proposals: in pixels of the full image.
    """
    across = next((each for each in ACROSS if len(proposals) <= MAX_MOSAICS * each**2), ACROSS[-1])
    certainty = np.abs(proposals.scores - _IN_DOUBT)
    chosen = np.sort(np.argsort(certainty, kind="stable")[: MAX_MOSAICS * across**2])
    scale = source.shape[1] / width
    low, high = proposals.boxes[chosen, :2] * scale, proposals.boxes[chosen, 2:] * scale
    sides = np.maximum(np.ceil((high - low).max(axis=1, initial=0) * _CONTEXT), 2).astype(np.int64)
    corners = np.rint((low + high) / 2 - sides[:, None] / 2).astype(np.int64)
    cell = MOSAIC // across
    mosaics = np.full((-(-len(chosen) // across**2), MOSAIC, MOSAIC, 3), _GREY, np.uint8)
    for number, ((x0, y0), side) in enumerate(zip(corners, sides, strict=True)):
        mosaic, row, column = _place(number, across)
        square = _square(source, int(x0), int(y0), int(side), cell)
        mosaics[mosaic, row : row + cell, column : column + cell] = square
    squares = (np.column_stack([corners, sides]) / scale).astype(np.float32)
    return CutOut(mosaics, across, chosen, squares)


def _place(number: int, across: int) -> tuple[int, int, int]:
    """Mosaic, first row and first column of a square."""
    mosaic, place = divmod(number, across**2)
    row, column = divmod(place, across)
    return mosaic, row * (MOSAIC // across), column * (MOSAIC // across)


def _square(source: RGB, x0: int, y0: int, side: int, cell: int) -> RGB:
    """A square of the image at the size of a cell, grey beyond the image."""
    height, width = source.shape[:2]
    left, top, right, bottom = max(0, -x0), max(0, -y0), max(0, x0 + side - width), max(0, y0 + side - height)
    part = source[y0 + top : y0 + side - bottom, x0 + left : x0 + side - right]
    if left or top or right or bottom:
        part = cv2.copyMakeBorder(part, top, bottom, left, right, cv2.BORDER_CONSTANT, value=_GREY)
    return resize(np.ascontiguousarray(part), cell, cell)


def verified(proposals: Faces, cut: CutOut, found: Sequence[Candidates]) -> Faces:
    """The proposals with the mean of both detectors' scores, 0 where the second finds no face; they may overlap.

    Where the second detector is sure, a box is the mean of both. Proposals that were not looked at stay as they are.

    Args:
        proposals: all of the image.
        cut: what the second detector was shown of them.
        found: what it found in each mosaic.
    """
    boxes, scores = proposals.boxes.copy(), proposals.scores.copy()
    keypoints = None if proposals.keypoints is None else proposals.keypoints.copy()
    scores[cut.chosen] /= 2
    cell = MOSAIC // cut.across
    for number, (face, (x0, y0, side)) in enumerate(zip(cut.chosen, cut.squares, strict=True)):
        mosaic, row, column = _place(number, cut.across)
        candidates = found[mosaic]
        # From shares of the mosaic to shares of the square, and to pixels of the image.
        place = np.array([column, row], np.float32)
        low, high = ((edges[:, ::-1] * MOSAIC - place) / cell for edges in np.split(candidates.boxes, 2, axis=1))
        inside = np.flatnonzero((((low + high) / 2 >= 0) & ((low + high) / 2 < 1)).all(axis=1))
        seen = np.concatenate([low[inside], high[inside]], axis=1) * side + np.array([x0, y0, x0, y0], np.float32)
        same = iou(seen, proposals.boxes[face][None])[:, 0] >= _SAME_IOU
        if not same.any():
            continue
        best = np.flatnonzero(same)[np.argmax(candidates.scores[inside[same]])]
        score = candidates.scores[inside[best]]
        scores[face] += score / 2
        if score < _SURE:
            continue
        boxes[face] = (proposals.boxes[face] + seen[best]) / 2
        points = None if candidates.keypoints is None else candidates.keypoints[inside[best]]
        if keypoints is not None and points is not None and points.shape == keypoints.shape[1:]:
            keypoints[face] = (points[:, ::-1] * MOSAIC - place) / cell * side + np.array([x0, y0], np.float32)
    return Faces(boxes, scores, keypoints)
