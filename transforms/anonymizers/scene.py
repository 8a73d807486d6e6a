"""A fill of the scene's colours: what is around a face, and a few bits of the face itself.

Averages of a face are a fingerprint: 5 x 5 of them tell it from hundreds of others. So by default blur and pixelate
draw from two things only:

1. the pixels around it that no mask covers. They are there for all to see, so their colours give nothing away;
2. a code of the face: the brightness of its middle in 8 steps, and in colour its warmth in 4. Where there is one more
   channel (alpha, black ink), that in 8 steps, too.

docs/notes/blur.md says what was measured and tried.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.anonymizers.blocks import Edges, block_averages, block_sums, rounded_quotient
from faceveil.transforms.anonymizers.masks import Extent, Rectangle
from faceveil.transforms.arrays import BoolMask, Values

SCENE_CELLS = 6
"""Along a side of the mask: few enough for a mosaic to look like one. They are all drawn from the same few numbers."""

_STEPS = 8
_WARMTH_STEPS = 4
_WARMTH = 32, 255
"""Red minus blue from one step to the next, of so much white. Skin in daylight has about 60, in lamplight 100."""
_TONE = np.array([14, -3, -11])
"""What a warmth of 25 adds to red, green and blue: as in skin, and nothing in sum."""

_RIM = 5
"""The surroundings reach a fifth of the mask's sides beyond its rectangle."""
_MIN_RIM = 4
"""Pixels."""
_NEAREST = 4.0
"""Added to squared distances, in half-sides of the mask: the scene is drawn that smoothly. With less, a fill
repeats what lies next to it, which is no secret, but is enough like the face's outermost parts to tell faces by."""

_FACE, _MAX_OF_FACE, _WHOLE = 2, 0.95, 1 << 10
"""The face's colour has a share of 2 (1 - r²) but at most 0.95, where r is 0 in the middle of the mask and 1 at its
edge. Shares are whole numbers out of 1,024."""
_SHADE = np.array(
    [
        [72, 76, 80, 80, 76, 72],  # hair
        [84, 98, 100, 100, 98, 84],  # forehead
        [82, 78, 91, 91, 78, 82],  # eyes
        [86, 98, 100, 100, 98, 86],  # cheeks and nose
        [84, 95, 83, 83, 95, 84],  # mouth
        [74, 84, 91, 91, 84, 74],  # chin
    ]
)
"""How bright each cell is, of 100: light and shade of any face from afar, the same for all. Without it a mosaic shows
no cells, and a blur is as smooth as a balloon."""

_Integers = NDArray[np.int64]
_Floats = NDArray[np.float64]


class FaceCode(NamedTuple):
    """All that a fill tells of a face.

    Attributes:
        brightness: of red, green and blue, of the inks, or of grey: 0 to 7.
        warmth: 0 (no redder than blue) to 3; 0 where there are no colours.
        last: alpha or black ink: 0 to 7; 0 where there is neither.
    """

    brightness: int
    warmth: int
    last: int


def face_code(region: Values, white: int) -> FaceCode:
    """The code of a face.

    Args:
        region: uint8 or uint16 ``[h, w, C]``, the mask's rectangle. Its middle counts, half of it in width and height:
            not hair and background, nor most of what overlaps.
        white: the value of the highest step.
    """
    height, width, channels = region.shape
    middle = region[height // 4 : height - height // 4, width // 4 : width - width // 4]
    ends = (np.array([0, side]) for side in middle.shape[:2])
    average = block_averages(middle, *ends)[0, 0].astype(int).tolist()
    colours = average[: 1 if channels == 2 else 3]
    step, of = _WARMTH
    warmth = (2 * (colours[0] - colours[-1]) * of + step * white) // (2 * step * white)
    return FaceCode(
        _step(sum(colours), len(colours) * white),
        min(max(warmth, 0), _WARMTH_STEPS - 1),
        _step(average[-1], white) if channels in (2, 4) else 0,
    )


def face_colour(code: FaceCode, white: int, channels: int, *, tinted: bool) -> _Integers:
    """The colour ``[C]`` that stands for a face in its fill.

    Args:
        code: the face's.
        white: the value of the highest step.
        channels: C, 1 to 4.
        tinted: whether the first three are red, green and blue.
    """
    last = _level(code.last, white)
    colours = np.full(1 if channels <= 2 else 3, _level(code.brightness, white))
    if tinted:
        step, of = _WARMTH
        colours += code.warmth * step * white * _TONE // (25 * of)
    colours = np.clip(colours, 0, last if channels == 4 and tinted else white)
    return np.append(colours, last) if channels in (2, 4) else colours


@dataclass(frozen=True)
class Scene:
    """An image and what of it no mask covers.

    Attributes:
        values: uint8 or uint16 ``[H, W, C]``, upright.
        is_open: bool ``[H, W]``, False on the masks of all faces.
        white: 255, or the highest open value of 16 bits, since many such images use only 10 to 14 of them.
    """

    values: Values
    is_open: BoolMask
    white: int

    @classmethod
    def around(cls, masks: Iterable[tuple[Rectangle, BoolMask]], values: Values) -> Scene:
        """What the masks, as `face_masks` returns them, leave of an image."""
        is_open = np.ones(values.shape[:2], np.bool_)
        for rectangle, mask in masks:
            is_open[rectangle] &= ~mask
        largest = int(np.iinfo(values.dtype).max)
        brightest = int(values.max(axis=2)[is_open].max(initial=0)) if values.dtype == np.uint16 else largest
        return cls(values, is_open, brightest or largest)


def scene_cells(scene: Scene, rectangle: Rectangle, extent: Extent, down: Edges, across: Edges) -> Values:
    """The colours of the cells of one face.

    They are mixtures with the same weights for every channel, in whole numbers: the same on every machine, and no
    colour exceeds its alpha where none in the image does.

    Args:
        scene: the image.
        rectangle: the rows and columns of the mask.
        extent: the same before it was clipped to the image.
        down: the k + 1 edges of the rows of cells, from 0 to the rectangle's height.
        across: the l + 1 edges of the columns of cells, likewise.

    Returns:
        ``[k, l, C]`` of the image's type.
    """
    (rows, columns), values, white = rectangle, scene.values, scene.white
    channels = values.shape[2]
    inner = down + rows.start, across + columns.start
    ys = _with_rim(inner[0], extent.bottom - extent.top, values.shape[0])
    xs = _with_rim(inner[1], extent.right - extent.left, values.shape[1])
    context = slice(ys[0], ys[-1]), slice(xs[0], xs[-1])
    seen = scene.is_open[context].view(np.uint8)
    around = np.zeros((*seen.shape, channels), values.dtype)
    cv2.copyTo(values[context], seen, around)
    colours, areas = (block_sums(part, ys - ys[0], xs - xs[0]) for part in (around, seen[..., np.newaxis]))
    colours, areas = colours.reshape(-1, channels), areas.reshape(-1, 1)
    tinted = channels == 3 or (channels == 4 and np.array_equal(colours[:, 3:], np.iinfo(values.dtype).max * areas))
    face = face_colour(face_code(values[rectangle], white), white, channels, tinted=tinted)
    v, u = _places(inner[0], extent.top, extent.bottom), _places(inner[1], extent.left, extent.right)
    share = np.full((len(v) * len(u), 1), _WHOLE)
    open_colours = np.zeros((len(share), channels), np.int64)
    if areas.any():
        y, x = _places(ys, extent.top, extent.bottom), _places(xs, extent.left, extent.right)
        weights = _weights(v, y, u, x)
        open_colours = rounded_quotient(weights @ colours, weights @ areas)
        of_face = np.clip(_FACE * (1 - v[:, np.newaxis] ** 2 - u**2), 0, _MAX_OF_FACE)
        share = (of_face.reshape(-1, 1) * _WHOLE).astype(np.int64)
    mixed = (share * face + (_WHOLE - share) * open_colours + _WHOLE // 2) // _WHOLE
    mixed = mixed.reshape(len(v), len(u), channels)
    if tinted or channels <= 2:  # else the colours may be inks
        colour_channels = slice(0, 1 if channels <= 2 else 3)
        mixed[..., colour_channels] = mixed[..., colour_channels] * _shade(v, u)[..., np.newaxis] // 100
    cells: NDArray[Any] = mixed.astype(values.dtype)
    return cells


def _step(value: int, white: int) -> int:
    return min((2 * value * (_STEPS - 1) + white) // (2 * white), _STEPS - 1)


def _level(step: int, white: int) -> int:
    return step * white // (_STEPS - 1)


def _with_rim(edges: Edges, full: int, end: int) -> Edges:
    """The edges with one more before and after them, unless the image ends there."""
    rim = max(full // _RIM, _MIN_RIM)
    return np.unique(np.concatenate([[max(edges[0] - rim, 0)], edges, [min(edges[-1] + rim, end)]]))


def _shade(v: _Floats, u: _Floats) -> _Integers:
    """The light and shade of cells at these places of a mask, from -1 to 1 down and across."""
    down, across = (np.clip((places + 1) * SCENE_CELLS // 2, 0, SCENE_CELLS - 1).astype(int) for places in (v, u))
    shade: _Integers = _SHADE[down][:, across]
    return shade


def _places(edges: Edges, start: int, end: int) -> _Floats:
    """Where the middles of cells are: -1 at the mask's start, 1 at its end."""
    places: _Floats = (edges[1:] + edges[:-1] - start - end) / (end - start)
    return places


def _weights(v: _Floats, y: _Floats, u: _Floats, x: _Floats) -> _Integers:
    """How much each cell of the surroundings ``[y, x]`` counts in each cell of the face ``[v, u]``.

    In whole numbers; what they come from is exactly rounded by IEEE 754.
    """
    squares = np.add.outer((v[:, np.newaxis] - y) ** 2, (u[:, np.newaxis] - x) ** 2)  # [v, y, u, x]
    weights = (1024 / np.sqrt(squares + _NEAREST)).astype(np.int64)
    return weights.transpose(0, 2, 1, 3).reshape(len(v) * len(u), -1)
