import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from faceveil.transforms.anonymizers.blocks import block_averages
from faceveil.transforms.anonymizers.geometry import MaskGeometry, Shape
from faceveil.transforms.anonymizers.masks import face_mask
from faceveil.transforms.anonymizers.methods import METHODS, painted_pixels
from faceveil.transforms.anonymizers.paint import paint
from faceveil.transforms.anonymizers.scene import FaceCode, face_code
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.faces import Faces

Box = tuple[float, float, float, float]

BLACK: dict[int, tuple[int, ...]] = {1: (0,), 2: (0, 255), 3: (0, 0, 0), 4: (0, 0, 0, 255)}
averaging = pytest.mark.parametrize("method", ["blur", "pixelate"])
every_method = pytest.mark.parametrize("method", sorted(METHODS))


def noise(height: int, width: int, channels: int = 3, dtype: type = np.uint8, seed: int = 0) -> np.ndarray:
    values = np.random.default_rng(seed).integers(1, np.iinfo(dtype).max, (height, width, channels))
    return values.astype(dtype)


def faces_of(*boxes: Box | np.ndarray, eyes: Sequence[Sequence[Any]] | None = None) -> Faces:
    keypoints = None if eyes is None else np.array(eyes, np.float32)
    return Faces(np.array(boxes, np.float32).reshape(-1, 4), np.ones(len(boxes), np.float32), keypoints)


BOXES: dict[str, list[Box]] = {
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
def test_outside_the_masks_nothing_changes_and_inside_noise_goes(
    method: str, case: str, channels: int, dtype: type[np.unsignedinteger[Any]]
) -> None:
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
    elif case in ("one", "overlapping"):
        assert output[inside].std() < values[inside].std() / 2
    np.testing.assert_array_equal(METHODS[method](values, faces, style, BLACK[channels]), output)


@averaging
@pytest.mark.parametrize("shape", ["ellipse", "box"])
@pytest.mark.parametrize("coverage", [1.0, 0.7])
def test_with_a_lower_strength_the_fill_depends_on_the_cells_averages_alone(
    method: str, shape: Shape, coverage: float
) -> None:
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
def test_with_a_lower_strength_they_stay_within_the_range_of_the_averages(method: str) -> None:
    values = np.full((60, 60, 1), 100, np.uint8)
    values[30:] = 200
    output = METHODS[method](values, faces_of((10, 10, 50, 50)), Style(strength=0.2), (0,))
    assert output.min() == 100
    assert output.max() == 200


def test_pixelate_has_at_most_k_by_k_values() -> None:
    style = Style(MaskGeometry(margin=0, shape="box"), strength=0.25)
    output = METHODS["pixelate"](noise(100, 100, 1), faces_of((10, 10, 90, 90)), style, (0,))
    assert len(np.unique(output[10:90, 10:90])) <= 16
    assert len(np.unique(output[10:30, 10:30])) == 1


def test_cells_are_never_smaller_than_four_pixels() -> None:
    style = Style(MaskGeometry(margin=0, shape="box"), strength=0.05)
    output = METHODS["pixelate"](noise(20, 20, 1, np.uint16), faces_of((4, 4, 14, 11)), style, (0,))
    assert len(np.unique(output[4:11, 4:14])) == 2  # 10 x 7 pixels: 2 x 1 cells


def test_a_face_half_outside_has_no_finer_cells() -> None:
    style = Style(MaskGeometry(margin=0, shape="box"), strength=0.25)
    output = METHODS["pixelate"](noise(100, 100, 1, np.uint16), faces_of((-40, 10, 40, 90)), style, (0,))
    assert len(np.unique(output[10:90, :40])) == 2 * 4


@averaging
@pytest.mark.parametrize("case", ["one", "overlapping", "at every edge", "filling the frame"])
@pytest.mark.parametrize("shape", ["ellipse", "box"])
@settings(max_examples=20)
@given(
    channels=st.integers(1, 4),
    dtype=st.sampled_from([np.uint8, np.uint16]),
    coverage=st.sampled_from([1.0, 0.7, 0.3]),
    seed=st.integers(0, 2**32 - 1),
    is_noise=st.booleans(),
)
def test_by_default_the_fill_depends_on_a_face_through_its_code_alone(
    method: str,
    case: str,
    shape: Shape,
    channels: int,
    dtype: type[np.unsignedinteger[Any]],
    coverage: float,
    seed: int,
    is_noise: bool,
) -> None:
    """Two pictures, the same outside all masks, any different inside: where the codes agree, so do the outputs."""
    style, faces = Style(MaskGeometry(coverage, 0.1, shape)), faces_of(*BOXES[case])
    rng = np.random.default_rng(seed)
    one = noise(80, 90, channels, dtype, seed)
    inside = painted_pixels(method, faces, style, 80, 90)
    other = one.copy()
    top = int(np.iinfo(dtype).max * (1 if is_noise else rng.uniform(0.1, 1)))
    other[inside] = rng.integers(0, top, (int(inside.sum()), channels), endpoint=True)
    outputs = [METHODS[method](values, faces, style, BLACK[channels]) for values in (one, other)]
    white = int(one[~inside].max(initial=0)) if dtype == np.uint16 else 255
    white = white or np.iinfo(dtype).max
    for box in faces.boxes:
        rectangle, mask = face_mask(box, style.geometry, 80, 90)
        if not mask.any():
            continue
        codes = [face_code(values[rectangle], white) for values in (one, other)]
        others = faces_of(*(another for another in faces.boxes if not np.array_equal(another, box)))
        own = mask & ~painted_pixels(method, others, style, 80, 90)[rectangle]
        if codes[0] == codes[1]:
            one_fill, other_fill = (output[rectangle][own] for output in outputs)
            np.testing.assert_array_equal(one_fill, other_fill)


@averaging
def test_two_faces_of_the_same_code_come_out_the_same(method: str) -> None:
    photo, pattern = noise(80, 90), np.indices((80, 90)).sum(0)[..., np.newaxis] % 2
    faces = faces_of((20, 15, 50, 55))
    inside = painted_pixels(method, faces, Style(), 80, 90)
    flat, chequered = photo.copy(), photo.copy()
    flat[inside] = (150, 120, 100)
    chequered[inside] = (flat + np.where(pattern, 60, -60))[inside]
    of_flat, of_chequered = (METHODS[method](values, faces, Style(), BLACK[3]) for values in (flat, chequered))
    np.testing.assert_array_equal(of_flat, of_chequered)


@averaging
def test_a_face_leaves_no_trace_in_the_fill_of_its_neighbour(method: str) -> None:
    photo, faces = noise(80, 90), faces_of((10, 20, 30, 45), (46, 20, 66, 45))
    (rows, columns), mask = face_mask(faces.boxes[1], Style().geometry, 80, 90)
    other = photo.copy()
    other[rows, columns][mask] = 255
    of_first, _ = face_mask(faces.boxes[0], Style().geometry, 80, 90)
    before, after = (METHODS[method](values, faces, Style(), BLACK[3]) for values in (photo, other))
    np.testing.assert_array_equal(before[of_first], after[of_first])


@averaging
def test_the_fill_takes_on_the_colours_around_a_face(method: str) -> None:
    """And the middle the face's own, about; light and shade are the same for all."""
    dark_blue, bright, pale, brown = (20, 40, 90), (240, 240, 230), (200, 150, 120), (90, 60, 45)

    def fill(around: tuple[int, int, int], face: tuple[int, int, int]) -> tuple[np.ndarray, np.ndarray]:
        photo = np.full((80, 90, 3), around, np.uint8)
        faces = faces_of((20, 15, 50, 55))
        photo[painted_pixels(method, faces, Style(), 80, 90)] = face
        (rows, _), _ = face_mask(faces.boxes[0], Style().geometry, 80, 90)
        output = METHODS[method](photo, faces, Style(), BLACK[3]).astype(int)
        return output[25:45, 30:40].mean(axis=(0, 1)), output[rows.start, 35]

    for face in (pale, brown):
        assert (fill(bright, face)[1] - fill(dark_blue, face)[1] > 40).all()
    for around in (dark_blue, bright):
        assert (fill(around, pale)[0] - fill(around, brown)[0] > 20).all()
        middle, _ = fill(around, pale)
        assert middle[0] > middle[1] > middle[2]  # as skin is


@averaging
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@settings(max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), is_opaque=st.booleans(), bright=st.floats(0, 1))
def test_no_premultiplied_colour_comes_out_above_its_alpha(
    method: str, dtype: type[np.unsignedinteger[Any]], seed: int, is_opaque: bool, bright: float
) -> None:
    values = noise(80, 90, 4, dtype, seed)
    if is_opaque:
        values[..., 3] = np.iinfo(dtype).max
        values[20:50, 25:45, 3] = bright * np.iinfo(dtype).max
    values[..., :3] = np.minimum(values[..., :3], values[..., 3:])
    output = METHODS[method](values, faces_of(*BOXES["one"], *BOXES["at every edge"]), Style(), BLACK[4])
    assert (output[..., :3] <= output[..., 3:]).all()


@averaging
def test_opaque_stays_opaque_and_colourless_stays_colourless(method: str) -> None:
    values = noise(80, 90, 4)
    values[..., 3], values[..., :3] = 255, values[..., :1]
    output = METHODS[method](values, faces_of((20, 15, 50, 55)), Style(), BLACK[4])
    assert (output[..., 3] == 255).all()
    assert (output[..., 0] == output[..., 2]).all()


def test_a_code_has_five_bits_in_colour_and_three_in_grey_and_three_more_with_alpha() -> None:
    for channels, most in ((1, 8), (2, 64), (3, 32), (4, 256)):
        rng = np.random.default_rng(0)
        codes = {
            face_code(np.full((4, 4, channels), rng.integers(0, 256, channels), np.uint8), 255) for _ in range(20_000)
        }
        assert len(codes) <= most
        assert all(isinstance(code, FaceCode) for code in codes)


def test_a_face_that_fills_the_image_is_one_colour_in_light_and_shade() -> None:
    style = Style(MaskGeometry(margin=0, shape="box"))
    output = METHODS["pixelate"](noise(60, 60), faces_of((-1, -1, 61, 61)), style, BLACK[3]).reshape(-1, 3)
    brightest = output.max(axis=0).astype(float)
    shades = output[:, :1] / brightest[0]
    assert np.abs(output - shades * brightest).max() < 2
    assert len(np.unique(output, axis=0)) <= 36


@every_method
@pytest.mark.parametrize("turn", [lambda v: v[::-1], lambda v: v[:, ::-1], lambda v: v.swapaxes(0, 1)])
def test_views_come_out_like_copies(method: str, turn: Callable[[np.ndarray], np.ndarray]) -> None:
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
def test_block_averages_are_exact(region: np.ndarray, data: st.DataObject) -> None:
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
def test_the_bar_turns_with_the_eyes_and_hides_them(angle: int) -> None:
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
def test_without_plausible_eyes_the_upper_part_is_barred(eyes: list[tuple[float, float]] | None) -> None:
    whole = np.full((330, 300, 1), 255, np.uint8)
    faces = faces_of(BOX, eyes=None if eyes is None else [eyes])
    output = METHODS["bar"](whole, faces, Style(MaskGeometry(margin=0)), (0,))
    expected = whole.copy()
    expected[100:178, 100:200] = 0
    np.testing.assert_array_equal(output, expected)


def test_painting_on_what_opencv_would_copy_is_an_error() -> None:
    """It would leave the face as it was."""
    rows, columns = slice(0, 2), slice(0, 2)
    with pytest.raises(ValueError, match="C-contiguous"):
        paint(noise(8, 9)[:, ::-1], (rows, columns), np.ones((2, 2), bool), (0, 0, 0))
