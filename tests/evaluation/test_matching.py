import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy

from faceveil.evaluation.matching import COVERED_SHARE, NEVER, covering_scores, match, unmatched

SIDE = 12


@st.composite
def boxes(draw: st.DrawFn, most: int) -> np.ndarray:
    """Boxes ``[N, 4]`` of whole pixels within ``SIDE``, all with an area."""
    corners = draw(st_numpy.arrays(np.int64, st.tuples(st.integers(0, most), st.just(2)), elements=st.integers(0, 7)))
    sizes = draw(st_numpy.arrays(np.int64, corners.shape, elements=st.integers(1, SIDE - 7)))
    return np.concatenate([corners, corners + sizes], axis=1).astype(np.float32)


@st.composite
def detections(draw: st.DrawFn, most: int = 6) -> tuple[np.ndarray, np.ndarray]:
    """Boxes and their scores, best first, often equal."""
    found = draw(boxes(most))
    scores = draw(st_numpy.arrays(np.float32, len(found), elements=st.sampled_from([0.125, 0.25, 0.5, 0.75])))
    return found, -np.sort(-scores)


def flags(count: int) -> st.SearchStrategy[np.ndarray]:
    return st_numpy.arrays(bool, count)


def matched(faces: list[list[float]], ignored: list[bool], found: list[list[float]]) -> tuple[list[bool], list[bool]]:
    matching = match(
        np.array(faces, np.float32).reshape(-1, 4),
        np.array(ignored, bool),
        np.array(found, np.float32).reshape(-1, 4),
        np.zeros(len(found), bool),
    )
    return matching.correct.tolist(), matching.neutral.tolist()


FACE, NEIGHBOUR, NEAR_BOTH = [0.0, 0, 10, 10], [4.0, 0, 14, 10], [1.0, 0, 11, 10]


def test_a_face_is_found_once() -> None:
    assert matched([FACE], [False], [FACE, FACE]) == ([True, False], [False, False])


def test_a_second_detection_takes_the_next_face() -> None:
    assert matched([FACE, NEIGHBOUR], [False, False], [FACE, NEAR_BOTH]) == ([True, True], [False, False])


def test_an_overlap_of_exactly_half_matches() -> None:
    assert matched([FACE], [False], [[0, 0, 10, 5]]) == ([True], [False])
    assert matched([FACE], [False], [[0, 0, 10, 4.9]]) == ([False], [False])


def test_an_ignored_face_makes_any_number_of_detections_neutral() -> None:
    assert matched([FACE], [True], [FACE, FACE]) == ([False, False], [True, True])


def test_a_face_that_counts_comes_before_an_ignored_one_that_overlaps_more() -> None:
    assert matched([FACE, NEIGHBOUR], [False, True], [NEIGHBOUR, [2, 0, 12, 10]]) == ([False, True], [True, False])


def test_nothing_to_match() -> None:
    assert matched([], [], [FACE]) == ([False], [False])
    assert matched([FACE], [False], []) == ([], [])


@given(boxes(5), detections(), st.data())
def test_detections_above_a_threshold_match_as_if_there_were_no_others(
    faces: np.ndarray, found: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    ignored, neutral = data.draw(flags(len(faces))), data.draw(flags(len(found[0])))
    whole = match(faces, ignored, found[0], neutral)
    for count in range(len(found[0])):
        part = match(faces, ignored, found[0][:count], neutral[:count])
        assert part.correct.tolist() == whole.correct[:count].tolist()
        assert part.neutral.tolist() == whole.neutral[:count].tolist()


@given(boxes(5), detections(), st.data())
def test_detections_are_correct_no_more_often_than_there_are_faces(
    faces: np.ndarray, found: tuple[np.ndarray, np.ndarray], data: st.DataObject
) -> None:
    ignored = data.draw(flags(len(faces)))
    matching = match(faces, ignored, found[0], np.zeros(len(found[0]), bool))
    assert matching.correct.sum() <= (~ignored).sum()
    assert not (matching.correct & matching.neutral).any()
    assert not (unmatched(faces, found[0]) & (matching.correct | matching.neutral)).any()


@given(boxes(3), detections())
def test_covering_scores_agree_with_counted_pixels(faces: np.ndarray, found: tuple[np.ndarray, np.ndarray]) -> None:
    def covered_share(face: np.ndarray, threshold: float) -> float:
        mask = np.zeros((SIDE, SIDE), bool)
        for x0, y0, x1, y1 in found[0][found[1] >= threshold].astype(int):
            mask[y0:y1, x0:x1] = True
        x0, y0, x1, y1 = face.astype(int)
        return float(mask[y0:y1, x0:x1].mean())

    for face, score in zip(faces, covering_scores(faces, *found), strict=True):
        enough = [t for t in (0.125, 0.25, 0.5, 0.75) if covered_share(face, t) >= COVERED_SHARE]
        assert score == max(enough, default=NEVER)


def test_many_boxes_on_one_face_take_little_memory() -> None:
    random = np.random.default_rng(0)
    corners = random.uniform(0, 900, (1000, 2))
    boxes = np.concatenate([corners, corners + random.uniform(1, 60, (1000, 2))], axis=1)
    face = np.array([[0.0, 0.0, 960.0, 960.0]])
    scores: np.ndarray = random.random(1000)
    tracemalloc.start()
    (score,) = covering_scores(face, boxes, scores)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 0 < score < 1
    assert peak < 300e6  # by boxes and cells it would be 40 GB
