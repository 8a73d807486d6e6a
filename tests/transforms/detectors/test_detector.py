import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.transforms.detectors.conftest import MakeModel
from transforms.detectors.detector import Detector, DetectorConfig, _input_size
from transforms.detectors.models import ModelError
from transforms.faces import Faces

BLACK = np.zeros((50, 100, 3), np.uint8)


def detect_one(model: str, width: int, height: int, **options: object) -> Faces:
    detector = Detector(DetectorConfig(model, detect_size=64, **options))
    (faces,) = detector.detect([detector.prepare(BLACK, width, height)])
    return faces


@pytest.mark.parametrize("factor", [0.25, 1.0, 3.0])
def test_a_face_is_found_in_pixels_of_the_full_image(centerface: str, astronaut: np.ndarray, factor: float) -> None:
    detector = Detector(DetectorConfig(centerface, score_threshold=0.5, detect_size=512))
    decoded = cv2.resize(astronaut, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    (faces,) = detector.detect([detector.prepare(decoded, 2048, 2048)])
    x0, y0, x1, y1 = faces.boxes[0] / 4
    assert abs(x0 - 181) < 12
    assert abs(y0 - 58) < 12
    assert abs(x1 - 270) < 12
    assert abs(y1 - 178) < 12
    assert faces.keypoints is not None
    left, right, nose = faces.keypoints[0, :3] / 4
    assert x0 < left[0] < nose[0] < right[0] < x1
    assert max(left[1], right[1]) < nose[1]


def test_overlaps_go_and_the_best_comes_first(make_model: MakeModel, outputs: dict[str, np.ndarray]) -> None:
    faces = detect_one(make_model(outputs), 200, 100)
    np.testing.assert_allclose(faces.scores, [0.9, 0.5])
    np.testing.assert_allclose(faces.boxes, [[100, 50, 140, 90], [40, 10, 80, 30]], rtol=1e-5)
    assert faces.boxes.dtype == faces.scores.dtype == np.float32
    assert faces.keypoints is None


def test_threshold_and_classes(make_model: MakeModel, outputs: dict[str, np.ndarray]) -> None:
    model = make_model(outputs)
    assert detect_one(model, 10, 10, score_threshold=0.6).scores.tolist() == [np.float32(0.9)]
    assert detect_one(model, 10, 10, classes=(2,)).scores.tolist() == [0.5]
    assert len(detect_one(model, 10, 10, classes=(3,))) == 0


def test_boxes_without_an_area_are_dropped_and_others_cut(make_model: MakeModel) -> None:
    boxes = [[0.5, 0.5, 0.5, 1], [0.8, 0.1, 0.2, 0.3], [-1, -1, 0.5, 0.5]]
    points = np.tile(np.array([[0.25, -0.5]], np.float32), (3, 1, 1))
    model = make_model(
        {
            "detection_boxes": np.array(boxes, np.float32),
            "detection_scores": np.full(3, 0.9, np.float32),
            "detection_keypoints": points,
            "num_detections": np.array(3, np.float32),
        }
    )
    faces = detect_one(model, 200, 100)
    np.testing.assert_allclose(faces.boxes, [[0, 0, 100, 50]])
    np.testing.assert_allclose(faces.keypoints, [[[-100, 25]]])


@pytest.mark.parametrize(
    ("name", "value"), [("detection_scores", np.nan), ("detection_boxes", np.nan), ("detection_boxes", np.inf)]
)
def test_what_is_no_number_is_no_absence_of_faces(
    make_model: MakeModel, outputs: dict[str, np.ndarray], name: str, value: float
) -> None:
    outputs[name][0] = value
    with pytest.raises(ModelError, match="no numbers"):
        detect_one(make_model(outputs), 10, 10)


def test_a_batch_equals_its_images_alone(centerface: str, astronaut: np.ndarray) -> None:
    detector = Detector(DetectorConfig(centerface, detect_size=320))
    assert detector.batch_size >= 1
    views = [detector.prepare(image, 512, 512) for image in (astronaut, astronaut[:, ::-1])]
    for together, view in zip(detector.detect(views), views, strict=True):
        (alone,) = detector.detect([view])
        np.testing.assert_array_equal(together.boxes, alone.boxes)
        np.testing.assert_array_equal(together.scores, alone.scores)
    assert detector.detect([]) == []


@given(st.integers(1, 20_000), st.integers(1, 20_000), st.integers(32, 2048))
def test_input_sides_are_the_nearest_multiples(width: int, height: int, detect_size: int) -> None:
    across, down = _input_size(width, height, detect_size)
    assert across % 32 == down % 32 == 0
    scale = detect_size / max(width, height)
    for side, wanted in ((across, width * scale), (down, height * scale)):
        assert abs(side - wanted) <= 16 or (side == 32 and wanted < 16)
