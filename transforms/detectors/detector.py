"""Finding the faces of images: an image becomes views, views become candidates, candidates become faces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from transforms.detectors.centerface import SIDE_MULTIPLE
from transforms.detectors.engine import Candidates, EngineName, Precision, UInt8Array, load_engine
from transforms.detectors.models import ModelError
from transforms.detectors.nms import nms
from transforms.faces import Faces

NMS_IOU = 0.3
"""Boxes that overlap by this much are one face. Chosen on 200 photos of WIDER FACE at 1024 px: from 0.25 to
0.6 the faces covered stay within 0.2 %, while the boxes an image that match none grow from 0.86 to 2.3."""

_GPU_BATCH = 16


@dataclass(frozen=True)
class DetectorConfig:
    """How faces are found.

    Attributes:
        model_dir: the SavedModel's folder.
        engine: ``auto``, ``openvino`` or ``tensorflow``.
        precision: ``auto``, ``float32`` or ``bfloat16``.
        score_threshold: candidates below it are no faces, 0 to 1.
        detect_size: the long side of what the model sees, in pixels.
        classes: the model's classes that count as faces, or None for all.
        threads: how many threads will detect at once.
    """

    model_dir: str
    engine: EngineName = "auto"
    precision: Precision = "auto"
    score_threshold: float = 0.2
    detect_size: int = 1024
    classes: tuple[int, ...] | None = None
    threads: int = 1


@dataclass(frozen=True)
class View:
    """What the model sees of an image: today the whole image, so that 0 to 1 spans its width and height.

    Attributes:
        pixels: uint8 ``[H, W, 3]`` RGB, upright, at the model's size.
        width: the full upright image's width in pixels.
        height: its height in pixels.
    """

    pixels: UInt8Array
    width: int
    height: int


class Detector:
    """Finds faces with a SavedModel. ``prepare`` and ``detect`` may be called from several threads at once.

    Example usage::

        detector = Detector(DetectorConfig(str(fetch("centerface"))))
        view = detector.prepare(rgb, width, height)
        (faces,) = detector.detect([view])

    Raises:
        ModelError: the model does not load or is no detector.
    """

    def __init__(self, config: DetectorConfig) -> None:
        self.config = config
        self.engine = load_engine(config.model_dir, config.engine, config.precision, config.threads)

    @property
    def batch_size(self) -> int:
        """How many views ``detect`` wants at once."""
        return _GPU_BATCH if self.engine.takes_batches else 1

    def prepare(self, rgb: UInt8Array, width: int, height: int) -> View:
        """Resizes an image to the model's size, enlarging small ones.

        The long side becomes ``detect_size``, and both go to the nearest multiple of 32. On WIDER FACE at 1024 px
        that covers as many faces as padding does and invents a tenth fewer; going to the next larger multiple covers
        no more and takes 3 % longer.
        Enlarging is bilinear: bicubic covers 0.1 % more faces and invents 8 % more.

        Args:
            rgb: uint8 ``[h, w, 3]``, upright; may be a reduced decode of the image.
            width: the full upright image's width in pixels.
            height: its height in pixels.
        """
        size = _input_size(width, height, self.config.detect_size)
        if (rgb.shape[1], rgb.shape[0]) != size:
            # Down to a half, linear interpolation misses no pixel, and takes a seventh of averaging's time.
            halves = size[0] * size[1] * 4 < rgb.shape[0] * rgb.shape[1]
            rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA if halves else cv2.INTER_LINEAR)
        return View(np.ascontiguousarray(rgb), width, height)

    def detect(self, views: Sequence[View]) -> list[Faces]:
        """The faces of each view, in pixels of its full upright image, cut to the image, best score first.

        Args:
            views: of one input shape, at best ``batch_size`` of them; may be empty.

        Raises:
            ModelError: the model's outputs break the detector contract, or scores or boxes are no numbers.
        """
        if not views:
            return []
        batch = np.stack([view.pixels for view in views])
        found = self.engine.run(batch, self.config.score_threshold)
        return [
            suppress_overlaps(self._faces_of(candidates, view)) for candidates, view in zip(found, views, strict=True)
        ]

    def _faces_of(self, candidates: Candidates, view: View) -> Faces:
        """The candidates that count as faces, as pixels of the view's image, still overlapping."""
        wanted = np.ones(len(candidates.scores), bool)
        if self.config.classes is not None and candidates.classes is not None:
            wanted = np.isin(candidates.classes, self.config.classes)
        extent = np.array([view.width, view.height], np.float32)
        # From y, x to x, y, and from 0 to 1 to pixels.
        corners = candidates.boxes[wanted].reshape(-1, 2, 2)[..., ::-1] * extent
        if not np.isfinite(corners).all():
            # A face was found and nobody knows where: the image must not go out.
            raise ModelError("the model returned boxes that are no numbers")
        corners = np.clip(corners, 0, extent)
        solid = (corners[:, 1] > corners[:, 0]).all(axis=1)
        keypoints = None
        if candidates.keypoints is not None:
            keypoints = candidates.keypoints[wanted][solid][..., ::-1] * extent
        return Faces(corners[solid].reshape(-1, 4), candidates.scores[wanted][solid], keypoints)


def suppress_overlaps(faces: Faces) -> Faces:
    """The best of each group of overlapping faces, best score first."""
    kept = nms(faces.boxes, faces.scores, NMS_IOU)
    return Faces(faces.boxes[kept], faces.scores[kept], None if faces.keypoints is None else faces.keypoints[kept])


def _input_size(width: int, height: int, detect_size: int) -> tuple[int, int]:
    """Width and height of what the model sees of an image.

    Example usage::

        >>> _input_size(4000, 3000, 1024)
        (1024, 768)
        >>> _input_size(320, 200, 1000)
        (992, 640)
    """
    scale = detect_size / max(width, height)
    across, down = (max(1, round(side * scale / SIDE_MULTIPLE)) for side in (width, height))
    return across * SIDE_MULTIPLE, down * SIDE_MULTIPLE
