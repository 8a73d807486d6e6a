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


_BYTES_PER_PIXEL = 80
_MIN_BYTES = 128 * 2**20


def memory_for(pixels: int, data_bytes: int) -> int:
    """The memory in bytes that the work on an image takes at most, generously: that much must be free for it to count
    as broken.

    Measured: 7 to 22 bytes a pixel for most formats, 44 for WebP without loss, and of the address space 53 for HEIC and
    69 for AVIF, whose encoders start threads.
    """
    return _MIN_BYTES + _BYTES_PER_PIXEL * pixels + 4 * data_bytes
