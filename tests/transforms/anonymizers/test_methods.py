import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from faceveil.transforms.anonymizers.cells import block_averages
from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.anonymizers.masks import face_mask
from faceveil.transforms.anonymizers.methods import METHODS, painted_pixels
from faceveil.transforms.anonymizers.paint import paint
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.faces import Faces

BLACK = {1: (0,), 2: (0, 255), 3: (0, 0, 0), 4: (0, 0, 0, 255)}
averaging = pytest.mark.parametrize("method", ["blur", "pixelate"])
every_method = pytest.mark.parametrize("method", sorted(METHODS))


def noise(height: int, width: int, channels: int = 3, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(1, np.iinfo(dtype).max, (height, width, channels))
    return values.astype(dtype)


def faces_of(*boxes: tuple[float, float, float, float], eyes: list | None = None) -> Faces:
    keypoints = None if eyes is None else np.array(eyes, np.float32)
    return Faces(np.array(boxes, np.float32).reshape(-1, 4), np.ones(len(boxes), np.float32), keypoints)


BOXES = {
    "one": [(20, 15, 50, 55)],
    "overlapping": [(20, 15, 50, 55), (35, 30, 60, 70), (22, 18, 48, 50)],
    "at every edge": [(-10, 20, 8, 40), (30, -9, 50, 6), (70, 30, 95, 50), (30, 70, 50, 99)],
    "tiny": [(10.2, 10.7, 10.9, 11.3), (30, 30, 33, 34), (50, 50, 50, 50)],
    "filling the frame": [(-20, -20, 110, 110)],
    "outside": [(200, 200, 240, 260)],
    "none": [],
}


@every_method
@pytest.mark.parametrize("case", BOXES)
@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.uint8), (4, np.uint8), (1, np.uint16)])
def test_outside_the_masks_nothing_changes_and_inside_noise_goes(method, case, channels, dtype):
    values, faces, style = noise(80, 90, channels, dtype), faces_of(*BOXES[case]), Style()
    before = values.copy()
    output = METHODS[method](values, faces, style, BLACK[channels])
    inside = painted_pixels(method, faces, style, 80, 90)
    np.testing.assert_array_equal(values, before)
    assert output.dtype == values.dtype
    assert not np.shares_memory(output, values)
    np.testing.assert_array_equal(output[~inside], values[~inside])
    if method in ("solid", "bar"):
        assert (output[inside] == BLACK[channels]).all()
    elif case in ("one", "overlapping", "filling the frame"):
        assert output[inside].std() < values[inside].std() / 2
    np.testing.assert_array_equal(METHODS[method](values, faces, style, BLACK[channels]), output)


@averaging
@pytest.mark.parametrize("shape", ["ellipse", "box"])
@pytest.mark.parametrize("coverage", [1.0, 0.7])
def test_the_fill_depends_on_the_cells_averages_alone(method, shape, coverage):
    """A picture shuffled within each cell, so with the same averages, comes out the same inside the mask."""
    style = Style(MaskGeometry(coverage, 0.1, shape), strength=0.2)
    faces = faces_of((20.3, 15.1, 61.7, 66.2))
    original = noise(100, 90)
    (rows, columns), mask = face_mask(faces.boxes[0], style.geometry, 100, 90)
    shuffled, rng = original.copy(), np.random.default_rng(1)
    down, across = (np.linspace(side.start, side.stop, 6) for side in (rows, columns))
    for top, bottom in itertools.pairwise(down.astype(int)):
        for left, right in itertools.pairwise(across.astype(int)):
            # An inner part of the cell, so that it holds wherever the edges between cells are rounded to.
            inner = np.s_[top + 1 : bottom - 1, left + 1 : right - 1]
            part = shuffled[inner]
            shuffled[inner] = rng.permutation(part.reshape(-1, 3)).reshape(part.shape)
    assert (shuffled != original)[rows, columns][mask].mean() > 0.4
    of_original, of_shuffled = (
        METHODS[method](values, faces, style, BLACK[3])[rows, columns][mask] for values in (original, shuffled)
    )
    np.testing.assert_array_equal(of_original, of_shuffled)


@averaging
def test_blur_and_pixelate_stay_within_the_range_of_the_averages(method):
    values = np.full((60, 60, 1), 100, np.uint8)
    values[30:] = 200
    output = METHODS[method](values, faces_of((10, 10, 50, 50)), Style(), (0,))
    assert output.min() == 100
    assert output.max() == 200


def test_pixelate_has_at_most_k_by_k_values():
    style = Style(MaskGeometry(margin=0, shape="box"), strength=0.25)
    output = METHODS["pixelate"](noise(100, 100, 1), faces_of((10, 10, 90, 90)), style, (0,))
    assert len(np.unique(output[10:90, 10:90])) <= 16
    assert len(np.unique(output[10:30, 10:30])) == 1


def test_cells_are_never_smaller_than_four_pixels():
    style = Style(MaskGeometry(margin=0, shape="box"), strength=0.05)
    output = METHODS["pixelate"](noise(20, 20, 1, np.uint16), faces_of((4, 4, 14, 11)), style, (0,))
    assert len(np.unique(output[4:11, 4:14])) == 2  # 10 x 7 pixels: 2 x 1 cells


def test_a_face_half_outside_has_no_finer_cells():
    style = Style(MaskGeometry(margin=0, shape="box"), strength=0.25)
    output = METHODS["pixelate"](noise(100, 100, 1, np.uint16), faces_of((-40, 10, 40, 90)), style, (0,))
    assert len(np.unique(output[10:90, :40])) == 2 * 4


@every_method
@pytest.mark.parametrize("turn", [lambda v: v[::-1], lambda v: v[:, ::-1], lambda v: v.swapaxes(0, 1)])
def test_views_come_out_like_copies(method, turn):
    view = turn(noise(80, 90))
    faces = faces_of((20, 15, 50, 55), (-5, 60, 20, 85))
    on_view = METHODS[method](view, faces, Style(), BLACK[3])
    np.testing.assert_array_equal(on_view, METHODS[method](np.ascontiguousarray(view), faces, Style(), BLACK[3]))


@given(
    region=npst.arrays(
        st.sampled_from([np.uint8, np.uint16]), npst.array_shapes(min_dims=3, max_dims=3, max_side=12)
    ).filter(lambda region: region.shape[2] <= 4),
    data=st.data(),
)
def test_block_averages_are_exact(region, data):
    edges = []
    for side in region.shape[:2]:
        inner = data.draw(st.sets(st.integers(1, side - 1))) if side > 1 else set()
        edges.append(np.array(sorted({0, side} | inner)))
    averages = block_averages(region, *edges)
    for row, (top, bottom) in enumerate(itertools.pairwise(edges[0])):
        for column, (left, right) in enumerate(itertools.pairwise(edges[1])):
            block = region[top:bottom, left:right].astype(int)
            size = block.shape[0] * block.shape[1]
            expected = (2 * block.sum((0, 1)) + size) // (2 * size)  # rounded, halves up, in whole numbers
            np.testing.assert_array_equal(averages[row, column], expected)


BOX = (100, 100, 200, 230)


@pytest.mark.parametrize("angle", range(-180, 180, 30))
def test_the_bar_turns_with_the_eyes_and_hides_them(angle):
    direction = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))])
    across = np.array([-direction[1], direction[0]])
    centre = np.array([150, 160])
    eyes = [centre - 22 * direction, centre + 22 * direction]
    whole = np.full((330, 300, 1), 255, np.uint8)
    output = METHODS["bar"](whole, faces_of(BOX, eyes=[eyes]), Style(), (0,))
    for eye in eyes:  # the eye's corners and the brow, in distances between the eyes
        for along in (-12, 0, 12):
            for up in (-18, 0, 8):
                x, y = (eye + along * direction + up * across).astype(int)
                assert output[y, x] == 0
    dark = np.argwhere(output[..., 0] == 0)[:, ::-1] + 0.5 - centre
    assert np.abs(dark @ across).max() < 38  # a bar, not the whole face
    assert np.abs(dark @ direction).max() > 50


@pytest.mark.parametrize(
    "eyes",
    [
        [(np.nan, 140), (170, 140)],
        [(np.inf, 140), (170, 140)],
        [(150, 140), (150, 140)],
        [(150, 140), (152, 140)],
        [(20, 140), (170, 140)],
        [(101, 102), (199, 225)],
        [(130, 140)],
        None,
    ],
)
def test_without_plausible_eyes_the_upper_part_is_barred(eyes):
    whole = np.full((330, 300, 1), 255, np.uint8)
    faces = faces_of(BOX, eyes=None if eyes is None else [eyes])
    output = METHODS["bar"](whole, faces, Style(MaskGeometry(margin=0)), (0,))
    expected = whole.copy()
    expected[100:178, 100:200] = 0
    np.testing.assert_array_equal(output, expected)


def test_painting_on_what_opencv_would_copy_is_an_error():
    """It would leave the face as it was."""
    rows, columns = slice(0, 2), slice(0, 2)
    with pytest.raises(ValueError, match="C-contiguous"):
        paint(noise(8, 9)[:, ::-1], (rows, columns), np.ones((2, 2), bool), (0, 0, 0))
