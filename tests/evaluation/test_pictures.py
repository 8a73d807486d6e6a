import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.evaluation.pictures import FRAME, FacePicture, changed, copied, cut_out
from faceveil.transforms.faces import Faces
from tests.conftest import noise_image


def painted(height: int, width: int, boxes: np.ndarray) -> np.ndarray:
    """A grey image in which every box has a colour of its own."""
    image = np.full((height, width, 3), 128, np.uint8)
    for number, (x0, y0, x1, y1) in enumerate(boxes.astype(int)):
        image[y0:y1, x0:x1] = (255, 60 * number, 0)
    return image


def faces(boxes: np.ndarray) -> Faces:
    points = (boxes[:, np.newaxis, :2] + boxes[:, np.newaxis, 2:]) / 2
    return Faces(boxes, np.linspace(1, 0.5, len(boxes)).astype(np.float32), points.astype(np.float32))


def test_frames_differ_a_little() -> None:
    image = cv2.resize(noise_image(5, 5), (120, 130), interpolation=cv2.INTER_CUBIC)
    box = np.array([40, 40, 80, 90], np.float32)
    random = np.random.default_rng(0)
    one, other = (changed(image, box, FRAME, random).astype(int) for _ in range(2))
    assert 1 < np.abs(one - other).mean() < 20
    same = changed(image, box, FRAME, np.random.default_rng(0)).astype(int)
    np.testing.assert_array_equal(one, same)


@given(st.integers(0, 1), st.sampled_from([0.25, 1.0, 3.0]), st.sampled_from([10, 40, 1000]))
def test_a_face_is_cut_out_with_the_others_in_their_places(number: int, around: float, side: int) -> None:
    boxes = np.array([[0, 4, 40, 44], [50, 20, 110, 80]], np.float32)
    picture = cut_out(painted(100, 120, boxes), faces(boxes), number, around, side)
    assert (picture.box[2:] - picture.box[:2]).max() <= side + 1
    for place, original in enumerate((number, 1 - number)):
        x0, y0, x1, y1 = picture.faces.boxes[place]
        x, y = np.rint(picture.faces.keypoints[place][0]).astype(int)  # type: ignore[index]
        assert x0 < x < x1
        assert y0 < y < y1
        if x < picture.image.shape[1] and y < picture.image.shape[0] and x >= 0:
            assert picture.image[y, x, 1] == 60 * original
        assert picture.faces.scores[place] == faces(boxes).scores[original]


def test_a_copy_is_smaller_and_much_the_same() -> None:
    boxes = np.array([[10, 20, 50, 80]], np.float32)
    original = FacePicture(painted(100, 90, boxes), faces(boxes))
    copy = copied(original, 0.8, 75)
    assert copy.image.shape == (80, 72, 3)
    np.testing.assert_allclose(copy.box, 0.8 * boxes[0], rtol=1e-6)
    back = cv2.resize(copy.image, (90, 100))
    assert 0 < np.abs(back.astype(int) - original.image.astype(int)).mean() < 10


def test_a_face_beyond_the_edge_has_a_picture() -> None:
    boxes = np.array([[-20, -10, 15, 25]], np.float32)
    picture = cut_out(painted(60, 60, np.array([[0, 0, 15, 25]])), faces(boxes), 0, 1.0, 100)
    assert picture.box.tolist() == pytest.approx(boxes[0].tolist())
