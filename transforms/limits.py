"""How much one image may cost."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What an image may cost at most; one that would cost more is quarantined.

    Attributes:
        max_pixels: width times height, by its header.
        max_image_bytes: of the image file, or of the Example that holds the image.
        image_timeout: seconds that one step of the work on it may take.
    """

    max_pixels: int = 150_000_000
    max_image_bytes: int = 256 * 2**20
    image_timeout: float = 300
