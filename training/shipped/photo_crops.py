"""Crops of annotated photos, enlarged and spoilt, and what a detector that sees faces as points should say of them."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from faceveil.training.shipped.coverings import Pixels, Points, cover_by_block, cover_by_mask
from faceveil.transforms.arrays import BoolMask, FloatArray
from faceveil.transforms.detectors.centerface import STRIDE

SIDE = 384
"""Of a crop, in pixels."""

_MIN_FACE = 6
"""Pixels of a crop: smaller faces count neither as faces nor as background."""

_IOU = 0.7
"""Boxes moved by a heat map's radius still overlap by this much (Law and Deng, "CornerNet", ECCV 2018,
https://arxiv.org/abs/1808.01244)."""


@dataclass(frozen=True)
class Photo:
    """An annotated photo.

    Attributes:
        pixels: uint8 ``[H, W, 3]`` RGB.
        boxes: float64 ``[N, 4]``, x0, y0, x1, y1 in pixels.
        keypoints: float64 ``[N, 5, 2]``, x, y: eyes, nose, corners of the mouth; NaN where not annotated.
        ignored: bool ``[N]``: which faces count neither as faces nor as background.
    """

    pixels: Pixels
    boxes: Points
    keypoints: Points
    ignored: BoolMask


@dataclass(frozen=True)
class Crop:
    """A crop with its targets, on the map of h by w cells of the detector.

    Attributes:
        clean: uint8 ``[SIDE, SIDE, 3]`` RGB.
        spoilt: the same with faces covered and the picture degraded.
        heat: float32 ``[h, w]``: 1 at a face's centre, less around it.
        counted: float32 ``[h, w]``: 0 where nobody knows what should be there.
        centres: float32 ``[h, w]``: 1 in the cells of the faces' centres.
        boxes: float32 ``[h, w, 4]``, there: log of height and width in cells, offset y, x from the cell's middle.
        keypoints: float32 ``[h, w, 10]``, there: y, x of each, in heights and widths from the box's corner.
        has_keypoints: float32 ``[h, w]``: 1 where they are known.
    """

    clean: Pixels
    spoilt: Pixels
    heat: FloatArray
    counted: FloatArray
    centres: FloatArray
    boxes: FloatArray
    keypoints: FloatArray
    has_keypoints: FloatArray


def load_photos(annotations: str | Path) -> list[Photo]:
    """Reads photos and the ``annotations.jsonl`` that names them, relative to its folder."""
    path = Path(annotations)
    photos = []
    for line in path.read_text().splitlines():
        photo = json.loads(line)
        faces = photo["faces"]
        unknown = [[math.nan] * 2] * 5
        photos.append(
            Photo(
                np.asarray(cv2.imread(str(path.parent / photo["file"]), cv2.IMREAD_COLOR), np.uint8)[..., ::-1],
                np.array([face["box"] for face in faces], float).reshape(-1, 4),
                np.array([face.get("landmarks") or unknown for face in faces], float).reshape(-1, 5, 2),
                np.array([bool(face["invalid"]) for face in faces], bool),
            )
        )
    return photos


def draw_crop(photo: Photo, random: np.random.Generator) -> Crop:
    """Draws a part of a photo, mostly around a face that is enlarged to 12 to 180 px, and spoils it."""
    corner, scale = _draw_window(photo, random)
    side = SIDE / scale
    spoilt = _degraded(_covered(photo, random), random)
    clean, spoilt = (_enlarged(pixels, corner, scale) for pixels in (photo.pixels, spoilt))
    boxes = (photo.boxes.reshape(-1, 2, 2) - corner) * scale
    keypoints = (photo.keypoints - corner) * scale
    if random.random() < 0.5:
        clean, spoilt = clean[:, ::-1], spoilt[:, ::-1]
        boxes[..., 0] = SIDE - boxes[:, ::-1, 0]
        keypoints = keypoints[:, [1, 0, 2, 4, 3]] * (-1, 1) + (SIDE, 0)
    within = ((boxes[:, 1] > 0) & (boxes[:, 0] < side * scale)).all(axis=1)
    targets = _targets(boxes[within].reshape(-1, 4), keypoints[within], photo.ignored[within])
    return Crop(np.ascontiguousarray(clean), np.ascontiguousarray(spoilt), *targets)


def _draw_window(photo: Photo, random: np.random.Generator) -> tuple[Points, float]:
    """A crop's upper left corner x, y in pixels of the photo, and by how much it is enlarged."""
    size = np.array(photo.pixels.shape[1::-1], float)
    faces = photo.boxes[~photo.ignored]
    if len(faces) and random.random() < 0.8:
        face = faces[random.integers(len(faces))].reshape(2, 2)
        height = math.exp(random.uniform(math.log(12), math.log(180)))
        of_face = float(np.clip(height / max(1.0, (face[1] - face[0]).max()), 0.9, 5))
        # The others are as sharp as they were taken.
        scale = of_face if random.random() < 0.6 else random.uniform(0.9, 1.4)
        centre = face.mean(axis=0)
    else:
        scale, centre = math.exp(random.uniform(0, math.log(4))), random.uniform(0, size)
    side = SIDE / scale
    corner = centre - side * random.uniform(0.15, 0.85, 2)
    slack = size - side
    corner = np.where(slack > 0, np.clip(corner, 0, np.maximum(slack, 0)), slack * random.random(2))
    return corner, scale


def _covered(photo: Photo, random: np.random.Generator) -> Pixels:
    masked = 0.8 if random.random() < 0.3 else 0.12
    pixels = photo.pixels
    for box, keypoints, ignored in zip(photo.boxes, photo.keypoints, photo.ignored, strict=True):
        if ignored or box[3] - box[1] < _MIN_FACE:
            continue
        if random.random() < masked:
            pixels = cover_by_mask(pixels, box, None if np.isnan(keypoints).any() else keypoints, random)
        elif random.random() < 0.06:
            pixels = cover_by_block(pixels, box, random)
    return pixels


def _degraded(pixels: Pixels, random: np.random.Generator) -> Pixels:
    """Reduced and enlarged again, compressed, in other light, darkened, tinted, grey, noisy: each now and then."""
    height, width = pixels.shape[:2]
    if random.random() < 0.25:
        reduced = [max(8, int(side * random.uniform(0.5, 0.95))) for side in (width, height)]
        small = cv2.resize(pixels, reduced, interpolation=cv2.INTER_AREA)
        pixels = np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
    if random.random() < 0.4:
        stored = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(30, 92))])[1]
        pixels = np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR), np.uint8)
    values = pixels.astype(np.float32) / 255
    if random.random() < 0.35:
        values = values ** math.exp(random.normal(0, 0.35)) * math.exp(random.normal(0, 0.3))
    if random.random() < 0.08:
        values *= math.exp(random.uniform(math.log(0.1), math.log(0.6)))
    if random.random() < 0.3:
        values = values * np.exp(random.normal(0, 0.1, 3))
    if random.random() < 0.12:
        values = np.repeat(values.mean(axis=2, keepdims=True), 3, axis=2)
    if random.random() < 0.15:
        values = values + random.normal(0, random.uniform(0.005, 0.04), values.shape)
    degraded: Pixels = (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
    return degraded


def _enlarged(pixels: Pixels, corner: Points, scale: float) -> Pixels:
    # OpenCV counts from pixels' centres.
    shift = (0.5 - corner) * scale - 0.5
    affine = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    return np.asarray(cv2.warpAffine(pixels, affine, (SIDE, SIDE), flags=cv2.INTER_LINEAR), np.uint8)


def _targets(boxes: Points, keypoints: Points, ignored: BoolMask) -> tuple[FloatArray, ...]:
    """The targets that `Crop` names, from ``heat`` on, for faces in pixels of the crop."""
    cells = SIDE // STRIDE
    heat, centres, has_keypoints = (np.zeros((cells, cells), np.float32) for _ in range(3))
    counted = np.ones((cells, cells), np.float32)
    at_centre, points = np.zeros((cells, cells, 4), np.float32), np.zeros((cells, cells, 10), np.float32)
    low, high = boxes[:, 1::-1] / STRIDE, boxes[:, :1:-1] / STRIDE  # y, x in cells
    middle, size = (low + high) / 2, high - low
    known = ~ignored & (size[:, 0] * STRIDE >= _MIN_FACE) & ((middle >= 0) & (middle < cells)).all(axis=1)
    for y0, x0, y1, x1 in np.concatenate([low, high], axis=1)[~known].astype(int):
        counted[max(0, y0 - 1) : max(0, y1 + 2), max(0, x0 - 1) : max(0, x1 + 2)] = 0
    rows, columns = np.mgrid[:cells, :cells]
    # Large faces first: where a small one has the same centre, it counts.
    for i in sorted(np.flatnonzero(known), key=lambda i: -size[i].prod()):
        cell = middle[i].astype(int)
        y, x = cell.tolist()
        radius = _radius(*size[i].tolist())
        near = (abs(rows - y) <= radius) & (abs(columns - x) <= radius)
        bump = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * ((2 * radius + 1) / 6) ** 2))
        heat = np.where(near, np.maximum(heat, bump), heat).astype(np.float32)
        counted[near] = centres[y, x] = 1
        at_centre[y, x] = *np.log(size[i]), *(middle[i] - cell - 0.5)
        has_keypoints[y, x] = not np.isnan(keypoints[i]).any()
        points[y, x] = np.nan_to_num((keypoints[i, :, ::-1] / STRIDE - low[i]) / size[i]).ravel()
    return heat, counted, centres, at_centre, points, has_keypoints


def _radius(height: float, width: float) -> int:
    """How far in cells a box's centre, or its corners, may be off: the least of three cases of CornerNet's."""
    total, area = height + width, height * width
    cases = (
        (1, total, area * (1 - _IOU) / (1 + _IOU)),
        (4, 2 * total, (1 - _IOU) * area),
        (4 * _IOU, -2 * _IOU * total, (_IOU - 1) * area),
    )
    roots = [(b + (-1 if b > 0 else 1) * math.sqrt(b * b - 4 * a * c)) / (2 * a) for a, b, c in cases]
    return max(0, int(min(abs(root) for root in roots)))
