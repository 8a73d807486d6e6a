"""Detectors as users of TensorFlow's Object Detection API have them, run as they were exported."""

import logging
from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from faceveil.transforms.detectors.engine import DetectorModel, load_detector
from faceveil.transforms.detectors.onnx_detector import OnnxDetector
from faceveil.transforms.errors import ModelError
from faceveil.transforms.models.engines import EngineName
from tests.transforms.detectors.conftest import MakeModel
from tests.transforms.detectors.object_detection_api import BLUE, GREEN, RED, squares_picture

Export = Callable[..., str]
PICTURE = squares_picture()
COLOURS = {1: RED, 2: GREEN, 3: BLUE}


def assert_finds(
    engine: DetectorModel | OnnxDetector, picture: np.ndarray, squares: dict[int, list[int]], atol: float
) -> None:
    """The best box of each class is the square of its colour."""
    (candidates,) = engine.run(picture[None], 0.9)
    assert candidates.classes is not None
    assert set(candidates.classes) == set(squares)
    height, width = picture.shape[:2]
    boxes = candidates.boxes[:, [1, 0, 3, 2]] * np.array([width, height] * 2, np.float32)
    for label, square in squares.items():
        np.testing.assert_allclose(boxes[candidates.classes == label][0], square, atol=atol)


def test_the_export_has_the_api_s_signature(efficientdet: Export) -> None:
    serve = tf.saved_model.load(efficientdet(classes=3)).signatures["serving_default"]
    ((name, spec),) = serve.structured_input_signature[1].items()
    assert (name, spec.dtype, spec.shape.as_list()) == ("input_tensor", tf.uint8, [1, None, None, 3])
    outputs = {name: output.shape.as_list() for name, output in serve.structured_outputs.items()}
    anchors = outputs["raw_detection_boxes"][1]
    assert outputs == {
        "detection_anchor_indices": [1, 100],
        "detection_boxes": [1, 100, 4],
        "detection_classes": [1, 100],
        "detection_multiclass_scores": [1, 100, 3],
        "detection_scores": [1, 100],
        "num_detections": [1],
        "raw_detection_boxes": [1, anchors, 4],
        "raw_detection_scores": [1, anchors, 3],
    }
    assert {output.dtype for output in serve.structured_outputs.values()} == {tf.float32}
    graph = serve.graph.as_graph_def()
    operations = {node.op for function in graph.library.function for node in function.node_def}
    operations |= {node.op for node in graph.node}
    assert operations >= {"StatefulPartitionedCall", "ReadVariableOp", "DepthwiseConv2dNative", "NonMaxSuppressionV5"}
    assert operations & {"While", "StatelessWhile"}


def test_an_export_for_single_images(efficientdet: Export) -> None:
    engine = load_detector(efficientdet(classes=3), "tensorflow")
    assert_finds(engine, PICTURE, COLOURS, atol=0.2)
    first, second = engine.run(np.stack([PICTURE, PICTURE[::-1]]))
    assert len(first.boxes) == len(second.boxes)
    assert not np.allclose(first.boxes, second.boxes)


def test_an_export_for_batches_with_keypoints(efficientdet: Export) -> None:
    engine = load_detector(efficientdet(classes=3, dynamic_batch=True, keypoints=True), "tensorflow")
    assert_finds(engine, PICTURE, COLOURS, atol=0.2)
    batch = np.stack([PICTURE, PICTURE[::-1]])
    for together, image in zip(engine.run(batch), batch, strict=True):
        (alone,) = engine.run(image[None])
        np.testing.assert_allclose(together.boxes, alone.boxes, atol=1e-5)
        np.testing.assert_allclose(together.scores, alone.scores, atol=1e-5)
        assert together.keypoints is not None
        low, high = together.boxes[:, :2], together.boxes[:, 2:]
        np.testing.assert_allclose(together.keypoints[:, 2], low + (high - low) * [0.6, 0.5], atol=1e-5)


def test_openvino_runs_an_export_that_it_converts_rightly(efficientdet: Export) -> None:
    engine = load_detector(efficientdet(classes=3, fixed_resize=True))
    assert engine.engine.name == "openvino"
    assert_finds(engine, squares_picture(512), COLOURS, atol=0.5)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "wrongly: it finds other boxes than TensorFlow"),  # it resizes to twice the image's size, not to half
        (
            {"dynamic_batch": True, "keypoints": True},
            "No conversion rule found for operations: CombinedNonMaxSuppression",
        ),
    ],
)
def test_auto_takes_tensorflow_where_openvino_fails_or_is_wrong(
    efficientdet: Export, caplog: pytest.LogCaptureFixture, options: dict[str, bool], reason: str
) -> None:
    model = efficientdet(classes=3, **options)
    with caplog.at_level(logging.WARNING):
        engine = load_detector(model)
    assert (engine.engine.name, engine.engine.precision) == ("tensorflow", "float32")
    assert reason in caplog.text
    with pytest.raises(ModelError, match=f"{reason}; --engine tensorflow may run it"):
        load_detector(model, "openvino")


def test_a_model_that_says_nothing_about_a_test_image_is_not_trusted_to_openvino(
    make_model: MakeModel, outputs: dict[str, np.ndarray], caplog: pytest.LogCaptureFixture
) -> None:
    outputs["num_detections"] = np.array(0, np.float32)
    with caplog.at_level(logging.WARNING):
        assert load_detector(make_model(outputs)).engine.name == "tensorflow"
    assert "returns nothing to compare" in caplog.text


@pytest.mark.parametrize("engine", ["auto", "openvino", "tensorflow"])
@pytest.mark.parametrize(
    ("shape", "dtype", "message"),
    [
        ((1, 512, 512, 3), "uint8", r"any H and W, and any B or 1; it takes \[1, 512, 512, 3\]"),
        ((8, None, None, 3), "uint8", r"any B or 1; it takes \[8, None, None, 3\]"),
        ((1, None, None, 4), "uint8", r"it takes \[1, None, None, 4\]"),
        ((None, None, None, 3), "float32", r"must take uint8 \[B, H, W, 3\]; it takes float32"),
        ((None, None, 3), "uint8", r"must take uint8 \[B, H, W, 3\]; it takes uint8 \[None, None, 3\]"),
    ],
)
def test_inputs_that_break_the_contract_are_named(
    make_model: MakeModel,
    outputs: dict[str, np.ndarray],
    engine: EngineName,
    shape: tuple[int | None, ...],
    dtype: str,
    message: str,
) -> None:
    model = make_model(outputs, shape=shape, dtype=dtype)
    with pytest.raises(ModelError, match=f"{model} .*{message}"):
        load_detector(model, engine)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("detection_boxes", np.zeros((4, 5), np.float32), r"detection_boxes \[1, 4, 5\]"),
        ("detection_boxes", np.zeros((4, 4, 1), np.float32), r"detection_boxes \[1, 4, 4, 1\]"),
        ("detection_scores", np.zeros((4, 2), np.float32), r"detection_scores \[1, 4, 2\]"),
        ("detection_classes", np.zeros(3, np.float32), r"detection_classes \[1, 3\]"),
        ("detection_keypoints", np.zeros((4, 10), np.float32), r"detection_keypoints \[1, 4, 10\]"),
        ("num_detections", np.zeros(1, np.float32), r"num_detections \[1, 1\]"),
        ("num_detections", np.array(5, np.float32), "num_detections must be counts up to 4"),
        ("detection_classes", np.array(["face"] * 4), "must be numbers: .*detection_classes object"),
    ],
)
def test_outputs_that_break_the_contract_are_named(
    make_model: MakeModel, outputs: dict[str, np.ndarray], name: str, value: np.ndarray, message: str
) -> None:
    model = make_model({**outputs, name: value})
    for engine in ("auto", "tensorflow"):
        with pytest.raises(ModelError, match=message):
            load_detector(model, engine)
