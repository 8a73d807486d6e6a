"""Jobs with detectors of one's own, exported by TensorFlow's Object Detection API."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from PIL import Image

from faceveil.pipeline.cli import main
from tests.conftest import audit_of
from tests.transforms.detectors.object_detection_api import BLUE, GREEN, RED, WHITE, squares_picture

Export = Callable[..., str]


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """White, red, green and blue squares."""
    path = tmp_path_factory.mktemp("pictures") / "squares.png"
    Image.fromarray(squares_picture(512)).save(path)
    return path


def run(picture: Path, output: Path, *options: str) -> int:
    looks = ("--quality", "fast", "--detect_size", "512", "--score_threshold", "0.9")
    return main(["run", "--input", str(picture), "--output", str(output), "--method", "solid", *looks, *options])


def faces(output: Path) -> list[list[float]]:
    """The boxes of the one image, from left to right."""
    [row] = pq.read_table(audit_of(output)).to_pylist()
    return sorted([face[side] for side in ("x0", "y0", "x1", "y1")] for face in row["faces"])


def manifest(output: Path) -> Any:
    return json.loads((output / "manifest.json").read_text())


@pytest.mark.parametrize("engine", ["auto", "tensorflow"])
def test_an_efficientdet_finds_and_masks(
    efficientdet: Export, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: str
) -> None:
    options = ("--model", efficientdet(), "--classes", "1", "--engine", engine)
    assert run(picture, tmp_path / "out", *options) == 0
    np.testing.assert_allclose(faces(tmp_path / "out"), [WHITE], atol=0.5)
    assert manifest(tmp_path / "out")["job"]["engine"] == "tensorflow"
    assert ("it finds other boxes than TensorFlow; TensorFlow runs it instead" in capsys.readouterr().err) == (
        engine == "auto"
    )
    [record] = tf.data.TFRecordDataset(str(tmp_path / "out" / "data-00000-of-00001.tfrecord")).as_numpy_iterator()
    feature = tf.train.Example.FromString(record).features.feature
    after = tf.io.decode_image(feature["image/encoded"].bytes_list.value[0]).numpy()
    x0, y0, x1, y1 = WHITE
    assert not after[y0:y1, x0:x1].any()
    x0, y0, x1, y1 = RED
    assert (after[y0:y1, x0:x1] == [255, 20, 20]).all()


@pytest.mark.parametrize("engine", ["auto", "openvino"])
def test_classes_choose_what_is_a_face_on_openvino(
    efficientdet: Export, picture: Path, tmp_path: Path, engine: str
) -> None:
    options = ("--model", efficientdet(classes=3, fixed_resize=True), "--classes", "1", "3", "--engine", engine)
    assert run(picture, tmp_path / "out", *options) == 0
    np.testing.assert_allclose(faces(tmp_path / "out"), sorted([RED, BLUE]), atol=0.5)
    assert manifest(tmp_path / "out")["job"]["engine"] == "openvino"


def test_keypoints_of_a_detector_for_batches_are_recorded(efficientdet: Export, picture: Path, tmp_path: Path) -> None:
    model = efficientdet(classes=3, dynamic_batch=True, keypoints=True)
    assert run(picture, tmp_path / "out", "--model", model, "--classes", "2", "--engine", "tensorflow") == 0
    [row] = pq.read_table(audit_of(tmp_path / "out")).to_pylist()
    [face] = row["faces"]
    x0, y0, x1, y1 = GREEN
    np.testing.assert_allclose(face["keypoints"][4:6], [x0 + 0.5 * (x1 - x0), y0 + 0.6 * (y1 - y0)], atol=0.5)


@pytest.mark.parametrize("repeated", [False, True])
def test_two_detectors_find_the_union_however_they_are_named(
    efficientdet: Export, picture: Path, tmp_path: Path, repeated: bool
) -> None:
    white, colours = efficientdet(), efficientdet(classes=3)
    models = ("--model", white, "--model", colours) if repeated else ("--model", white, colours)
    assert run(picture, tmp_path / "out", *models, "--classes", "1", "--engine", "tensorflow") == 0
    np.testing.assert_allclose(faces(tmp_path / "out"), sorted([WHITE, RED]), atol=0.5)
    assert manifest(tmp_path / "out")["model"]["name"].count("+") == 1


@pytest.mark.parametrize(
    ("spec", "lacking", "message"),
    [
        (tf.TensorSpec([1, None, None, 3], tf.uint8), "num_detections", "lacks num_detections; it has detection_boxes"),
        (tf.TensorSpec([1, None, None, 3], tf.float32), None, "must take uint8 [B, H, W, 3]; it takes float32"),
        (
            tf.TensorSpec([1, 768, 768, 3], tf.uint8),
            None,
            "any H and W, and any B or 1; it takes [1, 768, 768, 3]",
        ),
        (tf.TensorSpec([None], tf.string), None, "must take uint8 [B, H, W, 3]; it takes string [None]"),
    ],
    ids=["output missing", "float images", "fixed size", "encoded images"],
)
def test_a_broken_contract_is_told_before_any_work(
    picture: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    spec: tf.TensorSpec,
    lacking: str | None,
    message: str,
) -> None:
    shapes = {"detection_boxes": [1, 100, 4], "detection_scores": [1, 100], "num_detections": [1]}
    module = tf.Module()

    @tf.function(input_signature=[spec])  # type: ignore[untyped-decorator]
    def serve(input_tensor: tf.Tensor) -> dict[str, tf.Tensor]:
        del input_tensor
        return {name: tf.zeros(shape) for name, shape in shapes.items() if name != lacking}

    module.serve = serve
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"serving_default": serve})
    assert run(picture, tmp_path / "out", "--model", str(tmp_path / "model")) == 5
    said = capsys.readouterr().err
    assert f"faceveil: {tmp_path / 'model'} " in said
    assert message in said
    assert not (tmp_path / "out").exists()
