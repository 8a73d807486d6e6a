import math
from typing import Any

import cv2
import numpy as np
import pytest
import skimage.data
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.anonymizers.masks import face_mask
from faceveil.transforms.arrays import Values
from faceveil.transforms.generators.crops import Crop, fill_from_face, match_colours, take_crop
from faceveil.transforms.generators.geometry import crop_affine

SIZE = 64


def crop_of(
    values: Values, box: list[float], tilt: float = 0.0, geometry: MaskGeometry | None = None, white: float = 255
) -> tuple[Crop, tuple[slice, slice], np.ndarray]:
    geometry = geometry or MaskGeometry(shape="box")
    rectangle, mask = face_mask(np.array(box, np.float32), geometry, *values.shape[:2])
    known = np.ones(values.shape[:2], bool)
    known[rectangle] &= ~mask
    affine = crop_affine(np.array(box, np.float32), tilt, geometry, SIZE)
    return take_crop(values, known, white, (rectangle, mask), affine, SIZE), rectangle, mask


boxes = st.tuples(st.floats(-20, 140), st.floats(-20, 140), st.floats(2, 90), st.floats(2, 90))


@given(boxes, st.floats(-math.pi, math.pi), st.floats(0, 3), st.sampled_from(["ellipse", "box"]))
def test_the_crop_holds_the_whole_mask(
    place: tuple[float, float, float, float], tilt: float, margin: float, shape: str
) -> None:
    x, y, width, height = place
    box = np.array([x, y, x + width, y + height], np.float32)
    geometry = MaskGeometry(margin=margin, shape=shape)  # type: ignore[arg-type]
    rows, columns = face_mask(box, geometry, 200, 200)[0]
    mask = face_mask(box, geometry, 200, 200)[1]
    affine = crop_affine(box, tilt, geometry, SIZE)
    down, across = np.nonzero(mask)
    centres = np.stack([across + columns.start + 0.5, down + rows.start + 0.5])
    # A pixel that the mask only touches may lie beyond by its own size.
    slack = math.sqrt(2) * math.sqrt(abs(np.linalg.det(affine[:, :2])))
    places = affine[:, :2] @ centres + affine[:, 2:]
    assert (places >= -slack).all()
    assert (places <= SIZE + slack).all()


@given(boxes, st.floats(-math.pi, math.pi), st.integers(0, 2**32 - 1))
def test_nothing_of_the_face_gets_into_the_crop(
    place: tuple[float, float, float, float], tilt: float, seed: int
) -> None:
    x, y, width, height = place
    box = [x, y, x + width, y + height]
    random = np.random.default_rng(seed)
    before = random.integers(0, 256, (120, 130, 3), dtype=np.uint8)
    one, rectangle, mask = crop_of(before, box, tilt)
    after = before.copy()
    after[rectangle][mask] = random.integers(0, 256, (int(mask.sum()), 3))
    other = crop_of(after, box, tilt)[0]
    assert np.array_equal(one.rgb, other.rgb)
    assert np.array_equal(one.mask, other.mask)
    assert (one.rgb[one.mask[..., 0] == 1] == 0).all()


@pytest.mark.parametrize("side", [9, 30, 200])
@pytest.mark.parametrize("tilt", [0.0, 0.5, -2.5])
def test_what_is_drawn_comes_back_to_its_place(side: int, tilt: float) -> None:
    photo = cv2.GaussianBlur(skimage.data.astronaut(), (0, 0), 8)
    box = [220 - side / 2, 120 - side / 2, 220 + side / 2, 120 + side / 2]
    crop, rectangle, mask = crop_of(photo, box, tilt)
    affine = crop.affine.copy()
    affine[:, 2] += affine[:, :2] @ (0.5, 0.5) - 0.5
    # A generator that knows what was there.
    truth = cv2.warpAffine(photo.astype(np.float32) / 127.5 - 1, affine, (SIZE, SIZE), flags=cv2.INTER_AREA)
    fill = fill_from_face(truth, crop, rectangle, 3, 255, np.uint8)
    difference = np.abs(fill.astype(int) - photo[rectangle])[mask]
    assert difference.mean() < 4


@pytest.mark.parametrize(
    ("channels", "kind"), [(1, np.uint8), (2, np.uint8), (4, np.uint8), (3, np.uint16), (4, np.uint16)]
)
def test_any_plain_colours_and_depths(channels: int, kind: type[np.unsignedinteger[Any]]) -> None:
    white = 255 if kind is np.uint8 else 1023
    values: np.ndarray = np.full((100, 100, channels), white // 2, kind)
    crop, rectangle, mask = crop_of(values, [40, 40, 60, 64], white=white)
    assert crop.rgb[crop.mask[..., 0] == 0] == pytest.approx(0, abs=0.01)
    face = np.full((SIZE, SIZE, 3), 1, np.float32)
    fill = fill_from_face(face, crop, rectangle, channels, white, kind)
    assert (fill.shape, fill.dtype) == ((*mask.shape, channels), np.dtype(kind))
    middle = fill[mask.shape[0] // 2, mask.shape[1] // 2].tolist()
    alpha = [np.iinfo(kind).max] if channels in (2, 4) else []
    assert middle == pytest.approx([white] * (channels - len(alpha)) + alpha, abs=white * 0.05)


@pytest.mark.parametrize(("known", "at_border"), [(0.28, 0.27), (0.12, 0.13), (0.9, 0.3), (-0.9, 0.1)])
def test_colours_meet_at_the_border_and_are_as_drawn_in_the_middle(known: float, at_border: float) -> None:
    mask = np.zeros((SIZE, SIZE, 1), np.float32)
    mask[16:48, 16:48] = 1
    rgb = np.where(mask > 0, 0, known).astype(np.float32).repeat(3, axis=2)
    matched = match_colours(np.full((SIZE, SIZE, 3), 0.2, np.float32), Crop(np.eye(2, 3), rgb, mask, 1.0))
    assert matched[32, 32] == pytest.approx(0.2, abs=0.01)
    assert matched[16, 20:44] == pytest.approx(at_border, abs=0.04)


@pytest.mark.parametrize(
    ("surroundings", "colourless"), [((90, 90, 90), True), ((91, 90, 91), True), ((99, 90, 85), False)]
)
def test_a_face_in_a_black_and_white_photo_has_no_colour(surroundings: tuple[int, int, int], colourless: bool) -> None:
    values = np.full((100, 100, 3), surroundings, np.uint8)
    crop, rectangle, mask = crop_of(values, [40, 40, 60, 64])
    red = np.full((SIZE, SIZE, 3), (0.5, -0.5, -0.5), np.float32)
    fill = fill_from_face(red, crop, rectangle, 3, 255, np.uint8)
    assert (np.ptp(fill[mask.shape[0] // 2, mask.shape[1] // 2]) <= 2) == colourless


def test_how_much_is_known_tells_the_edge_of_the_image() -> None:
    values = np.zeros((100, 100, 3), np.uint8)
    assert crop_of(values, [40, 40, 60, 60])[0].known_share > 0.95
    assert 0.3 < crop_of(values, [-10, 40, 10, 60])[0].known_share < 0.7
    assert crop_of(values, [0, 0, 100, 100])[0].known_share < 0.05
