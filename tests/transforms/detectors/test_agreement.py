import numpy as np
import pytest

from faceveil.transforms.detectors.agreement import have_counterparts, probe_images
from faceveil.transforms.detectors.candidates import Candidates

BOXES = np.array([[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.9, 0.7], [0, 0, 1, 1]], np.float32)
SCORES = np.array([0.9, 0.002, 0.1], np.float32)
CLASSES = np.array([1, 2, 1])


def test_order_and_rounding_do_not_matter() -> None:
    order = [2, 0, 1]
    shuffled = Candidates(BOXES[order] + np.float32(1e-4), SCORES[order] * np.float32(1.001), CLASSES[order])
    assert have_counterparts(Candidates(BOXES, SCORES, CLASSES), shuffled)
    assert have_counterparts(shuffled, Candidates(BOXES, SCORES, CLASSES))


@pytest.mark.parametrize(
    "other",
    [
        Candidates(BOXES + np.float32(0.02), SCORES, CLASSES),
        Candidates(BOXES, np.array([0.9, 0.003, 0.1], np.float32), CLASSES),
        Candidates(BOXES, SCORES, np.array([1, 1, 1])),
        Candidates(BOXES[:2], SCORES[:2], CLASSES[:2]),
        Candidates(BOXES[:0], SCORES[:0], CLASSES[:0]),
    ],
    ids=["box", "score", "class", "one missing", "none"],
)
def test_what_one_lacks_is_noticed(other: Candidates) -> None:
    assert not have_counterparts(Candidates(BOXES, SCORES, CLASSES), other)


def test_probe_images_are_structured_and_of_both_shapes() -> None:
    wide, high = probe_images()
    assert wide.shape[:2] == high.shape[1::-1]
    for image in (wide, high):
        assert image.dtype == np.uint8
        assert image.std() > 30
