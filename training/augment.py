"""Training images: photos cut, scaled, mirrored, put together and in other colours, with their faces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.arrays import RGB, BoolMask, FloatArray

_SCALE = (0.5, 2.0)
"""Of a photo that just fits in, drawn as evenly in its logarithm."""

_MOSAIC = 0.3
"""Share of images that are made of four photos, as in Bochkovskiy et al., "YOLOv4", 2020,
https://arxiv.org/abs/2004.10934, section 3.3: they have more, and smaller, faces and other surroundings."""

_GREY = 0.1
_MIN_SHOWN = 0.4
"""Share of a face's area that has to be in the image for it to be one; with less it counts neither way."""

_MIN_SIDE = 3.0
"""In pixels of the input, likewise."""

_LUMINANCE = (0.299, 0.587, 0.114)


@dataclass(frozen=True)
class TrainingImage:
    """One square image and its faces.

    Attributes:
        pixels: uint8 ``[S, S, 3]``, RGB; black where there is no photo.
        boxes: float32 ``[N, 4]``, x0, y0, x1, y1 in its pixels, all with an area.
        labels: int64 ``[N]``, from 1.
        ignored: bool ``[N]``: which of the faces count neither way.
    """

    pixels: RGB
    boxes: FloatArray
    labels: NDArray[np.int64]
    ignored: BoolMask


def draw_image(draw_photo: Callable[[], TrainingImage], size: int, random: np.random.Generator) -> TrainingImage:
    """An image to train on, made of one photo or of four.

    Args:
        draw_photo: another photo, of any size, at each call.
        size: of the image, in pixels.
        random: decides everything.
    """
    x, y = (round(cut * size) for cut in random.uniform(0.3, 0.7, 2))
    whole, quarters = (0, 0, size, size), ((0, 0, x, y), (x, 0, size, y), (0, y, x, size), (x, y, size, size))
    canvas = np.zeros((size, size, 3), np.uint8)
    parts = []
    for x0, y0, x1, y1 in quarters if random.random() < _MOSAIC else (whole,):
        part = cut_window(draw_photo(), x1 - x0, y1 - y0, random)
        canvas[y0:y1, x0:x1] = part.pixels
        parts.append((part.boxes + np.array([x0, y0, x0, y0], np.float32), part.labels, part.ignored))
    boxes, labels, ignored = (np.concatenate(each) for each in zip(*parts, strict=True))
    if random.random() < 0.5:
        canvas, boxes = mirror(canvas, boxes)
    return TrainingImage(recolour(canvas, random), boxes, labels, ignored)


def cut_window(photo: TrainingImage, width: int, height: int, random: np.random.Generator) -> TrainingImage:
    """A part of a photo, scaled at random, somewhere in a rectangle of this size."""
    scale = max(width, height) / max(photo.pixels.shape[:2]) * np.exp(random.uniform(*np.log(_SCALE)))
    x, from_width, at_x, to_width = _cut(photo.pixels.shape[1], width, scale, random)
    y, from_height, at_y, to_height = _cut(photo.pixels.shape[0], height, scale, random)
    cut = np.ascontiguousarray(photo.pixels[y : y + from_height, x : x + from_width])
    shrinks = to_width < from_width
    shown = cv2.resize(cut, (to_width, to_height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    canvas = np.zeros((height, width, 3), np.uint8)
    canvas[at_y : at_y + to_height, at_x : at_x + to_width] = shown
    scales = np.array([to_width / from_width, to_height / from_height], np.float32)
    moved = (photo.boxes.reshape(-1, 2, 2) - np.array([x, y], np.float32)) * scales + np.array([at_x, at_y], np.float32)
    low = np.array([at_x, at_y], np.float32)
    clipped = np.clip(moved, low, low + np.array([to_width, to_height], np.float32)).reshape(-1, 4)
    whole, sides = (moved[:, 1] - moved[:, 0]).prod(axis=1), clipped[:, 2:] - clipped[:, :2]
    seen = (sides > 0).all(axis=1)
    spoilt = (sides.prod(axis=1) < _MIN_SHOWN * whole) | (sides.min(axis=1) < _MIN_SIDE)
    return TrainingImage(canvas, clipped[seen], photo.labels[seen], (photo.ignored | spoilt)[seen])


def _cut(side: int, room: int, scale: float, random: np.random.Generator) -> tuple[int, int, int, int]:
    """Along one axis: the first pixel that is shown, how many are, where they go, and how many they become."""
    shown = min(side, max(1, int(np.ceil(room / scale))))
    first = int(random.integers(side - shown + 1))
    becomes = min(room, max(1, round(shown * scale)))
    return first, shown, int(random.integers(room - becomes + 1)), becomes


def mirror(pixels: RGB, boxes: FloatArray) -> tuple[RGB, FloatArray]:
    """An image ``[H, W, 3]`` and its boxes ``[N, 4]``, left and right changed.

    Example usage::

        >>> mirror(np.zeros((4, 10, 3), np.uint8), np.array([[1, 0, 3, 4]], np.float32))[1].tolist()
        [[7.0, 0.0, 9.0, 4.0]]
    """
    width = pixels.shape[1]
    x0, y0, x1, y1 = boxes.T
    return np.ascontiguousarray(pixels[:, ::-1]), np.stack([width - x1, y0, width - x0, y1], axis=1)


def recolour(pixels: RGB, random: np.random.Generator) -> RGB:
    """An image in other light: brightness, contrast, saturation and the colour of the light, some without colour."""
    saturation = 0.0 if random.random() < _GREY else random.uniform(0.5, 1.5)
    contrast, brightness = random.uniform(0.6, 1.4), random.uniform(-40, 40)
    light = random.uniform(0.85, 1.15, 3)
    mixed = saturation * np.eye(3) + (1 - saturation) * np.tile(_LUMINANCE, (3, 1))
    matrix = contrast * light[:, None] * mixed
    offset = np.full((3, 1), 128 * (1 - contrast) + brightness)
    changed: RGB = cv2.transform(pixels, np.concatenate([matrix, offset], axis=1))
    return changed


def fit_into(pixels: RGB, size: int) -> tuple[RGB, float]:
    """A photo in the upper left of a black square of ``size`` pixels, and the scale by which it came there."""
    scale = size / max(pixels.shape[:2])
    height, width = (max(1, round(side * scale)) for side in pixels.shape[:2])
    canvas = np.zeros((size, size, 3), np.uint8)
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    canvas[:height, :width] = cv2.resize(np.ascontiguousarray(pixels), (width, height), interpolation=interpolation)
    return canvas, scale
