import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from faceveil.transforms.detectors.nms import group_overlaps, iou, nms


@st.composite
def boxes_and_scores(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    count = draw(st.integers(0, 25))
    corners = draw(arrays(np.float32, (count, 4), elements=st.integers(0, 40)))
    low, high = np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])
    scores = draw(arrays(np.float32, count, elements=st.integers(0, 10))) / 10  # few values, so many ties
    return np.concatenate([low, high], axis=1), scores


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes with integer corners, by counting unit squares."""
    squares = [{(x, y) for x in range(int(x0), int(x1)) for y in range(int(y0), int(y1))} for x0, y0, x1, y1 in (a, b)]
    union = squares[0] | squares[1]
    return len(squares[0] & squares[1]) / len(union) if union else 0.0


@given(boxes_and_scores(), st.sampled_from([0.25, 0.3, 0.5, 0.9]))
def test_nms_keeps_what_a_plain_loop_keeps(case: tuple[np.ndarray, np.ndarray], threshold: float) -> None:
    boxes, scores = case
    expected: list[int] = []
    for i in sorted(range(len(boxes)), key=lambda i: (-scores[i], i)):
        # Compared as float32, as nms does.
        if all(np.float32(overlap(boxes[i], boxes[k])) < threshold for k in expected):
            expected.append(i)
    assert nms(boxes, scores, threshold).tolist() == expected


@given(boxes_and_scores(), boxes_and_scores())
def test_iou_counts_pixels(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = first[0], second[0]
    expected = np.array([[overlap(x, y) for y in b] for x in a]).reshape(len(a), len(b))
    np.testing.assert_allclose(iou(a, b), expected, rtol=1e-6)


@given(boxes_and_scores(), st.floats(0.05, 0.95))
def test_nms_leaves_no_overlap_and_loses_nothing(case: tuple[np.ndarray, np.ndarray], threshold: float) -> None:
    boxes, scores = case
    kept = nms(boxes, scores, threshold)
    assert (np.triu(iou(boxes[kept], boxes[kept]), 1) < threshold).all()
    assert (np.diff(scores[kept]) <= 0).all()
    gone = np.setdiff1d(np.arange(len(boxes)), kept)
    assert (iou(boxes[gone], boxes[kept]) >= threshold).any(axis=1).all()


@given(boxes_and_scores(), st.sampled_from([0.1, 0.3, 0.5]))
def test_every_box_is_stood_for_by_a_better_one_that_it_overlaps(
    given_boxes: tuple[np.ndarray, np.ndarray], iou_threshold: float
) -> None:
    boxes, scores = given_boxes
    kept, group = group_overlaps(boxes, scores, iou_threshold)
    np.testing.assert_array_equal(kept, nms(boxes, scores, iou_threshold))
    np.testing.assert_array_equal(group[kept], np.arange(len(kept)))
    for box, place in enumerate(group):
        leader = kept[place]
        assert scores[leader] >= scores[box]
        assert leader == box or iou(boxes[[leader]], boxes[[box]])[0, 0] >= np.float32(iou_threshold)


def test_boxes_without_area_overlap_nothing() -> None:
    point = np.array([[3, 3, 3, 3]], np.float32)
    with np.errstate(all="raise"):
        np.testing.assert_array_equal(iou(point, np.concatenate([point, [[0, 0, 9, 9]]]).astype(np.float32)), [[0, 0]])
