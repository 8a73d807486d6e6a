"""The shape of a mask relative to a face's box."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

Shape = Literal["ellipse", "box"]


@dataclass(frozen=True)
class MaskGeometry:
    """The shape of a mask relative to the detector's box.

    Attributes:
        coverage: share of the scaled box's height that is masked, from the top; above 0, at most 1.
        margin: share of the box's sides by which it is enlarged about its centre; 0 or more.
        shape: "ellipse", drawn around the scaled box so that no corner of it is left bare, or "box".

    Raises:
        ValueError: on a value out of range.
    """

    coverage: float = 1.0
    margin: float = 0.1
    shape: Shape = "ellipse"

    def __post_init__(self) -> None:
        if not 0 < self.coverage <= 1:
            raise ValueError(f"coverage is {self.coverage}; it must be above 0 and at most 1")
        if not 0 <= self.margin < math.inf:
            raise ValueError(f"margin is {self.margin}; it must be 0 or more")
        if self.shape not in ("ellipse", "box"):
            raise ValueError(f"shape is {self.shape!r}; it must be 'ellipse' or 'box'")
