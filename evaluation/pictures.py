"""Faces with what surrounds them, and other pictures of the same: another take, a frame, a copy."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from faceveil.transforms.arrays import RGB, FloatArray
from faceveil.transforms.faces import Faces


@dataclass(frozen=True)
class FacePicture:
    """A face and what is around it.

    Attributes:
        image: uint8 ``[H, W, 3]`` RGB.
        faces: all faces in it, in its pixels; the first is the one that it is about.
    """

    image: RGB
    faces: Faces

    @property
    def box(self) -> FloatArray:
        """Of the face that it is about: ``[4]``, x0, y0, x1, y1."""
        box: FloatArray = self.faces.boxes[0]
        return box


@dataclass(frozen=True)
class Change:
    """By how much two pictures of a face differ.

    Attributes:
        place: most shift and change of size, of the box's sides.
        angle: most turn, in degrees.
        light: most change of light, as a logarithm.
        balance: the same for each channel.
        noise: standard deviation, in grey levels.
    """

    place: float
    angle: float
    light: float
    balance: float
    noise: float = 0


TAKE = Change(place=0.06, angle=6, light=0.3, balance=0.1)
"""Another photo of the same moment."""
FRAME = Change(place=0.03, angle=2, light=0.1, balance=0.02, noise=4)
"""Another frame of a video."""


def changed(image: RGB, box: FloatArray, change: Change, random: np.random.Generator) -> RGB:
    """Another picture of the face in a box, which stays where it was.

    Args:
        image: uint8 ``[H, W, 3]``.
        box: ``[4]``, x0, y0, x1, y1 in pixels.
        change: by how much they may differ.
        random: decides by how much they do.
    """
    (x, y), (width, height) = (box[:2] + box[2:]) / 2, box[2:] - box[:2]
    turn, size, right, down = random.uniform(-1, 1, 4)
    affine = cv2.getRotationMatrix2D((float(x), float(y)), change.angle * turn, 1 + change.place * size)
    affine[:, 2] += change.place * right * width, change.place * down * height
    moved = cv2.warpAffine(image, affine, image.shape[1::-1], borderMode=cv2.BORDER_REPLICATE).astype(np.float32)
    light = np.exp(random.uniform(-change.light, change.light) + random.uniform(-change.balance, change.balance, 3))
    lit = moved * light.astype(np.float32)
    lit += np.float32(change.noise) * random.standard_normal(lit.shape, np.float32)
    return np.asarray(np.clip(np.rint(lit), 0, 255), np.uint8)


def cut_out(image: RGB, faces: Faces, number: int, around: float, largest_side: int) -> FacePicture:
    """One face of a photo with its surroundings, reduced if it is large.

    Args:
        image: uint8 ``[H, W, 3]``, the photo.
        faces: in it.
        number: which of them; it comes first in the picture, the others after it in their order.
        around: how much of its surroundings, in sides of its box.
        largest_side: pixels that the box is reduced to.
    """
    box = faces.boxes[number]
    sides = box[2:] - box[:2]
    start = np.maximum(box[:2] - around * sides, 0).astype(int)
    end = np.maximum(box[2:] + around * sides, start + 1).astype(int)
    part = image[start[1] : end[1], start[0] : end[0]]
    scale = min(largest_side / float(sides.max()), 1.0)
    small = cv2.resize(part, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else part
    scales = _ratio(small, part)
    order = np.array([number, *(other for other in range(len(faces)) if other != number)])
    moved = _moved(faces.take(order), start.astype(np.float32), scales)
    return FacePicture(np.ascontiguousarray(small), moved)


def copied(picture: FacePicture, scale: float, quality: int) -> FacePicture:
    """A copy of a picture as it is passed on: smaller, and as a JPEG.

    Args:
        picture: the original.
        scale: of its sides.
        quality: the JPEG's, 1 to 100.
    """
    small = cv2.resize(picture.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    _, data = cv2.imencode(".jpg", small[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    image = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR_RGB), np.uint8)
    return FacePicture(image, _moved(picture.faces, np.zeros(2, np.float32), _ratio(image, picture.image)))


def _ratio(image: RGB, original: RGB) -> FloatArray:
    """How much larger an image is, in x and y."""
    ratio: FloatArray = np.divide(image.shape[1::-1], original.shape[1::-1]).astype(np.float32)
    return ratio


def _moved(faces: Faces, shift: FloatArray, scales: FloatArray) -> Faces:
    """Faces in a part of their image that begins at ``shift`` ``[2]`` and is then scaled by ``scales`` ``[2]``."""
    keypoints: FloatArray | None = None if faces.keypoints is None else (faces.keypoints - shift) * scales
    return Faces((faces.boxes - np.tile(shift, 2)) * np.tile(scales, 2), faces.scores, keypoints)
