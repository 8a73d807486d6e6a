"""Paints over parts of faces in photos: masks as people wear them, and other things."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.arrays import BoolMask

Pixels = NDArray[np.uint8]
Points = NDArray[np.float64]

_COLOURS = (
    *((150, 190, 215), (110, 160, 200), (200, 215, 220), (235, 235, 235), (225, 228, 230)),  # surgical
    *((25, 25, 28), (45, 45, 50), (90, 120, 90), (190, 60, 60), (60, 70, 120), (230, 200, 210)),  # of cloth
)
_OUTLINE = (
    (-0.95, 0.55),
    (-0.6, 1.0),
    (-0.25, 1.22),
    (0, 1.3),
    (0.25, 1.22),
    (0.6, 1.0),
    (0.95, 0.55),
)
"""A mask's lower edge, seen from the nose: to the right in halves of its width, down in distances of eyes and mouth."""

_SUBPIXEL_BITS = 4


def cover_by_mask(image: Pixels, box: Sequence[float], keypoints: Points | None, random: np.random.Generator) -> Pixels:
    """The photo with a mask over one face's mouth and nose, of any colour, shaded as the face is.

    Args:
        image: uint8 ``[H, W, 3]`` RGB; it stays as it is.
        box: x0, y0, x1, y1 of the face in pixels.
        keypoints: ``[5, 2]``: x, y of eyes, nose and corners of the mouth, or None: then the box tells where they are.
        random: decides.
    """
    place = _place(box, keypoints, random)
    if place is None:
        return image
    middle, across, down = place
    top = random.uniform(-0.45, 0.15)
    sides, bridge = random.uniform(0, 0.25, 2), random.uniform(0, 0.25)
    upper = ((1.0, top + sides[0]), (0.35, top - 0.05), (0, top - bridge), (-0.35, top - 0.05), (-1.0, top + sides[1]))
    outline = middle + np.array((*_OUTLINE, *upper)) @ np.stack([across, down])
    outline += random.normal(0, 0.03 * np.linalg.norm(across), outline.shape)
    low = np.maximum(np.floor(outline.min(axis=0)).astype(int) - 2, 0)
    high = np.minimum(np.ceil(outline.max(axis=0)).astype(int) + 3, image.shape[1::-1])
    if (high - low < 3).any():
        return image
    covered = np.zeros((high - low)[::-1], np.uint8)
    cv2.fillPoly(covered, [_fixed_point(outline - low)], 255, cv2.LINE_AA, _SUBPIXEL_BITS)
    if random.random() < 0.5:
        thickness = max(1, int(0.06 * np.linalg.norm(across)))
        for side in (-1, 1):
            strap = middle - low + np.array([(0.95 * side, top + 0.1), (1.35 * side, top - 0.35)]) @ [across, down]
            cv2.polylines(covered, [_fixed_point(strap)], False, 255, thickness, cv2.LINE_AA, _SUBPIXEL_BITS)
    painted = image.copy()
    region = painted[low[1] : high[1], low[0] : high[0]]
    alpha = covered[..., np.newaxis] / 255.0
    cloth = _cloth(region, covered > 127, 0.25 * float(np.linalg.norm(across)), random)
    region[:] = np.clip(region * (1 - alpha) + cloth * alpha, 0, 255).astype(np.uint8)
    return painted


def cover_by_block(image: Pixels, box: Sequence[float], random: np.random.Generator) -> Pixels:
    """The photo with a rectangle over a part of a face: of one colour, or copied from elsewhere in it."""
    x0, y0, x1, y1 = box
    width, height = (x1 - x0) * random.uniform(0.2, 0.9), (y1 - y0) * random.uniform(0.15, 0.5)
    left = x0 + random.uniform(-0.2, 1.2) * (x1 - x0) - width / 2
    top = y0 + random.uniform(0, 1.2) * (y1 - y0) - height / 2
    low = np.maximum([left, top], 0).astype(int)
    high = np.minimum([left + width, top + height], image.shape[1::-1]).astype(int)
    columns, rows = (high - low).tolist()
    if columns < 2 or rows < 2:
        return image
    painted = image.copy()
    region = painted[low[1] : high[1], low[0] : high[0]]
    if random.random() < 0.5:
        x, y = random.integers(0, np.maximum(1, image.shape[1::-1] - (high - low)))
        region[:] = image[y : y + rows, x : x + columns]
    else:
        region[:] = random.uniform(0, 255, 3)
    return painted


def _place(
    box: Sequence[float], keypoints: Points | None, random: np.random.Generator
) -> tuple[Points, Points, Points] | None:
    """A mask's middle, half its width as a vector, and one down from eyes to mouth; None where a face is too small."""
    x0, y0, x1, y1 = box
    wider = random.uniform(0.85, 1.15)
    if keypoints is None:
        middle = np.array([(x0 + x1) / 2, y0 + 0.55 * (y1 - y0)])
        return middle, np.array([0.42 * (x1 - x0) * wider, 0]), np.array([0, 0.38 * (y1 - y0)])
    eyes, nose = keypoints[:2].mean(axis=0), keypoints[2]
    down: Points = keypoints[3:].mean(axis=0) - eyes
    length = float(np.linalg.norm(down))
    if length < 2:
        return None
    right = np.array([down[1], -down[0]]) / length
    half_width = max(float(np.linalg.norm(keypoints[1] - keypoints[0])), 0.45 * length) * wider
    # Of a turned head the nose is beside the middle, and so is the mask.
    beside = 0.3 * float((nose - eyes - 0.6 * down) @ right)
    return eyes + 0.62 * down + beside * right, half_width * right, down


def _cloth(region: Pixels, covered: BoolMask, blur: float, random: np.random.Generator) -> NDArray[np.float64]:
    """A mask's colours ``[h, w, 3]``: as light as the face below it, with its shading, maybe with pleats."""
    is_usual = random.random() < 0.8
    colour = np.array(_COLOURS[random.integers(len(_COLOURS))], float) if is_usual else random.uniform(0, 255, 3)
    grey = cv2.GaussianBlur(region.mean(axis=2), (0, 0), max(1.0, blur))
    mean = float(grey[covered].mean()) if covered.any() else 128.0
    shading = np.clip(grey / max(mean, 10), 0.4, 1.6) ** random.uniform(0.5, 1.2)
    light = np.clip(mean / 140, 0.25, 1.25) * random.uniform(0.8, 1.1)
    y, x = (np.linspace(-1, 1, side) for side in region.shape[:2])
    form = 1 - 0.15 * random.random() * x**2 - 0.1 * random.random() * y[:, np.newaxis]
    if random.random() < 0.4:
        form *= 1 + random.uniform(0.02, 0.08) * np.sin(random.uniform(6, 14) * y)[:, np.newaxis]
    cloth: NDArray[np.float64] = colour * light * (shading * form)[..., np.newaxis] + random.normal(0, 2, region.shape)
    return cloth


def _fixed_point(points: Points) -> NDArray[np.int32]:
    fixed: NDArray[np.int32] = np.rint(points * 2**_SUBPIXEL_BITS).astype(np.int32)
    return fixed
