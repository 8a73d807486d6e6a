"""Running detectors of ONNX files: views are brought to the size that one takes, and what it finds back into them."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from faceveil.transforms.arrays import RGB
from faceveil.transforms.detectors.candidates import Candidates
from faceveil.transforms.detectors.contract import senseless
from faceveil.transforms.detectors.onnx_layouts import Reading
from faceveil.transforms.detectors.onnx_outputs import read_outputs
from faceveil.transforms.detectors.views import resize
from faceveil.transforms.models.engines import Engine

VIEW_MULTIPLE = 32
"""Of the sides of views."""


@dataclass(frozen=True)
class _Placed:
    """An image in a model's input.

    Attributes:
        pixels: uint8 ``[H, W, 3]``, as the model takes it.
        left: pixels before the image.
        top: pixels above it.
        width: of the image in pixels of the input.
        height: of the image.
    """

    pixels: RGB
    left: int
    top: int
    width: int
    height: int


class OnnxDetector:
    """A loaded detector of an ONNX file. ``run`` may be called from several threads at once.

    Attributes:
        engine: what runs it.
        reading: how images are shown to it, and what it returns.
        takes_batches: never; a batch runs image by image.
    """

    takes_batches = False

    def __init__(self, engine: Engine, reading: Reading) -> None:
        self.engine = engine
        self.reading = reading
        self._input = engine.signature.inputs[0].names[0]
        self._multiple = max(VIEW_MULTIPLE, *reading.strides, 0)

    @property
    def side(self) -> int | None:
        """The longest side in pixels at which it sees an image; None for any."""
        return max(self.reading.size) if self.reading.size else None

    @property
    def stretches(self) -> bool:
        """Whether it sees every image at one size, however small a view is."""
        return self.reading.size is not None and self.reading.fit == "stretch"

    def run(self, batch: RGB, min_score: float = 0.0) -> list[Candidates]:
        """The candidates of each image of a batch ``[B, H, W, 3]``, RGB, that have at least this score.

        Raises:
            ModelError: the outputs are none of its layout, or hold no such values.
        """
        return [self._run(image, min_score) for image in batch]

    def _run(self, image: RGB, min_score: float) -> Candidates:
        placed = _place(image, self.reading, self._multiple)
        size = placed.pixels.shape[0], placed.pixels.shape[1]
        pixels = placed.pixels
        if self.reading.channels == "BGR":
            pixels = cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR)
        if "N" in self.reading.axes:
            pixels = pixels[np.newaxis]
        found = self.engine.run(
            {self._input: pixels}, lambda outputs: read_outputs(self.reading, outputs, size, min_score)
        )
        return _in_image(found, placed)


def _place(image: RGB, reading: Reading, multiple: int) -> _Placed:
    """Brings an image to the size that a model takes; where it takes any, to sides that it can halve.

    On a canvas images are reduced if need be, never enlarged: a small view shows large faces small.
    """
    height, width = image.shape[:2]
    target = reading.size or tuple(-(-side // multiple) * multiple for side in (height, width))
    if (height, width) == target:
        return _Placed(image, 0, 0, width, height)
    if reading.size and reading.fit == "stretch":
        return _Placed(resize(image, target[1], target[0]), 0, 0, target[1], target[0])
    share = min(1.0, target[0] / height, target[1] / width)
    if share < 1:
        width, height = max(1, round(width * share)), max(1, round(height * share))
        image = resize(image, width, height)
    corner = reading.fit == "letterbox-corner" or not reading.size
    left, top = (0, 0) if corner else ((target[1] - width) // 2, (target[0] - height) // 2)
    canvas = np.full((*target, 3), reading.pad, np.uint8)
    canvas[top : top + height, left : left + width] = image
    return _Placed(canvas, left, top, width, height)


def _in_image(found: Candidates, placed: _Placed) -> Candidates:
    """Candidates of an input as those of the image in it; what lies wholly beside the image goes."""
    rows, columns = placed.pixels.shape[:2]
    if (rows, columns) == (placed.height, placed.width):
        return found
    extent, corner = np.array([rows, columns], np.float32), np.array([placed.top, placed.left], np.float32)
    side = np.array([placed.height, placed.width], np.float32)
    boxes = (found.boxes * np.tile(extent, 2) - np.tile(corner, 2)) / np.tile(side, 2)
    low, high = boxes[:, :2], boxes[:, 2:]
    # What is nowhere in the input stays, so that it is noticed.
    nowhere = senseless(found.boxes)
    shows = ((np.minimum(high, 1) > np.maximum(low, 0)).all(axis=1)) | nowhere
    boxes = np.where(nowhere[:, None], found.boxes, np.clip(boxes, 0, 1))
    keypoints = None if found.keypoints is None else ((found.keypoints * extent - corner) / side)[shows]
    classes = None if found.classes is None else found.classes[shows]
    return Candidates(boxes[shows].astype(np.float32), found.scores[shows], classes, keypoints)
