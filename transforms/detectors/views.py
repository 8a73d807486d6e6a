"""Views: the parts and sizes of an image that a detector is shown, so that small faces are not too small for it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from faceveil.transforms.arrays import RGB, BoolMask, FloatArray
from faceveil.transforms.detectors.candidates import Candidates
from faceveil.transforms.detectors.quality import Quality
from faceveil.transforms.faces import Faces

_SIDE_MULTIPLE = 32
"""The sides of what a model sees are multiples of this, as feature pyramids with a stride of 32 need it."""

_OVERLAP = 0.25
"""Of a tile's side: a face up to this size is whole in one tile at least; larger ones are seen by the whole view."""

_LARGE_FACE = 32
"""Pixels of a view. Faces of that side and more count in smaller views, which see others worse and invent some. Faces
of that side in the first view do not count in the larger scales, which show nothing more of them and invent some."""

_BORDER = 2.0
"""Pixels of the view: a box that ends so near to a cut is cut itself."""


@dataclass(frozen=True)
class Window:
    """What one view shows, and how.

    Attributes:
        x0: left edge in the upright image, in pixels.
        y0: upper edge.
        x1: right edge.
        y1: lower edge.
        width: of the view, in pixels, before it is turned.
        height: of the view.
        mirrored: whether left and right are exchanged.
        turns: quarter turns counter-clockwise, after mirroring.
        min_face: share of the window's longer side that a face must have to count.
        max_face: share of it from which on a face does not count.
    """

    x0: int
    y0: int
    x1: int
    y1: int
    width: int
    height: int
    mirrored: bool = False
    turns: int = 0
    min_face: float = 0.0
    max_face: float = math.inf

    def counts(self, sides: FloatArray) -> BoolMask:
        """Which faces are of a size to count, by their longer sides ``[N]`` in pixels of the image."""
        share = sides / max(self.x1 - self.x0, self.y1 - self.y0)
        of_a_size: BoolMask = (share >= self.min_face) & (share < self.max_face)
        return of_a_size


@dataclass(frozen=True)
class View:
    """A window with its pixels.

    Attributes:
        pixels: uint8 ``[H, W, 3]`` RGB, at the model's size.
        window: where it lies.
        image_width: the full upright image's width in pixels.
        image_height: its height in pixels.
        quality: by which of a detector's qualities it was planned.
    """

    pixels: RGB
    window: Window
    image_width: int
    image_height: int
    quality: int = 0


@dataclass(frozen=True)
class ShownImage:
    """An image, or one rendering of it, as a detector is shown it.

    Attributes:
        views: what it sees at once.
        source: uint8 ``[h, w, 3]``, upright, of which faces are cut out to be looked at again; None where none are.
        other: what another detector is shown of it, if one has a say.
    """

    views: tuple[View, ...]
    source: RGB | None = None
    other: ShownImage | None = None

    @property
    def nbytes(self) -> int:
        """Bytes held."""
        held = sum(view.pixels.nbytes for view in self.views) + (0 if self.source is None else self.source.nbytes)
        return held + (self.other.nbytes if self.other else 0)


def plan_windows(width: int, height: int, quality: Quality) -> Iterator[Window]:
    """The windows through which an image is shown, the whole image first.

    Args:
        width: of the upright image, in pixels.
        height: of the upright image, in pixels.
        quality: how closely it is looked at.

    Example usage::

        >>> [(w.width, w.height) for w in plan_windows(4000, 3000, Quality(1024))]
        [(1024, 768)]
        >>> len(list(plan_windows(4000, 3000, Quality(1024, reduce_at_most=2))))
        7
    """
    shown = []
    for scale in quality.scales:
        size = _view_size(width, height, quality.detect_size * scale / max(width, height))
        max_face = _LARGE_FACE / quality.detect_size if scale > 1 else math.inf
        shown.append(Window(0, 0, width, height, *size, max_face=max_face))
    for side in quality.smaller:
        if side < quality.detect_size:
            size = _view_size(width, height, side / max(width, height))
            shown.append(Window(0, 0, width, height, *size, min_face=_LARGE_FACE / side))
    if _needs_tiles(width, height, quality):
        shown += _tiles(width, height, quality)
    for window in shown:
        yield window
        if quality.mirrored:
            yield replace(window, mirrored=True)
    if quality.turned:
        size = _view_size(width, height, quality.detect_size * quality.turned / max(width, height))
        for turns in (1, 2, 3):
            yield Window(0, 0, width, height, *size, turns=turns)


def side_needed(width: int, height: int, quality: Quality) -> int:
    """The long side in pixels that the largest view or the tiles need of an upright image.

    Example usage::

        >>> side_needed(4000, 3000, Quality(1024)), side_needed(4000, 3000, Quality(1024, reduce_at_most=2))
        (1024, 2000)
    """
    if quality.reduce_at_most and _needs_tiles(width, height, quality):
        return round(max(width, height) / quality.reduce_at_most)
    return round(quality.detect_size * max(*quality.scales, quality.turned or 0))


def _needs_tiles(width: int, height: int, quality: Quality) -> bool:
    largest = quality.detect_size * max(quality.scales)
    return quality.reduce_at_most is not None and max(width, height) > largest * quality.reduce_at_most


def _tiles(width: int, height: int, quality: Quality) -> list[Window]:
    assert quality.reduce_at_most
    side = round(quality.detect_size * quality.reduce_at_most)
    columns, rows = _spread(width, side), _spread(height, side)
    return [
        Window(x0, y0, x1, y1, *_view_size(x1 - x0, y1 - y0, 1 / quality.reduce_at_most))
        for y0, y1 in rows
        for x0, x1 in columns
    ]


def _spread(length: int, side: int) -> list[tuple[int, int]]:
    """The fewest stretches of one size that cover a length and overlap by enough.

    Example usage::

        >>> _spread(3000, 2000)
        [(0, 2000), (1000, 3000)]
        >>> _spread(1500, 2000)
        [(0, 1500)]
    """
    if length <= side:
        return [(0, length)]
    count = 1 - int(-(length - side) // (side * (1 - _OVERLAP)))
    starts = [round(number * (length - side) / (count - 1)) for number in range(count)]
    return [(start, start + side) for start in starts]


def _view_size(width: float, height: float, scale: float) -> tuple[int, int]:
    """Width and height of a view, the nearest multiples of 32.

    On WIDER FACE at 1024 px that covers as many faces as padding does and invents a tenth fewer; going to the next
    larger multiple covers no more and takes 3 % longer.
    """
    across, down = (max(1, round(side * scale / _SIDE_MULTIPLE)) for side in (width, height))
    return across * _SIDE_MULTIPLE, down * _SIDE_MULTIPLE


def take_view(rgb: RGB, window: Window, width: int, height: int) -> View:
    """Cuts a view out of an image and resizes it, enlarging small ones.

    Enlarging is bilinear: bicubic covers 0.1 % more faces of WIDER FACE and invents 8 % more.

    Args:
        rgb: uint8 ``[h, w, 3]``, upright; may be a reduced decode of the image.
        window: where to look.
        width: the full upright image's width in pixels.
        height: its height in pixels.
    """
    down, across = rgb.shape[0] / height, rgb.shape[1] / width
    part = rgb[
        round(window.y0 * down) : max(round(window.y1 * down), round(window.y0 * down) + 1),
        round(window.x0 * across) : max(round(window.x1 * across), round(window.x0 * across) + 1),
    ]
    size = window.width, window.height
    if (part.shape[1], part.shape[0]) != size:
        part = resize(part, *size)
    if window.mirrored:
        part = part[:, ::-1]
    return View(np.ascontiguousarray(np.rot90(part, window.turns)), window, width, height)


def resize(part: RGB, width: int, height: int) -> RGB:
    """Resizes by halves as far as they go, then linearly: no pixel is missed, in a third of the time of averaging."""
    while part.shape[0] >= 2 * height and part.shape[1] >= 2 * width:
        even = part[: part.shape[0] // 2 * 2, : part.shape[1] // 2 * 2]
        part = cv2.resize(even, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    resized: RGB = cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)
    return resized


def faces_in_image(candidates: Candidates, view: View) -> Faces:
    """A view's candidates as faces in pixels of the upright image, cut to it, still overlapping.

    Boxes without an area go, those too small or too large to count in this view, and those that end where a tile was
    cut: another view shows what they are part of.

    Args:
        candidates: of the view, all of their boxes finite.
        view: the view.
    """
    window = view.window
    corners = _to_window(candidates.boxes.reshape(-1, 2, 2)[..., ::-1], window)
    low, high = corners.min(axis=1), corners.max(axis=1)
    size = np.array([window.x1 - window.x0, window.y1 - window.y0], np.float32)
    origin = np.array([window.x0, window.y0], np.float32)
    extent = np.array([view.image_width, view.image_height], np.float32)
    border = _BORDER / np.array([window.width, window.height], np.float32)
    is_cut = (low <= border) & (origin > 0) | (high >= 1 - border) & (origin + size < extent)
    boxes = np.concatenate([np.clip(edge * size + origin, 0, extent) for edge in (low, high)], axis=1)
    given = candidates.boxes
    has_area = (given[:, 2] > given[:, 0]) & (given[:, 3] > given[:, 1])
    counts = window.counts(((high - low) * size).max(axis=1, initial=0))
    kept = has_area & counts & ~is_cut.any(axis=1) & (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    keypoints = None
    if candidates.keypoints is not None:
        keypoints = _to_window(candidates.keypoints[..., ::-1], window) * size + origin
        if window.mirrored and keypoints.shape[1] >= 2:
            keypoints = keypoints[:, [1, 0, *range(2, keypoints.shape[1])]]  # the eyes, named by the side they are on
        keypoints = keypoints[kept]
    return Faces(boxes[kept], candidates.scores[kept], keypoints)


def _to_window(points: FloatArray, window: Window) -> FloatArray:
    """Points x, y ``[..., 2]`` of the view in the window, both 0 to 1: turned and mirrored back."""
    x, y = points[..., 0], points[..., 1]
    for _ in range(window.turns):
        x, y = 1 - y, x
    if window.mirrored:
        x = 1 - x
    return np.stack([x, y], axis=-1)
