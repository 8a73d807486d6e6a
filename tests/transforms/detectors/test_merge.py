from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.detectors.merge import average_views, join_faces, suppress_overlaps
from faceveil.transforms.detectors.views import View, Window
from faceveil.transforms.faces import Faces

WHOLE = Window(0, 0, 100, 100, 100, 100)
TILE = Window(50, 0, 100, 100, 50, 100)
TURNED = Window(0, 0, 100, 100, 100, 100, turns=1)
SMALL = Window(0, 0, 100, 100, 100, 100, min_face=0.3)
LARGER = Window(0, 0, 100, 100, 200, 200, max_face=0.3)


def view(window: Window) -> View:
    return View(np.zeros((1, 1, 3), np.uint8), window, 100, 100)


def faces(*found: tuple[float, float, float, float, float]) -> Faces:
    values = np.array(found, np.float32).reshape(-1, 5)
    return Faces(values[:, :4], values[:, 4])


def test_what_all_views_show_scores_higher() -> None:
    in_both, in_one = (10, 10, 30, 30), (60, 60, 80, 80)
    merged = average_views(
        [(view(WHOLE), faces((*in_both, 0.8), (*in_one, 0.8))), (view(WHOLE), faces((*in_both, 0.6)))]
    )
    np.testing.assert_allclose(merged.scores, [(0.8 + 0.7) / 2, (0.8 + 0.4) / 2], rtol=1e-6)
    np.testing.assert_allclose(merged.boxes, [in_both, in_one], rtol=1e-6)


def test_boxes_are_averaged_by_a_power_of_their_scores() -> None:
    merged = average_views([(view(WHOLE), faces((0, 0, 10, 10, 0.8))), (view(WHOLE), faces((1, 1, 11, 11, 0.4)))])
    moved = 1 / (1 + 2**8)  # of the way to a box with half the score
    np.testing.assert_allclose(merged.boxes, [[moved, moved, 10 + moved, 10 + moved]], rtol=1e-5)


def test_a_tile_counts_for_the_faces_within_it_only() -> None:
    outside, across, within = (10, 10, 30, 30, 0.8), (40, 10, 60, 30, 0.8), (60, 60, 80, 80, 0.8)
    merged = average_views([(view(WHOLE), faces(outside, across, within)), (view(TILE), faces())])
    np.testing.assert_allclose(merged.scores, [0.8, 0.8, 0.6], rtol=1e-6)
    np.testing.assert_allclose(merged.boxes[2], within[:4])


def test_nor_does_a_tile_count_for_those_above_or_below_it() -> None:
    above, below, within = (40, 20, 60, 44, 0.8), (40, 56, 60, 80, 0.8), (40, 44, 60, 56, 0.8)
    tile = Window(0, 42, 100, 58, 100, 16)
    for face, score in ((above, 0.8), (below, 0.8), (within, 0.6)):
        merged = average_views([(view(WHOLE), faces(face)), (view(tile), faces())])
        np.testing.assert_allclose(merged.scores, [score], rtol=1e-6)


def test_a_tile_has_no_say_in_a_face_that_sticks_out_of_it_on_all_sides() -> None:
    larger = (40, 40, 100, 100, 0.8)
    tile = replace(TILE, x0=50, y0=50, x1=90, y1=90)
    merged = average_views([(view(WHOLE), faces(larger)), (view(tile), faces())])
    np.testing.assert_allclose(merged.scores, [0.8], rtol=1e-6)


def test_turned_views_add_what_they_find_and_take_nothing() -> None:
    merged = average_views([(view(WHOLE), faces((10, 10, 30, 30, 0.8))), (view(TURNED), faces((60, 60, 80, 80, 0.8)))])
    np.testing.assert_allclose(merged.scores, [0.8, 0.4], rtol=1e-6)


def test_smaller_views_have_a_say_in_large_faces_only() -> None:
    small, large = (10, 10, 30, 30, 0.8), (40, 40, 80, 80, 0.8)
    merged = average_views([(view(WHOLE), faces(small, large)), (view(SMALL), faces())])
    np.testing.assert_allclose(merged.scores, [0.8, 0.6], rtol=1e-6)
    np.testing.assert_allclose(merged.boxes[0], small[:4])


def test_larger_scales_have_a_say_in_small_faces_only() -> None:
    small, large = (10, 10, 30, 30, 0.8), (40, 40, 80, 80, 0.8)
    merged = average_views([(view(WHOLE), faces(small, large)), (view(LARGER), faces())])
    np.testing.assert_allclose(merged.scores, [0.8, 0.6], rtol=1e-6)
    np.testing.assert_allclose(merged.boxes[0], large[:4])


def test_neighbours_found_in_different_views_are_two_faces() -> None:
    left, right = (0, 0, 20, 20, 0.8), (10, 0, 30, 20, 0.7)
    [first, second] = average_views([(view(WHOLE), faces(left)), (view(WHOLE), faces(right))]).boxes
    np.testing.assert_allclose([first, second], [left[:4], right[:4]], atol=1e-3)


def test_a_view_that_shows_a_face_too_small_takes_nothing() -> None:
    reduced = Window(0, 0, 100, 100, 32, 32)
    merged = average_views([(view(reduced), faces()), (view(WHOLE), faces((10, 10, 30, 30, 0.8)))])
    np.testing.assert_allclose(merged.scores, [0.8], rtol=1e-6)
    by_reduced_alone = average_views([(view(reduced), faces((10, 10, 30, 30, 0.8)))])
    np.testing.assert_allclose(by_reduced_alone.scores, [0.8], rtol=1e-6)


def test_nothing_found_is_no_face() -> None:
    assert len(average_views([(view(WHOLE), Faces.none())])) == 0


BOXES = st.lists(
    st.tuples(*[st.integers(0, 80)] * 2, *[st.integers(1, 20)] * 2, st.floats(0.0625, 1, width=32)).map(
        lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3], b[4])
    ),
    max_size=12,
)


@given(st.lists(BOXES, min_size=1, max_size=4))
def test_every_group_becomes_one_face(views: list[list[tuple[float, float, float, float, float]]]) -> None:
    parts = [(view(WHOLE), faces(*found)) for found in views]
    merged, best = average_views(parts), suppress_overlaps(join_faces(found for _, found in parts))
    assert len(best) <= len(merged) <= sum(len(suppress_overlaps(found)) for _, found in parts)
    assert (np.diff(merged.scores) <= 0).all()
    assert (merged.scores > 0).all()
    assert (merged.scores <= 1).all()
    assert (merged.boxes >= 0).all()
    assert (merged.boxes <= 100.001).all()


def test_a_face_that_no_view_counts_keeps_its_own_score() -> None:
    """Turned views count nothing, and the best face of the photo has no say in the others."""
    found = faces((10, 10, 30, 30, 0.9), (60, 60, 80, 80, 0.5))
    merged = average_views([(view(TURNED), found)])
    np.testing.assert_allclose(merged.scores, [0.9, 0.5], rtol=1e-6)


def test_an_averaged_face_has_the_keypoints_of_the_best_view() -> None:
    points = np.arange(2 * 5 * 2, dtype=np.float32).reshape(2, 5, 2)
    better, worse = (
        Faces(found.boxes, found.scores, points[number : number + 1])
        for number, found in enumerate((faces((0, 0, 10, 10, 0.8)), faces((1, 1, 11, 11, 0.4))))
    )
    merged = average_views([(view(WHOLE), worse), (view(WHOLE), better)])
    assert merged.keypoints is not None
    np.testing.assert_array_equal(merged.keypoints, points[:1])
