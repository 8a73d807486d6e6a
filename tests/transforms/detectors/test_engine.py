import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from faceveil.transforms.detectors.candidates import Candidates
from faceveil.transforms.detectors.engine import load_detector
from faceveil.transforms.errors import ModelError
from faceveil.transforms.models.engines import EngineName, Precision
from tests.transforms.detectors.conftest import MakeModel

IMAGES = np.arange(2 * 64 * 96 * 3, dtype=np.uint32).astype(np.uint8).reshape(2, 64, 96, 3)


def assert_identical(a: Candidates, b: Candidates) -> None:
    np.testing.assert_array_equal(a.boxes, b.boxes)
    np.testing.assert_array_equal(a.scores, b.scores)
    np.testing.assert_array_equal(a.keypoints, b.keypoints)


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_openvino_is_identical_over_streams_threads_and_order(
    centerface: str, astronaut: np.ndarray, precision: Precision
) -> None:
    images = [cv2.resize(astronaut, size) for size in ((512, 512), (320, 448), (512, 384), (64, 32))] * 2
    alone = load_detector(centerface, "openvino", precision, threads=1)
    expected = [alone.run(image[None])[0] for image in images]
    shared = load_detector(centerface, "openvino", precision, threads=3)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(lambda image: shared.run(image[None])[0], reversed(images)))
    for a, b in zip(expected, reversed(found), strict=True):
        assert_identical(a, b)
    (first, second) = shared.run(np.stack([images[0], images[0][::-1]]))
    assert_identical(first, expected[0])
    assert not np.array_equal(second.scores, first.scores)


def test_after_a_failure_openvino_is_compiled_anew_for_all_threads(centerface: str, astronaut: np.ndarray) -> None:
    # Of a call that failed for want of memory it keeps shapes, and fails for every image after it.
    detector = load_detector(centerface, "openvino", threads=2)
    image = cv2.resize(astronaut, (320, 448))[None]
    (expected,) = detector.run(image)
    requests = detector.engine._requests  # type: ignore[attr-defined]

    def fail(_: dict[str, np.ndarray]) -> None:
        raise MemoryError

    [port] = detector.engine.signature.inputs
    with pytest.raises(MemoryError):
        detector.engine.run({port.names[0]: image}, fail)
    (found,) = detector.run(image)
    assert detector.engine._requests is not requests  # type: ignore[attr-defined]
    assert_identical(found, expected)


def test_engines_agree(centerface: str, astronaut: np.ndarray) -> None:
    batch = np.stack([astronaut[:256, :320], astronaut[100:356, 100:420]])
    tensorflow = load_detector(centerface, "tensorflow", threads=2)
    openvino = load_detector(centerface, "openvino", "float32", threads=2)
    assert (tensorflow.engine.name, tensorflow.engine.precision) == ("tensorflow", "float32")
    assert (openvino.engine.name, openvino.engine.precision) == ("openvino", "float32")
    assert tensorflow.engine.device
    assert openvino.engine.device
    for a, b in zip(tensorflow.run(batch), openvino.run(batch), strict=True):
        np.testing.assert_allclose(a.scores, b.scores, atol=1e-4)
        np.testing.assert_allclose(a.boxes, b.boxes, atol=1e-3)
    with ThreadPoolExecutor(2) as pool:
        for one, again in zip(*pool.map(tensorflow.run, [batch, batch]), strict=True):
            assert_identical(one, again)


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
@pytest.mark.parametrize("batch", [None, 1])
def test_contract_of_the_object_detection_api(
    make_model: MakeModel, outputs: dict[str, np.ndarray], engine: EngineName, batch: int | None
) -> None:
    found = load_detector(make_model(outputs, shape=(batch, None, None, 3)), engine, "float32").run(IMAGES)
    assert len(found) == 2
    for candidates in found:
        np.testing.assert_array_equal(candidates.boxes, outputs["detection_boxes"][:3])
        np.testing.assert_array_equal(candidates.scores, outputs["detection_scores"][:3])
        np.testing.assert_array_equal(candidates.classes, [2, 1, 1])
        assert candidates.keypoints is None


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_broken_contracts_are_named(make_model: MakeModel, outputs: dict[str, np.ndarray], engine: EngineName) -> None:
    del outputs["detection_scores"]
    with pytest.raises(ModelError, match="lacks detection_scores; it has detection_boxes"):
        load_detector(make_model(outputs), engine)
    outputs["detection_scores"] = np.zeros(7, np.float32)
    with pytest.raises(ModelError, match=r"detection_scores \[1, 7\]"):
        load_detector(make_model(outputs), engine)
    outputs["detection_scores"] = np.zeros(4, np.float32)
    outputs["num_detections"] = np.array(2.5, np.float32)
    with pytest.raises(ModelError, match="num_detections must be counts up to 4"):
        load_detector(make_model(outputs), engine)


def test_auto_takes_tensorflow_where_openvino_cannot(
    make_model: MakeModel, outputs: dict[str, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    model = make_model(outputs, unconvertible=True)
    with caplog.at_level(logging.WARNING):
        engine = load_detector(model)
    assert engine.engine.name == "tensorflow"
    assert "OpenVINO cannot run" in caplog.text
    assert len(engine.run(IMAGES)[0].scores) == 3
    with pytest.raises(ModelError, match="--engine tensorflow"):
        load_detector(model, "openvino")
    with pytest.raises(ModelError, match=r"TensorFlow may, but not with --precision bfloat16|has no bfloat16"):
        load_detector(model, "auto", "bfloat16")


def test_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no saved_model\.pb"):
        load_detector(str(tmp_path))
    (tmp_path / "saved_model.pb").write_bytes(b"no graph at all")
    with pytest.raises(ModelError, match="cannot"):
        load_detector(str(tmp_path))


def test_tensorflow_has_no_bfloat16(centerface: str) -> None:
    with pytest.raises(ModelError, match="bfloat16 needs OpenVINO"):
        load_detector(centerface, "tensorflow", "bfloat16")


def test_openvino_leaves_tensorflow_alone(centerface: str) -> None:
    program = (
        "import sys; from faceveil.transforms.detectors.engine import load_detector; "
        f"load_detector({centerface!r}); sys.exit('tensorflow' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
