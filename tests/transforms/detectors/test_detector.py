from typing import Any

import cv2
import numpy as np
import pytest

from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.detectors.engine import load_detector
from faceveil.transforms.detectors.quality import Quality
from faceveil.transforms.detectors.views import ShownImage
from faceveil.transforms.errors import ModelError
from faceveil.transforms.faces import Faces
from faceveil.transforms.models.engines import EngineName
from tests.transforms.detectors.conftest import MakeModel

BLACK = np.zeros((50, 100, 3), np.uint8)


def detect_one(model: str, width: int, height: int, **options: Any) -> Faces:
    detector = Detector(DetectorConfig((model,), quality=Quality(64), **options))
    (faces,) = detector.detect([detector.prepare(BLACK, width, height)])
    return faces


@pytest.mark.parametrize("factor", [0.25, 1.0, 3.0])
def test_a_face_is_found_in_pixels_of_the_full_image(centerface: str, astronaut: np.ndarray, factor: float) -> None:
    detector = Detector(DetectorConfig((centerface,), score_threshold=0.5, quality=Quality(512)))
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


def test_boxes_that_were_cut_to_nothing_are_dropped_and_others_cut(make_model: MakeModel) -> None:
    boxes = [[0, 0.5, 0, 1], [0.8, 1, 0.9, 1], [-1, -1, 0.5, 0.5]]
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
    assert faces.keypoints is not None
    np.testing.assert_allclose(faces.keypoints, [[[-100, 25]]])


@pytest.mark.parametrize(
    ("name", "value"), [("detection_scores", np.nan), ("detection_boxes", np.nan), ("detection_boxes", np.inf)]
)
def test_what_is_no_number_is_no_absence_of_faces(
    make_model: MakeModel, outputs: dict[str, np.ndarray], name: str, value: float
) -> None:
    outputs[name][0] = value
    with pytest.raises(ModelError, match=r"no numbers|\((nan|inf), .*nowhere in the image"):
        detect_one(make_model(outputs), 10, 10)


@pytest.mark.parametrize(
    "box",
    [
        [100, 150, 300, 350],  # pixels
        [0.9, 0.1, 0.2, 0.3],  # max before min
        [0.1, 0.9, 0.2, 0.3],
        [0.5, 0.5, 0.5, 1],  # no area, and not at an edge
        [1.1, 0.1, 1.3, 0.3],  # beside the image
        [-3, 0, 0.5, 0.5],
    ],
)
def test_a_face_that_is_nowhere_is_no_absence_of_faces(
    make_model: MakeModel, outputs: dict[str, np.ndarray], box: list[float]
) -> None:
    # The other boxes make sense, so the model passes when it is loaded.
    outputs["detection_boxes"][0] = box
    with pytest.raises(ModelError, match="nowhere in the image; the contract is ymin, xmin, ymax, xmax, from 0 to 1"):
        detect_one(make_model(outputs), 640, 480)
    # What is no face may be anywhere.
    assert len(detect_one(make_model(outputs), 640, 480, score_threshold=0.6)) == 1
    assert len(detect_one(make_model(outputs), 640, 480, classes=(1,))) == 1


@pytest.mark.parametrize("order", [[2, 3, 0, 1], [2, 1, 0, 3]])
@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_a_model_whose_boxes_are_nowhere_is_refused_when_it_is_loaded(
    make_model: MakeModel, outputs: dict[str, np.ndarray], order: list[int], engine: EngineName
) -> None:
    for broken in (outputs["detection_boxes"] * np.float32(640), outputs["detection_boxes"][:, order]):
        with pytest.raises(ModelError, match="returns boxes that are nowhere in the image, such as"):
            load_detector(make_model({**outputs, "detection_boxes": broken}), engine)


def test_a_batch_equals_its_images_alone(centerface: str, astronaut: np.ndarray) -> None:
    detector = Detector(DetectorConfig((centerface,), quality=Quality(320)))
    assert detector.batch_size >= 1
    views = [detector.prepare(image, 512, 512) for image in (astronaut, astronaut[:, ::-1])]
    for together, view in zip(detector.detect(views), views, strict=True):
        (alone,) = detector.detect([view])
        np.testing.assert_array_equal(together.boxes, alone.boxes)
        np.testing.assert_array_equal(together.scores, alone.scores)
    assert detector.detect([]) == []


def test_what_any_of_several_models_finds_counts(make_model: MakeModel, outputs: dict[str, np.ndarray]) -> None:
    one = make_model(outputs)
    elsewhere = {**outputs, "detection_boxes": outputs["detection_boxes"] * np.float32(0.1)}
    detector = Detector(DetectorConfig((one, make_model(elsewhere)), quality=Quality(64)))
    (faces,) = detector.detect([detector.prepare(BLACK, 1000, 1000)])
    (alone,) = Detector(DetectorConfig((one,), quality=Quality(64))).detect([detector.prepare(BLACK, 1000, 1000)])
    assert len(faces) == 2 * len(alone)
    assert (np.diff(faces.scores) <= 0).all()


def test_two_models_share_the_views(make_model: MakeModel, outputs: dict[str, np.ndarray]) -> None:
    one = make_model(outputs)
    elsewhere = {**outputs, "detection_boxes": outputs["detection_boxes"] * np.float32(0.1)}
    quality = Quality(64, smaller=(32,), mirrored=True, turned=1)
    detector = Detector(DetectorConfig((one, make_model(elsewhere)), quality=quality, shares_views=True))
    alone = Detector(DetectorConfig((one,), quality=quality)), Detector(DetectorConfig(detector.config.model_dirs[1:]))
    shown = detector.prepare(BLACK, 1000, 1000)
    by_second = [view.window.mirrored or view.window.min_face > 0 for view in shown.views]
    assert by_second.count(False) == 4  # the whole image, and it turned
    for view, second in zip(shown.views, by_second, strict=True):
        (shared,), (expected,) = detector.detect([ShownImage((view,))]), alone[second].detect([ShownImage((view,))])
        np.testing.assert_array_equal(shared.boxes, expected.boxes)
        np.testing.assert_array_equal(shared.scores, expected.scores)
    heights = [np.ptp(each.detect([shown])[0].boxes[:, 1::2], axis=1) for each in (detector, *alone)]
    assert (heights[0].max(), heights[0].min()) == (heights[1].max(), heights[2].min())


def test_a_small_face_in_a_large_photo_is_found_by_tiles(centerface: str, astronaut: np.ndarray) -> None:
    photo = np.full((3000, 4000, 3), 90, np.uint8)
    photo[2000:2128, 3000:3128] = cv2.resize(
        astronaut, (128, 128), interpolation=cv2.INTER_AREA
    )  # a face of 22 x 30 px

    def find(quality: Quality) -> Faces:
        detector = Detector(DetectorConfig((centerface,), score_threshold=0.5, quality=quality))
        (faces,) = detector.detect([detector.prepare(photo, 4000, 3000)])
        return faces

    assert len(find(Quality(1024))) == 0
    faces = find(Quality(1024, reduce_at_most=1))
    assert len(faces) == 1
    np.testing.assert_allclose(faces.boxes[0], [3045, 2014, 3068, 2045], atol=5)


@pytest.mark.parametrize("turns", range(4))
def test_faces_that_lie_on_their_side_are_found_when_views_are_turned(
    centerface: str, astronaut: np.ndarray, turns: int
) -> None:
    photo = np.ascontiguousarray(np.rot90(astronaut, turns))
    quality = Quality(512, mirrored=True, turned=1)
    detector = Detector(DetectorConfig((centerface,), score_threshold=0.5, quality=quality))
    (faces,) = detector.detect([detector.prepare(photo, 512, 512)])
    x0, y0, x1, y1 = 181, 58, 270, 178
    for _ in range(turns):
        x0, y0, x1, y1 = y0, 512 - x1, y1, 512 - x0
    np.testing.assert_allclose(faces.boxes[0], [x0, y0, x1, y1], atol=20)


def test_a_face_that_fills_the_frame_is_found(centerface: str, astronaut: np.ndarray) -> None:
    detector = Detector(DetectorConfig((centerface,)))
    face = astronaut[55:185, 178:274]
    (faces,) = detector.detect([detector.prepare(face, 960, 1300)])
    x0, y0, x1, y1 = faces.boxes[0]
    assert (x1 - x0) * (y1 - y0) > 0.6 * 960 * 1300
