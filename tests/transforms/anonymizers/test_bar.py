import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.anonymizers.bar import bar_mask
from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.anonymizers.masks import face_mask

SIDE = 60
BOX = np.array([10, 10, 50, 50], np.float32)


def masked(eyes: np.ndarray | None, margin: float = 0, box: np.ndarray = BOX, side: int = SIDE) -> np.ndarray:
    whole = np.zeros((side, side), np.bool_)
    rectangle, mask = bar_mask(box, eyes, margin, side, side)
    whole[rectangle] = mask
    return whole


def upper_part(margin: float = 0) -> np.ndarray:
    whole = np.zeros((SIDE, SIDE), np.bool_)
    rectangle, mask = face_mask(BOX, MaskGeometry(0.6, margin, "box"), SIDE, SIDE)
    whole[rectangle] = mask
    return whole


def eyes_at(distance: float, angle: float, centre: tuple[float, float] = (30, 26)) -> np.ndarray:
    half = np.array([math.cos(angle), math.sin(angle)]) * distance / 2
    return np.array([centre - half, centre + half])


@given(
    angle=st.floats(0, 2 * math.pi),
    share=st.floats(0.12, 0.5),  # so that both eyes lie in the box
    x=st.floats(25, 35),
    y=st.floats(22, 34),
    margin=st.sampled_from([0, 0.15]),
)
def test_every_pixel_that_the_turned_bar_touches_is_masked(
    angle: float, share: float, x: float, y: float, margin: float
) -> None:
    """Points of the bar, as the documentation describes it, on a grid finer than pixels."""
    eyes = eyes_at(40 * share, angle, (x, y))
    along = np.array([math.cos(angle), math.sin(angle)])
    across = np.array([-along[1], along[0]])
    half = 20 * (1 + margin)
    half_length = half * (abs(along[0]) + abs(along[1]))
    half_thickness = 0.4 * half * (abs(across[0]) + abs(across[1]))
    centre = (x, y) + along * ((30 - x, 30 - y) @ along)
    lengths, widths = np.meshgrid(np.linspace(-1, 1, 300) * half_length, np.linspace(-1, 1, 150) * half_thickness)
    points = centre + lengths[..., np.newaxis] * along + widths[..., np.newaxis] * across
    columns, rows = np.floor(points - 1e-6 * np.sign(points - centre)).astype(int).reshape(-1, 2).T
    inside = (rows >= 0) & (rows < SIDE) & (columns >= 0) & (columns < SIDE)
    mask = masked(eyes, margin)
    assert mask[rows[inside], columns[inside]].all()
    # And no pixel further away than its own diagonal.
    rows, columns = np.nonzero(mask)
    offset = np.stack([columns + 0.5, rows + 0.5], axis=1) - centre
    assert (np.abs(offset @ along) <= half_length + 0.75).all()
    assert (np.abs(offset @ across) <= half_thickness + 0.75).all()


@pytest.mark.parametrize(("share", "plausible"), [(0.09, False), (0.11, True), (0.79, True), (0.81, False)])
@pytest.mark.parametrize("angle", [0, math.pi / 4, math.pi / 2, math.pi])
def test_eyes_count_from_a_tenth_to_eight_tenths_of_the_box_apart(share: float, plausible: bool, angle: float) -> None:
    mask = masked(eyes_at(40 * share, angle, (30, 30)))
    assert (mask == upper_part()).all() != plausible


def test_the_distance_of_eyes_is_by_the_square_root_of_the_area() -> None:
    """In a box of 80 x 20 px that is 40 px, wherever the eyes lie in it."""
    flat = np.array([10, 40, 90, 60], np.float32)
    near, far = (masked(eyes_at(40 * share, 0, (50, 50)), box=flat, side=100) for share in (0.78, 0.82))
    assert near[53, 50]  # the bar lies on the eye line
    assert not far[53, 50]  # the upper 0.6 ends above


@pytest.mark.parametrize(
    "eyes",
    [
        [[30, 30], [30, 30]],
        [[math.nan, 30], [40, 30]],
        [[math.inf, 30], [40, 30]],
        [[5, 30], [30, 30]],
        [[20, 30], [40, 55]],
        [[20, 30]],
        [],
    ],
)
def test_implausible_eyes_leave_the_upper_part(eyes: list[list[float]]) -> None:
    np.testing.assert_array_equal(masked(np.array(eyes, np.float64).reshape(-1, 2), 0.1), upper_part(0.1))


def test_eyes_on_one_spot_of_a_box_without_area_are_implausible() -> None:
    point = np.array([30, 30, 30, 30], np.float32)
    assert masked(np.array([[30.0, 30], [30, 30]]), box=point)[30, 30]


def test_without_eyes_the_upper_part_goes() -> None:
    np.testing.assert_array_equal(masked(None), upper_part())


def test_eyes_less_than_a_pixel_apart_turn_the_bar_of_a_tiny_face() -> None:
    box = np.array([28, 24, 32, 28], np.float32)
    turned = masked(eyes_at(0.9, math.pi / 4), box=box)
    assert (turned != masked(eyes_at(0.9, 0), box=box)).any()
