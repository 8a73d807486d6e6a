"""The faces found in one image, as every detector returns them and every anonymizer takes them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.arrays import BoolMask, FloatArray


@dataclass(frozen=True)
class Faces:
    """The faces of one image, best score first.

    Attributes:
        boxes: float32 ``[N, 4]``, x0, y0, x1, y1 in pixels of the upright image; may reach beyond it.
        scores: float32 ``[N]``, 0 to 1.
        keypoints: float32 ``[N, K, 2]``, x, y in pixels of the upright image, or None where the detector has
            none. The first two are the eyes: the one on the image's left, then the one on its right.

    Example usage::

        >>> len(Faces.none())
        0
    """

    boxes: FloatArray
    scores: FloatArray
    keypoints: FloatArray | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, chosen: NDArray[np.intp] | BoolMask) -> Faces:
        """Some of the faces, by their indices or by a mask over all."""
        keypoints = None if self.keypoints is None else self.keypoints[chosen]
        return Faces(self.boxes[chosen], self.scores[chosen], keypoints)

    @classmethod
    def none(cls) -> Faces:
        """No faces at all."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
