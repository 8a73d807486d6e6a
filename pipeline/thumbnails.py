"""Small pictures of anonymized images, whole or a part of them, and the outlines of masks on them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from PIL import Image

from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.anonymizers.masks import mask_extent
from faceveil.transforms.arrays import RGB, FloatArray
from faceveil.transforms.codecs import decode_for_detection, probe
from faceveil.transforms.faces import Faces
from faceveil.transforms.quarantine import Quarantine, Reason

_MAX_PIXELS = 40_000_000
"""Larger images are not decoded for a small picture."""


class Region(NamedTuple):
    """A part of an upright image, in whole pixels; ends exclusive."""

    left: int
    top: int
    right: int
    bottom: int


class Outline(NamedTuple):
    """Where a mask lies on a small picture, in its pixels: its rectangle, and the face's score."""

    left: float
    top: float
    right: float
    bottom: float
    score: float


@dataclass(frozen=True)
class Thumbnail:
    """A small picture of a part of an image.

    Attributes:
        rgb: uint8 ``[H, W, 3]``.
        region: the part, in pixels of the upright image.
    """

    rgb: RGB
    region: Region

    def outlines(self, faces: Faces, geometry: MaskGeometry) -> Iterator[Outline]:
        """The masks of those faces that it shows."""
        height, width = self.rgb.shape[:2]
        left, top, right, bottom = self.region
        across, down = width / (right - left), height / (bottom - top)
        for box, score in zip(faces.boxes, faces.scores, strict=True):
            mask = mask_extent(box, geometry)
            if mask.right > left and mask.left < right and mask.bottom > top and mask.top < bottom:
                yield Outline(
                    *((mask.left - left) * across, (mask.top - top) * down),
                    *((mask.right - left) * across, (mask.bottom - top) * down, float(score)),
                )


def draw_thumbnail(data: bytes, long_side: int, region: Region | None = None) -> Thumbnail:
    """A small picture of an image.

    Args:
        data: the compressed image.
        long_side: of the picture, in pixels; an image that is smaller stays as large as it is, a part is enlarged.
        region: the part of the upright image that is shown; None for all of it.

    Raises:
        Quarantine: the image cannot be decoded, or is too large for that.
    """
    info = probe(data)
    width, height = info.upright_width, info.upright_height
    shown = region or Region(0, 0, width, height)
    shown_side = max(shown.right - shown.left, shown.bottom - shown.top)
    side = long_side if region else min(long_side, shown_side)
    needed = min(max(width, height), math.ceil(max(width, height) * side / shown_side))
    # JPEGs alone are decoded at a reduced size, up to twice what is needed.
    reduced = min(1.0, 2 * needed / max(width, height)) if info.format == "jpeg" else 1.0
    if width * height * reduced**2 > _MAX_PIXELS:
        raise Quarantine(Reason.TOO_LARGE, f"{width} x {height} px are too many for a small picture")
    rgb, _ = next(iter(decode_for_detection(data, info, needed).renderings()))
    # It may have been decoded at a reduced size. Nothing but the part is copied, whatever surrounds it.
    across, down = rgb.shape[1] / width, rgb.shape[0] / height
    left, top, right, bottom = shown.left * across, shown.top * down, shown.right * across, shown.bottom * down
    x, y = math.floor(left), math.floor(top)
    part = Image.fromarray(np.ascontiguousarray(rgb[y : math.ceil(bottom), x : math.ceil(right)]))
    # No rounding may lead beyond it.
    box = left - x, top - y, min(right - x, part.width), min(bottom - y, part.height)
    scale = side / shown_side
    size = max(1, round((shown.right - shown.left) * scale)), max(1, round((shown.bottom - shown.top) * scale))
    return Thumbnail(np.asarray(part.resize(size, Image.Resampling.BICUBIC, box)), shown)


def region_around(box: FloatArray, width: int, height: int, least: int) -> Region:
    """A square part of an image around a face, with what surrounds it; cut to the image.

    Args:
        box: x0, y0, x1, y1 in pixels of the upright image.
        width: of that, in pixels.
        height: of the same.
        least: the side of the part at least, in pixels.

    Example usage::

        >>> region_around(np.array([40, 40, 50, 60], np.float32), 200, 90, least=80)
        Region(left=5, top=10, right=85, bottom=90)
    """
    x0, y0, x1, y1 = (float(side) for side in box)
    side = math.ceil(max(least, _SURROUNDINGS * max(x1 - x0, y1 - y0)))
    left, right = _span((x0 + x1) / 2, side, width)
    top, bottom = _span((y0 + y1) / 2, side, height)
    return Region(left, top, right, bottom)


_SURROUNDINGS = 4
"""How many times larger than a face its surroundings are."""


def _span(centre: float, side: int, length: int) -> tuple[int, int]:
    side = min(side, length)
    start = min(max(round(centre - side / 2), 0), length - side)
    return start, start + side
