"""What the boxes of a detector have to be: the part of its contract that shapes and types do not show.

``detection_boxes`` are ymin, xmin, ymax, xmax as shares of the image's sides. A model that returns pixels, or the
larger side first, finds faces and says that they are nowhere: nothing would be masked, unnoticed.
"""

from __future__ import annotations

import numpy as np

from faceveil.transforms.arrays import BoolMask, FloatArray
from faceveil.transforms.errors import ModelError

CONTRACT = "the contract is ymin, xmin, ymax, xmax, from 0 to 1"

_BEYOND = 1.0
"""How far a box may reach beyond the image, as a share of its side: a face at the edge is larger than what of it shows,
and not every model cuts its boxes to the image. Pixels are further out."""


def senseless(boxes: FloatArray) -> BoolMask:
    """Which boxes ``[N, 4]`` are nowhere in the image: no numbers, turned over, too far outside, or without an area.

    A box that a model has cut to nothing at the image's edge is in the image.
    """
    low, high = boxes[:, :2], boxes[:, 2:]
    with np.errstate(invalid="ignore"):
        placed = (low >= -_BEYOND) & (high <= 1 + _BEYOND) & (low <= high) & (low <= 1) & (high >= 0)
        at_edge = ((low == high) & ((low <= 0) | (high >= 1))).any(axis=1)
        shows = (np.minimum(high, 1) > np.maximum(low, 0)).all(axis=1) | at_edge
    nowhere: BoolMask = ~(placed.all(axis=1) & shows)
    return nowhere


def check_boxes(boxes: FloatArray) -> None:
    """Refuses boxes of faces that are nowhere: a face was found, and the image must not go out.

    Raises:
        ModelError: one is.
    """
    wrong = senseless(boxes)
    if wrong.any():
        example = ", ".join(f"{side:g}" for side in boxes[wrong.argmax()])
        raise ModelError(f"the model returned a box ({example}) that is nowhere in the image; {CONTRACT}")
