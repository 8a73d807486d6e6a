import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.evaluation.measures import Band, ImageResult, average_precision, measure

ALL, SMALL, LARGE = Band(0, math.inf), Band(0, 16), Band(16, math.inf)


def square(x: float, side: float) -> list[float]:
    return [x, 0, x + side, side]


def result(
    faces: list[list[float]], found: list[tuple[list[float], float]], ignored: list[bool] | None = None
) -> ImageResult:
    return ImageResult(
        np.array(faces, np.float32).reshape(-1, 4),
        np.array(ignored or [False] * len(faces), bool),
        np.array([box for box, _ in found], np.float32).reshape(-1, 4),
        np.array([score for _, score in found], np.float32),
    )


@pytest.mark.parametrize(
    ("scores", "correct", "faces", "expected"),
    [
        ([], [], 3, 0),
        ([0.9], [True], 1, 1),
        ([0.9], [False], 1, 0),
        ([0.9, 0.8], [True, True], 4, 1 / 2),
        # Recall 1/3 at precision 1, 2/3 at 2/3, 1 at 3/5.
        ([0.9, 0.8, 0.7, 0.6, 0.5], [True, False, True, False, True], 3, (1 + 2 / 3 + 3 / 5) / 3),
        # The dip after the first detection is filled up by the later, better precision: 2/3 throughout.
        ([0.9, 0.8, 0.7], [False, True, True], 2, 2 / 3),
        # Equal scores count at once, in whatever order: 1/2.
        ([0.9, 0.9], [True, False], 1, 1 / 2),
        ([0.9, 0.9], [False, True], 1, 1 / 2),
    ],
)
def test_average_precision_by_hand(scores: list[float], correct: list[bool], faces: int, expected: float) -> None:
    assert average_precision(np.array(scores), np.array(correct, bool), faces) == pytest.approx(expected)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.2, 0.3, 0.4, 0.5]), st.booleans()), max_size=12), st.integers(1, 4))
def test_average_precision_is_the_area_under_the_best_precision(found: list[tuple[float, bool]], missed: int) -> None:
    scores, correct = np.array([s for s, _ in found]), np.array([c for _, c in found], bool)
    faces = int(correct.sum()) + missed
    points = []
    for threshold in np.unique(scores):
        above = scores >= threshold
        points.append((correct[above].sum() / faces, correct[above].mean()))
    area = sum(
        max((precision for recall, precision in points if recall * faces > step + 0.5), default=0) / faces
        for step in range(faces)
    )
    assert average_precision(scores, correct, faces) == pytest.approx(area)


def test_measures_at_thresholds() -> None:
    images = [
        result([square(0, 20), square(50, 20)], [(square(0, 20), 0.9), (square(100, 30), 0.6), (square(50, 20), 0.3)]),
        result([], [(square(0, 8), 0.5)]),
    ]
    measured = measure(images, ALL)
    assert (measured.images, measured.faces) == (2, 2)
    low, middle, none = measured.at(0.3), measured.at(0.5), measured.at(0.95)
    assert (low.recall, low.precision, low.covered, low.false_positives_per_image) == (1, 0.5, 1, 1)
    assert (middle.recall, middle.covered) == (0.5, 0.5)
    assert middle.precision == pytest.approx(1 / 3)
    assert (none.recall, none.precision, none.covered, none.false_positives_per_image) == (0, None, 0, 0)
    assert measured.average_precision() == pytest.approx((1 + 1 / 2) / 2)


def test_two_halves_cover_a_face_that_neither_finds() -> None:
    halves = [([0.0, 0, 9, 20], 0.8), ([11.0, 0, 20, 20], 0.6)]
    measured = measure([result([square(0, 20)], halves)], ALL)
    assert (measured.at(0.6).recall, measured.at(0.6).covered) == (0, 1)
    assert (measured.at(0.7).recall, measured.at(0.7).covered) == (0, 0)


def test_a_band_leaves_the_others_faces_and_boxes_out() -> None:
    images = [result([square(0, 10), square(50, 20)], [(square(50, 20), 0.9), (square(100, 30), 0.8)])]
    small, large = measure(images, SMALL), measure(images, LARGE)
    # Neither the large face that was found nor the large box on nothing counts among the small ones.
    assert (small.faces, small.at(0.5).precision, small.at(0.5).false_positives_per_image) == (1, None, 0)
    assert (large.faces, large.at(0.5).precision, large.at(0.5).recall) == (1, 0.5, 1)
    assert large.at(0.5).false_positives_per_image == 1


def test_ignored_faces_count_neither_way() -> None:
    images = [result([square(0, 20), square(50, 20)], [(square(0, 20), 0.9)], ignored=[True, False])]
    measured = measure(images, ALL)
    assert measured.faces == 1
    point = measured.at(0.5)
    assert (point.recall, point.precision, point.covered, point.false_positives_per_image) == (0, None, 0, 0)


def test_a_second_box_on_a_face_is_wrong_but_hides_nothing_else() -> None:
    point = measure([result([square(0, 20)], [(square(0, 20), 0.9), (square(1, 20), 0.8)])], ALL).at(0.5)
    assert (point.precision, point.false_positives_per_image) == (0.5, 0)


def test_heights_are_those_of_the_upright_image() -> None:
    lying = ImageResult(np.array([[0, 0, 20, 10]], np.float32), np.array([False]), *_nothing(), turned=True)
    assert measure([lying], LARGE).faces == 1


def test_without_faces_there_are_no_shares() -> None:
    measured = measure([result([], [])], ALL)
    assert measured.average_precision() is None
    assert (measured.at(0.5).recall, measured.at(0.5).covered) == (None, None)


def _nothing() -> tuple[np.ndarray, np.ndarray]:
    return np.zeros((0, 4), np.float32), np.zeros(0, np.float32)
