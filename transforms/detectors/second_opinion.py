"""Two detectors of different makes: a face of which neither is sure counts where both see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from faceveil.transforms.arrays import RGB
from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.detectors.merge import AVERAGED_IOU
from faceveil.transforms.detectors.nms import iou
from faceveil.transforms.detectors.views import ShownImage
from faceveil.transforms.faces import Faces
from faceveil.transforms.models.engines import Engine

RISE, LESS = 0.12, 0.1
"""What agreement adds to a score at most, and by how much the other one has to be surer. See docs/notes/verify.md."""
_LEAST = 0.05
"""Below this a detector finds a face in every corner."""


class SecondOpinion(Detector):
    """A detector whose scores rise where another one finds the same face.

    Args:
        config: its ``second_opinion`` says how the other one looks.

    Raises:
        ModelError: a model does not load or is no detector.
    """

    def __init__(self, config: DetectorConfig) -> None:
        second = config.second_opinion
        assert second is not None
        least = max(config.score_threshold - RISE, min(config.score_threshold, _LEAST))
        super().__init__(replace(config, score_threshold=least))
        self._threshold = config.score_threshold
        self._other = Detector(replace(second, threads=config.threads))

    @property
    def engines(self) -> list[Engine]:
        """What runs each model of both."""
        return [*super().engines, *self._other.engines]

    def side_needed(self, width: int, height: int) -> int:
        """See ``Detector``."""
        return max(super().side_needed(width, height), self._other.side_needed(width, height))

    def prepare(self, rgb: RGB, width: int, height: int) -> ShownImage:
        """See ``Detector``."""
        return replace(super().prepare(rgb, width, height), other=self._other.prepare(rgb, width, height))

    def detect(self, images: Sequence[ShownImage]) -> list[Faces]:
        """See ``Detector``."""
        others = self._other.detect([image.other for image in images if image.other])
        agreed = [agree(faces, other) for faces, other in zip(super().detect(images), others, strict=True)]
        return [faces.take(faces.scores >= self._threshold) for faces in agreed]


def agree(faces: Faces, others: Faces) -> Faces:
    """Faces with better scores where another detector finds them: its score less ``LESS``, but at most ``RISE`` more.

    Example usage::

        >>> boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]], np.float32)
        >>> faces = Faces(boxes, np.array([0.5, 0.25, 0.25], np.float32))
        >>> others = Faces(boxes[:2] + 1, np.array([0.25, 0.75], np.float32))
        >>> [round(score, 2) for score in agree(faces, others).scores.tolist()]
        [0.5, 0.37, 0.25]
    """
    overlap = iou(faces.boxes, others.boxes) >= AVERAGED_IOU
    confirmed = np.where(overlap, others.scores - np.float32(LESS), 0).max(axis=1, initial=0)
    scores = np.maximum(faces.scores, np.minimum(faces.scores + np.float32(RISE), confirmed)).astype(np.float32)
    raised = replace(faces, scores=scores)
    return raised.take(np.argsort(-scores, kind="stable"))
