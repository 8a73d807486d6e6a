import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.anonymizers.geometry import MaskGeometry, Shape
from faceveil.transforms.anonymizers.masks import face_mask
from faceveil.transforms.anonymizers.style import Style

coordinates = st.floats(-60, 120, width=32)
sides = st.one_of(st.floats(0, 90, width=32), st.floats(0, 2, width=32))
geometries = st.builds(
    MaskGeometry,
    coverage=st.one_of(st.just(1.0), st.floats(0.05, 1)),
    margin=st.floats(0, 1),
    shape=st.sampled_from(["ellipse", "box"]),
)


@st.composite
def boxes(draw: st.DrawFn) -> np.ndarray:
    x, y = draw(coordinates), draw(coordinates)
    return np.array([x, y, x + draw(sides), y + draw(sides)], np.float32)


def whole_mask(box: np.ndarray, geometry: MaskGeometry, height: int, width: int) -> np.ndarray:
    rectangle, mask = face_mask(box, geometry, height, width)
    whole = np.zeros((height, width), bool)
    whole[rectangle] = mask
    return whole


@given(box=boxes(), geometry=geometries, height=st.integers(1, 70), width=st.integers(1, 70))
def test_every_pixel_that_the_scaled_and_cut_box_touches_is_masked(
    box: np.ndarray, geometry: MaskGeometry, height: int, width: int
) -> None:
    x0, y0, x1, y1 = box.astype(float)
    half_width, half_height = (x1 - x0) * (1 + geometry.margin) / 2, (y1 - y0) * (1 + geometry.margin) / 2
    x, y = (x0 + x1) / 2, (y0 + y1) / 2
    top, left = y - half_height, x - half_width
    bottom, right = top + 2 * half_height * geometry.coverage, x + half_width
    columns, rows = np.arange(width), np.arange(height)[:, np.newaxis]
    nearly = 1e-6  # a pixel touched by less than this is beyond float's precision
    touched = (columns + 1 > left + nearly) & (columns < right - nearly)
    touched = touched & (rows + 1 > top + nearly) & (rows < bottom - nearly)
    assert not (touched & ~whole_mask(box, geometry, height, width)).any()


@given(box=boxes(), geometry=geometries, height=st.integers(1, 70), width=st.integers(1, 70))
def test_rectangle_is_within_the_image_and_of_the_mask_s_shape(
    box: np.ndarray, geometry: MaskGeometry, height: int, width: int
) -> None:
    (rows, columns), mask = face_mask(box, geometry, height, width)
    assert 0 <= rows.start <= rows.stop <= height
    assert 0 <= columns.start <= columns.stop <= width
    assert mask.shape == (rows.stop - rows.start, columns.stop - columns.start)


@given(box=boxes(), geometry=geometries)
def test_a_mask_in_a_larger_image_is_clipped_not_moved(box: np.ndarray, geometry: MaskGeometry) -> None:
    large = whole_mask(box, geometry, 90, 90)
    np.testing.assert_array_equal(whole_mask(box, geometry, 40, 50), large[:40, :50])


def test_box_covers_exactly_the_pixels_touched() -> None:
    geometry = MaskGeometry(margin=0, shape="box")
    (rows, columns), _ = face_mask(np.array([2.5, 3, 5, 6.01], np.float32), geometry, 20, 20)
    assert (rows, columns) == (slice(3, 7), slice(2, 5))


def test_coverage_cuts_at_the_same_line_in_both_shapes() -> None:
    box = np.array([20, 20, 60, 120], np.float32)
    for shape in ("ellipse", "box"):
        (rows, _), mask = face_mask(box, MaskGeometry(0.7, 0, shape), 200, 200)
        assert rows.stop == 90
        assert mask[-1].any()


def test_ellipse_is_round_and_goes_through_the_corners() -> None:
    rectangle, mask = face_mask(np.array([40, 40, 60, 60], np.float32), MaskGeometry(margin=0), 100, 100)
    radius = 10 * math.sqrt(2)
    assert rectangle[0] == rectangle[1] == slice(math.floor(50 - radius), math.ceil(50 + radius))
    assert not mask[0, 0]
    assert math.pi * radius**2 <= mask.sum() <= math.pi * (radius + 1.5) ** 2
    np.testing.assert_array_equal(mask, mask[::-1, ::-1])
    np.testing.assert_array_equal(mask, mask.T)


def test_a_box_outside_the_image_masks_nothing() -> None:
    _, mask = face_mask(np.array([200, 200, 220, 230], np.float32), MaskGeometry(), 100, 100)
    assert mask.size == 0


@pytest.mark.parametrize("box", [(0, 0, math.nan, 1), (0, 0, math.inf, 1), (5, 0, 4, 1)])
def test_an_improper_box_is_an_error_that_names_it(box: tuple[float, float, float, float]) -> None:
    with pytest.raises(ValueError, match="no proper box: x0 = "):
        face_mask(np.array(box, np.float32), MaskGeometry(), 10, 10)


@pytest.mark.parametrize("wrong", [{"coverage": 0}, {"coverage": 1.1}, {"margin": -0.1}, {"shape": "star"}])
def test_geometry_names_the_wrong_setting(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} is .*; it must be"):
        MaskGeometry(**wrong)


@pytest.mark.parametrize("strength", [0, 1.5, math.nan])
def test_style_names_the_wrong_strength(strength: float) -> None:
    with pytest.raises(ValueError, match=r"strength is .*; it must be"):
        Style(strength=strength)


@pytest.mark.parametrize("shape", ["box", "ellipse"])
@pytest.mark.parametrize("margin", [0, 0.15])
@pytest.mark.parametrize("coverage", [1, 0.5])
@pytest.mark.parametrize(
    ("box", "pixel"),
    [
        ((5, 5, 5, 5), (5, 5)),
        ((5.5, 5.5, 5.5, 5.5), (5, 5)),
        ((5, 2, 5, 8), (4, 5)),
        ((2, 5, 8, 5), (5, 4)),
        ((0, 0, 0, 0), (0, 0)),
    ],
)
def test_a_box_without_area_still_masks_a_pixel(
    shape: Shape,
    margin: float,
    coverage: float,
    box: tuple[float, float, float, float],
    pixel: tuple[int, int],
) -> None:
    mask = whole_mask(np.array(box, np.float32), MaskGeometry(coverage, margin, shape), 10, 10)
    assert mask[pixel]


@pytest.mark.parametrize("box", [(2, -30, 8, -20), (2, 40, 8, 50), (-30, 2, -20, 8), (40, 2, 50, 8)])
def test_a_face_beside_the_image_masks_nothing_and_has_an_empty_rectangle(
    box: tuple[float, float, float, float],
) -> None:
    (rows, columns), mask = face_mask(np.array(box, np.float32), MaskGeometry(), 10, 10)
    assert 0 <= rows.start <= rows.stop <= 10
    assert 0 <= columns.start <= columns.stop <= 10
    assert mask.size == 0
    assert mask.shape == (rows.stop - rows.start, columns.stop - columns.start)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"coverage": 0.0}, "coverage is 0.0; it must be above 0 and at most 1"),
        ({"coverage": -0.5}, "coverage is -0.5"),
        ({"coverage": 1.5}, "coverage is 1.5"),
        ({"margin": -0.1}, "margin is -0.1; it must be 0 or more"),
        ({"margin": float("inf")}, "margin is inf"),
        ({"shape": "star"}, "shape is 'star'"),
    ],
)
def test_masks_of_no_size_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        MaskGeometry(**wrong)
