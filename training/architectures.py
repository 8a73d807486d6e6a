"""The sizes in which EfficientDet comes: a number scales resolution, backbone, feature pyramid and heads at once."""

from __future__ import annotations

from dataclasses import dataclass

SIZE_STEP = 32
"""Inputs are squares of a multiple of this many pixels."""


@dataclass(frozen=True)
class Architecture:
    """What a detector is built by.

    Attributes:
        backbone: the name of a model of ``keras.applications``.
        size: of the square input, in pixels.
        channels: of the BiFPN and of the heads.
        repeats: layers of the BiFPN.
        head_layers: convolutions of each head before its output.
        min_level: the finest level that has anchors; level L has a cell for every 2**L pixels.
        max_level: the coarsest one.
    """

    backbone: str
    size: int
    channels: int
    repeats: int
    head_layers: int
    min_level: int = 3
    max_level: int = 7

    @property
    def levels(self) -> range:
        """From the finest to the coarsest."""
        return range(self.min_level, self.max_level + 1)


ARCHITECTURES = {
    # For CPUs. Faces are small in it, so it has a finer level.
    "small": Architecture("MobileNetV3Small", 320, 40, 2, 2, min_level=2),
    # Tan, Pang, Le, "EfficientDet: Scalable and Efficient Object Detection", 2020, https://arxiv.org/abs/1911.09070,
    # table 1.
    "d0": Architecture("EfficientNetB0", 512, 64, 3, 3),
    "d1": Architecture("EfficientNetB1", 640, 88, 4, 3),
    "d2": Architecture("EfficientNetB2", 768, 112, 5, 3),
    "d3": Architecture("EfficientNetB3", 896, 160, 6, 4),
    "d4": Architecture("EfficientNetB4", 1024, 224, 7, 4),
    "d5": Architecture("EfficientNetB5", 1280, 288, 7, 4),
    "d6": Architecture("EfficientNetB6", 1280, 384, 8, 5),
    "d7": Architecture("EfficientNetB6", 1536, 384, 8, 5),
}
