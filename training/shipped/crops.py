"""Crops of portraits as a generator will meet faces: small, blurred, turned, badly lit, at edges, partly hidden."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from faceveil.training.shipped.portraits import SIDE, Portraits
from faceveil.transforms.anonymizers.geometry import MaskGeometry, Shape
from faceveil.transforms.anonymizers.masks import scale_box
from faceveil.transforms.arrays import Affine, BoolMask, FloatArray
from faceveil.transforms.generators.geometry import crop_affine

_BORDER = 96
_SMALLEST, _LARGEST = 10, 96
"""The heights of the faces' boxes that are imitated, in pixels."""

_MONOCHROME, _TINT = 0.08, 0.2
"""The share of photos in black and white, and of their tints (of half of them, as in sepia) the channels' gammas."""


@dataclass(frozen=True)
class Crops:
    """A batch of crops of side S.

    Attributes:
        images: float32 ``[B, S, S, 3]`` RGB from -1 to 1, the face included.
        faces: float32 ``[B, S, S, 1]``: 1 where the face's mask is.
        unknown: float32 ``[B, S, S, 1]``: 1 there and where other things hide the surroundings.
        keypoints: float32 ``[B, K, 2]``, x, y in pixels of the crop, NaN where missing.
    """

    images: FloatArray
    faces: FloatArray
    unknown: FloatArray
    keypoints: FloatArray


def draw_crops(
    portraits: Portraits,
    size: int,
    count: int,
    random: np.random.Generator,
    *,
    plain: bool = False,
    in_order: bool = False,
    probabilities: NDArray[np.float64] | None = None,
) -> Crops:
    """Draws portraits and how each is seen.

    Args:
        portraits: to draw from.
        size: of the crops' sides.
        count: how many.
        random: decides.
        plain: upright and sharp, with synthesize's default mask, as measures want them, and in order.
        in_order: portraits are taken from the first on.
        probabilities: ``[N]``, of each portrait to be drawn; all alike if None.
    """
    number = len(portraits.images)
    chosen = np.arange(count) if plain or in_order else random.choice(number, count, p=probabilities)
    drawn = [
        (_plain_crop if plain else _draw_crop)(
            portraits.images[i], portraits.boxes[i], portraits.keypoints[i], size, random
        )
        for i in chosen
    ]
    images, faces, unknown, keypoints = zip(*drawn, strict=True)
    return Crops(
        np.stack(images).astype(np.float32) / 127.5 - 1,
        np.stack(faces)[..., np.newaxis].astype(np.float32),
        np.stack(unknown)[..., np.newaxis].astype(np.float32),
        np.stack(keypoints).astype(np.float32),
    )


_Drawn = tuple[NDArray[np.uint8], BoolMask, BoolMask, NDArray[np.float64]]


def _tilt(keypoints: FloatArray) -> float:
    across, down = (keypoints[1] - keypoints[0]).tolist()
    return math.atan2(down, across)


def _plain_crop(
    image: NDArray[np.uint8],
    box: FloatArray,
    keypoints: FloatArray,
    size: int,
    random: np.random.Generator,  # noqa: ARG001
) -> _Drawn:
    geometry = MaskGeometry(shape="box")
    affine = crop_affine(box, _tilt(keypoints), geometry, size)
    crop = _warp(_extended(image), affine, size)
    face = _mask(box, geometry, affine, 0.0, size)
    return crop, face, face, _transformed(keypoints, affine)


def _draw_crop(
    image: NDArray[np.uint8],
    box: FloatArray,
    keypoints: FloatArray,
    size: int,
    random: np.random.Generator,
) -> _Drawn:
    if random.random() < 0.5:
        image, box, keypoints = _flipped(image, box, keypoints)
    box_seen = _shaken(box, random)
    # A tenth has no keypoints and lies as it lies; the others are upright but for the error of the detector.
    blind = random.random() < 0.1
    tilt = _tilt(keypoints) + random.normal(0, 0.25 if blind else 0.05)
    geometry = _draw_geometry(random)
    affine = crop_affine(box_seen, tilt, geometry, size)
    affine = _distorted(affine, size, random)
    crop = _warp(_extended(image), affine, size)
    face = _mask(box_seen, geometry, affine, random.normal(0, 0.2), size)
    points = _transformed(keypoints, affine) + random.normal(0, 0.012 * size, keypoints.shape)
    points[np.full(len(points), blind) | (random.random(len(points)) < 0.02)] = math.nan
    crop = _recoloured(crop, random)
    if random.random() < 0.6:
        height = math.exp(random.uniform(math.log(_SMALLEST), math.log(_LARGEST)))
        crop = _seen_small(crop, height / ((box[3] - box[1]) * _scale(affine)), random)
    unknown = face | _hidden(size, random) if random.random() < 0.3 else face
    return crop, face, unknown, points


def _flipped(
    image: NDArray[np.uint8], box: FloatArray, keypoints: FloatArray
) -> tuple[NDArray[np.uint8], FloatArray, FloatArray]:
    mirrored = keypoints[[1, 0, 2, 4, 3]] * np.array([-1, 1], np.float32) + np.array([SIDE, 0], np.float32)
    return image[:, ::-1], np.array([SIDE - box[2], box[1], SIDE - box[0], box[3]], np.float32), mirrored


def _shaken(box: FloatArray, random: np.random.Generator) -> FloatArray:
    """The box as another detector, or a smaller image, would have it."""
    size = box[2:] - box[:2]
    centre = (box[:2] + box[2:]) / 2 + random.normal(0, 0.03, 2) * size
    size = size * np.exp(random.normal(0, 0.06, 2))
    return np.concatenate([centre - size / 2, centre + size / 2]).astype(np.float32)


def _draw_geometry(random: np.random.Generator) -> MaskGeometry:
    coverage = random.uniform(0.5, 1.0) if random.random() < 0.15 else 1.0
    margin = 0.1 if random.random() < 0.5 else random.uniform(0, 0.3)
    shape: Shape = "box" if random.random() < 0.8 else "ellipse"
    return MaskGeometry(coverage, margin, shape)


def _distorted(affine: Affine, size: int, random: np.random.Generator) -> Affine:
    """Sheared and stretched a little about the crop's centre, as turned heads and cheap lenses do."""
    stretch = np.exp(random.normal(0, 0.05, 2))
    shear = random.normal(0, 0.06)
    linear = np.array([[stretch[0], shear], [0, stretch[1]]])
    centre = np.full(2, size / 2)
    turned: Affine = linear @ affine
    turned[:, 2] += centre - linear @ centre
    return turned


def _extended(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Background goes on above and beside a portrait; below, where a mirror would show the mouth, its last row."""
    wider = cv2.copyMakeBorder(image, _BORDER, 0, _BORDER, _BORDER, cv2.BORDER_REFLECT_101)
    return np.asarray(cv2.copyMakeBorder(wider, 0, _BORDER, 0, 0, cv2.BORDER_REPLICATE), np.uint8)


def _warp(extended: NDArray[np.uint8], affine: Affine, size: int) -> NDArray[np.uint8]:
    """The crop, drawn at twice its size and averaged."""
    twice = 2 * affine
    # OpenCV counts from pixels' centres, and the portrait lies within its border.
    twice[:, 2] += twice[:, :2] @ np.full(2, 0.5 - _BORDER) - 0.5
    large = cv2.warpAffine(
        extended, twice, (2 * size, 2 * size), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(cv2.resize(large, (size, size), interpolation=cv2.INTER_AREA), np.uint8)


def _transformed(points: FloatArray, affine: Affine) -> NDArray[np.float64]:
    moved: NDArray[np.float64] = points @ affine[:, :2].T + affine[:, 2]
    return moved


def _mask(box: FloatArray, geometry: MaskGeometry, affine: Affine, turn: float, size: int) -> BoolMask:
    """Which of the crop's pixels the face's mask holds; `turn`, in radians, is the head's in the image."""
    x, y, half_width, half_height = scale_box(box, geometry.margin)
    centres = np.arange(size) + 0.5
    grid = np.stack(np.meshgrid(centres, centres), -1)
    places = (grid - affine[:, 2]) @ np.linalg.inv(affine[:, :2]).T - (x, y)
    cos, sin = math.cos(turn), math.sin(turn)
    across = (cos * places[..., 0] + sin * places[..., 1]) / half_width
    down = (cos * places[..., 1] - sin * places[..., 0]) / half_height
    if geometry.shape == "ellipse":
        inside = across**2 + down**2 <= 2
    else:
        inside = (np.abs(across) <= 1) & (np.abs(down) <= 1)
    if geometry.coverage < 1:
        inside &= down <= 2 * geometry.coverage - 1
    held: BoolMask = inside
    return held


def _recoloured(crop: NDArray[np.uint8], random: np.random.Generator) -> NDArray[np.uint8]:
    """Other light and film: gains of the channels, brightness, contrast, saturation, gamma, tinted black and white."""
    values = crop.astype(np.float32) / 255
    if random.random() < 0.8:
        values = values ** math.exp(random.normal(0, 0.2))
        values = values * np.exp(random.normal(0, 0.06, 3)) * math.exp(random.normal(0, 0.15))
    is_monochrome = random.random() < _MONOCHROME
    saturation = 0.0 if is_monochrome else math.exp(random.normal(0, 0.25))
    grey = values.mean(axis=2, keepdims=True)
    values = grey + (values - grey) * saturation
    if is_monochrome and random.random() < 0.5:
        values = values ** np.exp(random.normal(0, _TINT, 3))
    middle = values.mean()
    values = middle + (values - middle) * math.exp(random.normal(0, 0.12))
    coloured: NDArray[np.uint8] = (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
    return coloured


def _scale(affine: Affine) -> float:
    return math.sqrt(abs(float(np.linalg.det(affine[:, :2]))))


def _seen_small(crop: NDArray[np.uint8], scale: float, random: np.random.Generator) -> NDArray[np.uint8]:
    """The crop as if taken from an image that shows it at `scale` of its size, with that image's compression."""
    size = len(crop)
    side = max(8, round(size * min(scale, 1.0)))
    small = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
    if random.random() < 0.4:
        quality = int(random.integers(40, 95))
        small = cv2.imdecode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR)
    return np.asarray(cv2.resize(small, (size, size), interpolation=cv2.INTER_LINEAR), np.uint8)


def _hidden(size: int, random: np.random.Generator) -> BoolMask:
    """The image's edge, or another face's mask."""
    rows, columns = np.mgrid[:size, :size] + 0.5
    angle = random.uniform(0, 2 * math.pi)
    away = (columns - size / 2) * math.cos(angle) + (rows - size / 2) * math.sin(angle)
    if random.random() < 0.5:
        beyond: BoolMask = away > random.uniform(0.2, 0.5) * size
        return beyond
    x, y = size / 2 + random.uniform(0.4, 0.7) * size * np.array([math.cos(angle), math.sin(angle)])
    half_width = random.uniform(0.1, 0.3) * size
    inside: BoolMask = ((columns - x) / half_width) ** 2 + ((rows - y) / (1.3 * half_width)) ** 2 < 1
    return inside
