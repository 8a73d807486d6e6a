from collections.abc import Callable

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.detectors.candidates import Candidates
from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.detectors.models import known_model
from faceveil.transforms.detectors.quality import FAST_QUALITIES, Quality
from faceveil.transforms.detectors.verify import ACROSS, MAX_MOSAICS, MOSAIC, cut_proposals, verified
from faceveil.transforms.faces import Faces
from tests.transforms.detectors.conftest import MakeModel

CELL = MOSAIC // ACROSS[0]
"""Pixels of a square's side where there are few."""

FACE = np.array([178, 63, 268, 176], np.float32)
"""The astronaut's."""


@pytest.fixture(scope="module")
def pair() -> Callable[..., Detector]:
    """YuNet-s, whose faces CenterFace looks at again."""
    models = str(known_model("yunet-s")), str(known_model("centerface-covered-int8"))

    def load(quality: Quality = FAST_QUALITIES["balanced"], score_threshold: float = 0.21) -> Detector:
        return Detector(DetectorConfig(models, quality=quality, score_threshold=score_threshold, verifies=True))

    return load


def proposals(*boxes: tuple[float, float, float, float], score: float = 0.4) -> Faces:
    points = np.zeros((len(boxes), 5, 2), np.float32)
    return Faces(np.array(boxes, np.float32).reshape(-1, 4), np.full(len(boxes), score, np.float32), points)


def candidates(*found: tuple[float, float, float, float, float]) -> Candidates:
    """Boxes in pixels of a mosaic, x0, y0, x1, y1, and scores."""
    rows = np.array(found, np.float32).reshape(-1, 5)
    points = np.tile(rows[:, np.newaxis, 1::-1], (1, 5, 1)) / MOSAIC
    return Candidates(rows[:, [1, 0, 3, 2]] / np.float32(MOSAIC), rows[:, 4], keypoints=points.astype(np.float32))


def test_a_face_is_found_where_it_is(pair: Callable[..., Detector], astronaut: np.ndarray) -> None:
    detector = pair()
    (faces,) = detector.detect([detector.prepare(astronaut, 512, 512)])
    assert np.abs(faces.boxes[0] - FACE).max() < 8
    assert faces.scores[0] > 0.5
    assert faces.keypoints is not None
    left, right, nose = faces.keypoints[0, :3]
    assert FACE[0] < left[0] < nose[0] < right[0] < FACE[2]


def test_an_image_that_is_decoded_smaller_has_its_faces_in_full_pixels(
    pair: Callable[..., Detector], astronaut: np.ndarray
) -> None:
    detector = pair()
    (faces,) = detector.detect([detector.prepare(astronaut, 2048, 2048)])
    assert np.abs(faces.boxes[0] / 4 - FACE).max() < 24


def test_what_the_second_does_not_take_for_a_face_is_none(
    make_model: MakeModel, outputs: dict[str, np.ndarray]
) -> None:
    # Two proposals, of 0.9 and 0.5, that are no faces.
    models = make_model(outputs), str(known_model("centerface-covered-int8"))
    black = np.zeros((50, 100, 3), np.uint8)
    config = DetectorConfig(models, quality=Quality(64), score_threshold=0.5, verifies=True)
    detector = Detector(config)
    assert len(detector.engines) == 2
    (faces,) = detector.detect([detector.prepare(black, 100, 50)])
    assert len(faces) == 0
    alone = Detector(DetectorConfig(models[:1], quality=Quality(64), score_threshold=0.5))
    assert len(alone.detect([alone.prepare(black, 100, 50)])[0]) == 2


def test_a_batch_equals_its_images_alone(pair: Callable[..., Detector], astronaut: np.ndarray) -> None:
    detector = pair(Quality(320))
    images = [detector.prepare(image, 512, 512) for image in (astronaut, astronaut[:, ::-1], astronaut[::-1])]
    for together, image in zip(detector.detect(images), images, strict=True):
        (alone,) = detector.detect([image])
        np.testing.assert_array_equal(together.boxes, alone.boxes)
        np.testing.assert_array_equal(together.scores, alone.scores)


def test_a_threshold_only_leaves_out(pair: Callable[..., Detector], astronaut: np.ndarray) -> None:
    low, high = pair(score_threshold=0.02), pair(score_threshold=0.5)
    (everything,) = low.detect([low.prepare(astronaut, 512, 512)])
    (some,) = high.detect([high.prepare(astronaut, 512, 512)])
    kept = everything.take(everything.scores >= 0.5)
    np.testing.assert_array_equal(kept.boxes, some.boxes)


def test_squares_show_what_is_around_each_face_in_their_order(astronaut: np.ndarray) -> None:
    boxes = [(178, 63, 268, 176), (0, 0, 40, 40), (480, 500, 512, 512), (10, 10, 13, 12), (0, 0, 512, 512)]
    cut = cut_proposals(astronaut, 512, proposals(*boxes))
    assert cut.mosaics.shape == (2, MOSAIC, MOSAIC, 3)
    for number, (x0, y0, side) in enumerate(cut.squares):
        mosaic, row, column = number // 4, number % 4 // 2 * CELL, number % 2 * CELL
        shown = cut.mosaics[mosaic, row : row + CELL, column : column + CELL].astype(float)
        padded = cv2.copyMakeBorder(astronaut, 999, 999, 999, 999, cv2.BORDER_CONSTANT, value=(127, 127, 127))
        x, y = int(x0) + 999, int(y0) + 999
        expected = cv2.resize(padded[y : y + int(side), x : x + int(side)], (CELL, CELL), interpolation=cv2.INTER_AREA)
        assert np.abs(shown - expected).mean() < 6
    assert (cut.mosaics[1, :CELL, CELL:] == 127).all()  # left over


@given(
    places=st.lists(
        st.tuples(st.floats(0, 3000), st.floats(0, 2000), st.floats(0.01, 900), st.floats(0.01, 900)), max_size=9
    ),
    width=st.integers(1, 300),
    height=st.integers(1, 300),
)
def test_any_box_can_be_cut_out_and_what_is_seen_in_it_comes_back_to_its_place(
    places: list[tuple[float, float, float, float]], width: int, height: int
) -> None:
    full = np.array([3000, max(1, round(3000 * height / width))], np.float32)
    corners = [(np.minimum((x, y), full - 1), np.array([w, h])) for x, y, w, h in places]
    found = proposals(*(tuple(np.concatenate([low, np.minimum(low + size, full)])) for low, size in corners))
    cut = cut_proposals(np.zeros((height, width, 3), np.uint8), 3000, found)
    seen = []
    for number, (box, (x0, y0, side)) in enumerate(zip(found.boxes, cut.squares, strict=True)):
        corner = np.array([number % 2, number % 4 // 2], np.float32) * CELL
        low, high = ((edge - (x0, y0)) / side * CELL + corner for edge in (box[:2], box[2:]))
        seen.append((number // 4, (*low, *high, 1.0)))
    parts = [candidates(*(row for mosaic, row in seen if mosaic == place)) for place in range(len(cut.mosaics))]
    result = verified(found, cut, parts)
    np.testing.assert_allclose(result.boxes, found.boxes, atol=1.0, rtol=1e-3)
    np.testing.assert_allclose(result.scores, 0.7)


def test_scores_are_averaged_and_a_neighbour_does_not_count() -> None:
    found = proposals((100, 100, 140, 140), (300, 300, 340, 340), score=0.4)
    cut = cut_proposals(np.zeros((500, 500, 3), np.uint8), 500, found)
    # In squares of 100 px, the face is 38.4 px wide in the middle of a cell.
    half = 40 / 100 * CELL / 2
    middle, second = CELL / 2, CELL * 1.5
    same = (middle - half, middle - half, middle + half, middle + half, 0.8)
    beside = (second + 20, middle + 20, second + 40, middle + 40, 0.9)
    result = verified(found, cut, [candidates(same, beside)])
    np.testing.assert_allclose(result.scores, [0.6, 0.2])
    np.testing.assert_allclose(result.boxes, found.boxes, atol=0.01)
    assert result.keypoints is not None
    np.testing.assert_allclose(result.keypoints[0], np.full((5, 2), 100), atol=0.01)
    np.testing.assert_allclose(result.keypoints[1], 0)  # its own


@pytest.mark.parametrize("across", ACROSS)
def test_the_more_faces_the_smaller_their_squares(astronaut: np.ndarray, across: int) -> None:
    count = MAX_MOSAICS * across**2
    cut = cut_proposals(astronaut, 512, proposals(*[tuple(FACE)] * count))
    assert (len(cut.mosaics), cut.across) == (MAX_MOSAICS, across)
    cell = MOSAIC // across
    first, last = cut.mosaics[0, :cell, :cell], cut.mosaics[-1, -cell:, -cell:]
    np.testing.assert_array_equal(first, last)
    # The face is found where it is shown, and in its own square only.
    half = cell / 5
    middle = MOSAIC - cell / 2
    shown = (middle - half, middle - half, middle + half, middle + half, 0.8)
    found = proposals(*[tuple(FACE)] * count, score=0.4)
    result = verified(found, cut, [candidates() for _ in cut.mosaics[1:]] + [candidates(shown)])
    np.testing.assert_allclose(result.scores, [0.2] * (count - 1) + [0.6])


def test_in_crowds_those_in_doubt_are_looked_at() -> None:
    most = MAX_MOSAICS * ACROSS[-1] ** 2
    scores = np.linspace(0.9, 0.14, most + 50).astype(np.float32)
    boxes = np.tile(np.array([[10, 10, 20, 20]], np.float32), (len(scores), 1))
    crowd = Faces(boxes, scores)
    cut = cut_proposals(np.zeros((50, 50, 3), np.uint8), 50, crowd)
    assert len(cut.chosen) == most
    left = np.setdiff1d(np.arange(len(scores)), cut.chosen)
    assert scores[left].min() > scores[cut.chosen].max() - 0.01
    result = verified(crowd, cut, [candidates() for _ in cut.mosaics])
    np.testing.assert_array_equal(result.scores[left], scores[left])
    np.testing.assert_allclose(result.scores[cut.chosen], scores[cut.chosen] / 2)
