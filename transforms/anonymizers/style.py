"""How strongly and in what shape faces are anonymized."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.anonymizers.geometry import MaskGeometry

Values = NDArray[np.uint8] | NDArray[np.uint16]


@dataclass(frozen=True)
class Style:
    """The settings all methods share.

    Attributes:
        geometry: the masks' shape.
        strength: side of one averaged cell relative to the mask's rectangle, for blur and pixelate: above 0,
            at most 1. At 0.2 a face is 5 x 5 cells.

    Raises:
        ValueError: on a value out of range.
    """

    geometry: MaskGeometry = field(default_factory=MaskGeometry)
    strength: float = 0.2

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise ValueError(f"strength is {self.strength}; it must be above 0 and at most 1")
