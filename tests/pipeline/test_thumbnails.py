"""Small pictures of images of any shape, and of parts of them anywhere."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from faceveil.pipeline.thumbnails import Region, draw_thumbnail, region_around
from faceveil.transforms.quarantine import Quarantine, Reason
from tests.conftest import noise_image


def encoded(pixels: np.ndarray, image_format: str) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, image_format)
    return file.getvalue()


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(st.integers(1, 900), st.integers(1, 900)),
    st.tuples(*[st.floats(-50, 950, width=32)] * 2),
    st.floats(0, 300, width=32),
    st.sampled_from(["PNG", "JPEG"]),
)
def test_any_part_of_any_image_has_one(
    size: tuple[int, int], corner: tuple[float, float], side: float, image_format: str
) -> None:
    width, height = size
    data = encoded(noise_image(height, width), image_format)
    whole = draw_thumbnail(data, 120).rgb
    assert max(whole.shape[:2]) == min(120, max(width, height))
    x, y = min(corner[0], width), min(corner[1], height)
    region = region_around(np.array([x, y, x + side, y + side], np.float32), width, height, 60)
    assert 0 <= region.left < region.right <= width
    assert 0 <= region.top < region.bottom <= height
    assert max(draw_thumbnail(data, 120, region).rgb.shape[:2]) == 120


def test_a_part_is_what_is_there() -> None:
    pixels = np.zeros((300, 400, 3), np.uint8)
    pixels[100:200, 150:250] = 255
    assert draw_thumbnail(encoded(pixels, "PNG"), 200, Region(150, 100, 250, 200)).rgb.min() == 255
    assert draw_thumbnail(encoded(pixels, "PNG"), 200, Region(0, 0, 150, 300)).rgb.max() == 0


def test_what_would_take_much_memory_has_none() -> None:
    pixels = np.zeros((8000, 6000, 3), np.uint8)
    with pytest.raises(Quarantine) as refused:
        draw_thumbnail(encoded(pixels, "PNG"), 400)
    assert refused.value.reason is Reason.TOO_LARGE
    # A JPEG is decoded at a reduced size.
    assert draw_thumbnail(encoded(pixels, "JPEG"), 400).rgb.shape == (400, 300, 3)
