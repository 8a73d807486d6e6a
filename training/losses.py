"""What is minimized: the focal loss of scores, and how far boxes are from those of the faces."""

from __future__ import annotations

from typing import Any

from faceveil.training.anchors import BACKGROUND, IGNORED, MAX_LOG
from faceveil.training.model import keras

_ALPHA, _GAMMA = 0.25, 1.5
"""As EfficientDet has them (https://arxiv.org/abs/1911.09070, section 5.1)."""

_EPSILON = 1e-7


def focal_loss(meant: Any, logits: Any) -> Any:
    """The focal loss of a batch, a share for every anchor that stands for a face.

    Lin et al., "Focal Loss for Dense Object Detection", 2017, https://arxiv.org/abs/1708.02002, (5).

    Args:
        meant: float32 ``[B, A, 1]``: what ``assign`` says of each anchor.
        logits: float32 ``[B, A, classes]``, scores before their sigmoid.

    Returns:
        float32, a scalar.
    """
    ops = keras.ops
    labels = ops.arange(1, logits.shape[-1] + 1, dtype=meant.dtype)
    wanted = ops.cast(ops.equal(meant, labels), logits.dtype)
    entropy = ops.binary_crossentropy(wanted, logits, from_logits=True)
    scores = ops.sigmoid(logits)
    missed = wanted * (1 - scores) + (1 - wanted) * scores
    weight = wanted * _ALPHA + (1 - wanted) * (1 - _ALPHA)
    counted = ops.cast(ops.not_equal(meant, IGNORED), logits.dtype)
    return ops.sum(counted * weight * missed**_GAMMA * entropy) / _faces(meant)


def box_loss(target: Any, boxes: Any) -> Any:
    """The mean over all anchors that stand for a face of 1 - GIoU with its box.

    Rezatofighi et al., "Generalized Intersection over Union", 2019, https://arxiv.org/abs/1902.09630. Seen from an
    anchor both boxes are stretched alike, which changes no ratio of areas.

    Args:
        target: float32 ``[B, A, 5]``: what ``assign`` says of each anchor, and the box, as ``encode_boxes`` has it.
        boxes: float32 ``[B, A, 4]``, likewise.

    Returns:
        float32, a scalar.
    """
    ops = keras.ops
    meant = target[..., 0]
    (low, high), (face_low, face_high) = _corners(boxes), _corners(target[..., 1:])
    area, face_area = _area(high - low), _area(face_high - face_low)
    intersection = _area(ops.relu(ops.minimum(high, face_high) - ops.maximum(low, face_low)))
    union = area + face_area - intersection
    hull = _area(ops.maximum(high, face_high) - ops.minimum(low, face_low))
    giou = intersection / (union + _EPSILON) - (hull - union) / (hull + _EPSILON)
    found = ops.cast(ops.greater(meant, BACKGROUND), boxes.dtype)
    return ops.sum(found * (1 - giou)) / _faces(meant)


def _area(sides: Any) -> Any:
    # TensorFlow's gradient of `prod` takes several times as long.
    return sides[..., 0] * sides[..., 1]


def _corners(encoded: Any) -> tuple[Any, Any]:
    half = keras.ops.exp(keras.ops.clip(encoded[..., 2:], -MAX_LOG, MAX_LOG)) / 2
    return encoded[..., :2] - half, encoded[..., :2] + half


def _faces(meant: Any) -> Any:
    """How many anchors stand for a face, at least 1."""
    return keras.ops.maximum(keras.ops.sum(keras.ops.cast(keras.ops.greater(meant, BACKGROUND), "float32")), 1.0)
