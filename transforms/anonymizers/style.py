"""How strongly and in what shape faces are anonymized."""

from __future__ import annotations

from dataclasses import dataclass, field

from faceveil.transforms.anonymizers.geometry import MaskGeometry

SCENE = 1.0
"""The strength at which nothing but a few bits of a face goes into its fill."""


@dataclass(frozen=True)
class Style:
    """The settings all methods share.

    Attributes:
        geometry: the masks' shape.
        strength: for blur and pixelate. At 1 they draw from what surrounds the face and a few bits of it. Below 1 it
            is the side of a cell relative to the mask's rectangle, and they draw from the cells' averages, which tell
            faces apart; at 0.2 there are 5 x 5. Above 0, at most 1.

    Raises:
        ValueError: on a value out of range.
    """

    geometry: MaskGeometry = field(default_factory=MaskGeometry)
    strength: float = SCENE

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise ValueError(f"strength is {self.strength}; it must be above 0 and at most 1")
