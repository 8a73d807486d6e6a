"""What a detector returns for an image: candidates, and reading them from a model's outputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.arrays import FloatArray
from faceveil.transforms.errors import ModelError

REQUIRED = ("detection_boxes", "detection_scores", "num_detections")
OPTIONAL = ("detection_classes", "detection_keypoints")
"""Outputs that a detector has or may have."""


@dataclass(frozen=True)
class Candidates:
    """What a model returns for one image: boxes that may overlap, in any order.

    Attributes:
        boxes: float32 ``[N, 4]``: ymin, xmin, ymax, xmax, 0 to 1.
        scores: float32 ``[N]``.
        classes: int64 ``[N]``, or None where the model has none.
        keypoints: float32 ``[N, K, 2]``: y, x, 0 to 1, or None where the model has none.
    """

    boxes: FloatArray
    scores: FloatArray
    classes: NDArray[np.int64] | None = None
    keypoints: FloatArray | None = None


def read_candidates(outputs: Mapping[str, NDArray[Any]], batch: int, min_score: float) -> list[Candidates]:
    """Copies the candidates of each image out of a model's outputs, less those beyond its ``num_detections``.

    Args:
        outputs: by the contract's names.
        batch: how many images they are of.
        min_score: others are left out.

    Raises:
        ModelError: the outputs break the detector contract.
    """
    boxes, scores = outputs["detection_boxes"], outputs["detection_scores"]
    classes, keypoints = outputs.get("detection_classes"), outputs.get("detection_keypoints")
    counts = np.atleast_1d(outputs["num_detections"])
    fits = (
        counts.shape == (batch,)
        and scores.ndim == 2
        and boxes.shape == (*scores.shape, 4)
        and len(scores) == batch
        and (classes is None or classes.shape == scores.shape)
        and (keypoints is None or (keypoints.ndim == 4 and keypoints.shape[:2] == scores.shape))
    )
    if not fits:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in outputs.items())
        raise ModelError(f"the model's outputs break the detector contract for a batch of {batch}: {shapes}")
    if not all(np.issubdtype(value.dtype, np.number) for value in outputs.values()):
        kinds = ", ".join(f"{name} {value.dtype}" for name, value in outputs.items())
        raise ModelError(f"the model's outputs must be numbers: {kinds}")
    if not ((counts >= 0) & (counts <= scores.shape[1]) & (counts == np.rint(counts))).all():
        raise ModelError(f"num_detections must be counts up to {scores.shape[1]}; the model returned {counts}")
    if np.isnan(scores).any():
        raise ModelError("the model returned scores that are no numbers")
    return [
        _chosen(np.flatnonzero(scores[i, : int(counts[i])] >= min_score), i, boxes, scores, classes, keypoints)
        for i in range(batch)
    ]


def _chosen(
    chosen: NDArray[np.intp],
    image: int,
    boxes: NDArray[Any],
    scores: NDArray[Any],
    classes: NDArray[Any] | None,
    keypoints: NDArray[Any] | None,
) -> Candidates:
    return Candidates(
        boxes=boxes[image][chosen].astype(np.float32, copy=False),
        scores=scores[image][chosen].astype(np.float32, copy=False),
        classes=None if classes is None else classes[image][chosen].astype(np.int64),
        keypoints=None if keypoints is None else keypoints[image][chosen].astype(np.float32, copy=False),
    )
