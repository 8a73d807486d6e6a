"""What has to hold of an ONNX detector before any work."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from faceveil.transforms.detectors.engine import load_detector
from faceveil.transforms.errors import ModelError
from tests import onnx_exports
from tests.onnx_graph import export_values

ULTRALYTICS: dict[str, Any] = {"names": "{0: 'face'}", "kpt_shape": "[5, 3]"}
FACE = [178, 63, 268, 176]
NOTHING = np.zeros((1, 6, 84), np.float32)
"""Of YOLO, for images of 64 px: no scores at all."""


@pytest.fixture(scope="module")
def yolo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """YuNet-s as YOLO for poses exports it."""
    return Path(onnx_exports.export(tmp_path_factory.mktemp("yolo") / "m.onnx", "yolo", **ULTRALYTICS))


def copied(yolo: Path, folder: Path, declaration: str) -> str:
    """The model beside a declaration and the astronaut's photo."""
    import skimage.data

    (folder / "m.onnx").write_bytes(yolo.read_bytes())
    (folder / "m.yaml").write_text(declaration)
    cv2.imwrite(str(folder / "a.png"), skimage.data.astronaut()[..., ::-1])
    return str(folder / "m.onnx")


def test_known_answers_are_looked_for(yolo: Path, tmp_path: Path) -> None:
    right = f"tests: [{{image: a.png, boxes: [{FACE}]}}]"
    load_detector(copied(yolo, tmp_path, right), precision="float32")
    (tmp_path / "flat.png").write_bytes(cv2.imencode(".png", np.full((40, 400, 3), 99, np.uint8))[1].tobytes())
    load_detector(copied(yolo, tmp_path, "tests: [{image: flat.png, boxes: []}]"))
    for wrong, message in (
        (
            "tests: [{image: a.png, boxes: [[300, 300, 400, 400]]}]",
            "nothing at 300, 300, 400, 400 in a.png, the known answer",
        ),
        (
            "tests: [{image: a.png, boxes: []}]",
            "finds 1 boxes in a.png, and none is the known answer; look at `channels`",
        ),
        (
            f"{right}\nscale: 1",
            "nothing at 178, 63, 268, 176 in a.png, the known answer; look at `channels`, `mean`",
        ),
        ("tests: [{image: gone.png, boxes: []}]", "gone.png, an image with known answers, cannot be read"),
        ("tests: [{image: m.yaml, boxes: []}]", "m.yaml, an image with known answers, cannot be decoded"),
    ):
        with pytest.raises(ModelError, match=message) as told:
            load_detector(copied(yolo, tmp_path, wrong), precision="float32")
        assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("declaration", "message"),
    [
        ("keypoints: 0\nclasses: 16", r"m\.onnx, read as yolo: the model returned scores from .* must be from 0 to 1"),
        ("classes: 3", r"with 3 classes, with 5 keypoints; the model returned output0 \[1, 20, \d+\]"),
        ("layout: yolov5", r"m\.onnx, read as yolov5: the layout yolov5 is one output \[1, cells"),
        ("layout: scrfd", r"m\.onnx, read as scrfd"),
        ("layout: boxes\noutputs: {boxes: gone, scores: output0}", r"has no output called gone; declare `outputs`"),
        ("layout: object-detection-api", "has no output called detection_boxes"),
        ("axes: NHWC", r"takes images of \[3, \?\]; declare their `size`"),
        ("units: shares", "returns boxes that are nowhere in the image"),
        ("scores: softmax", "finds .* boxes in an image that is all grey 0|returned scores"),
        ("scores: sigmoid", "boxes in an image that is all grey 0, with scores up to 0"),
        ("columns: [x0, y0, x1, y1, score]", "columns says nothing of the layout yolo"),
    ],
)
def test_what_is_declared_wrongly_is_told(yolo: Path, tmp_path: Path, declaration: str, message: str) -> None:
    with pytest.raises(ModelError, match=message) as told:
        load_detector(copied(yolo, tmp_path, declaration))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (np.float32("nan"), "scores that are no numbers"),
        (np.float32(7), "scores from 7 to 7"),
        (np.float32(0.9), "finds 168 boxes in an image that is all grey 0|returns boxes that are nowhere|no pixels"),
    ],
)
def test_values_that_cannot_be_are_told(tmp_path: Path, value: np.float32, message: str) -> None:
    table = NOTHING.copy()
    table[0, :4] = 20
    table[0, 4:] = value
    path = export_values(tmp_path / "m.onnx", {"output0": table})
    with pytest.raises(ModelError, match=message):
        load_detector(path)


def test_who_finds_nothing_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = export_values(tmp_path / "m.onnx", {"output0": NOTHING})
    with caplog.at_level(logging.WARNING):
        load_detector(path)
    assert "nobody knows whether it finds anything" in caplog.text
    assert f"{tmp_path / 'm.yaml'}, as in `tests:" in caplog.text


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.UINT8])
def test_other_kinds_of_numbers_are_taken(kind: int, astronaut: np.ndarray, tmp_path: Path) -> None:
    scale = (1, 1, 1) if kind == TensorProto.UINT8 else (255, 255, 255)
    path = onnx_exports.export(tmp_path / "m.onnx", "yolo", kind=kind, scale=scale, **ULTRALYTICS)
    [found] = load_detector(path, precision="float32").run(astronaut[None], 0.5)
    y0, x0, y1, x1 = found.boxes[found.scores.argmax()] * 512
    np.testing.assert_allclose([x0, y0, x1, y1], FACE, atol=4)


def test_float16_weights_and_external_data_are_taken(yolo: Path, astronaut: np.ndarray, tmp_path: Path) -> None:
    model = onnx.load(str(yolo))
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.FLOAT and len(weight.dims) == 4 and weight.dims[2] == 1:
            half = onnx.numpy_helper.from_array(
                onnx.numpy_helper.to_array(weight).astype(np.float16), f"{weight.name}_16"
            )
            model.graph.initializer.append(half)
            model.graph.node.insert(0, helper.make_node("Cast", [half.name], [weight.name], to=TensorProto.FLOAT))
    wide = {name for node in model.graph.node[:200] if node.op_type == "Cast" for name in node.output}
    kept = [weight for weight in model.graph.initializer if weight.name not in wide]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    onnx.save(model, str(tmp_path / "m.onnx"), save_as_external_data=True, location="w.bin", size_threshold=0)
    assert (tmp_path / "w.bin").stat().st_size > 50_000
    [found] = load_detector(str(tmp_path / "m.onnx"), precision="float32").run(astronaut[None], 0.5)
    y0, x0, y1, x1 = found.boxes[found.scores.argmax()] * 512
    np.testing.assert_allclose([x0, y0, x1, y1], FACE, atol=4)


def test_what_openvino_cannot_run_is_told(tmp_path: Path) -> None:
    def save(node: onnx.NodeProto, shape: Any = (1, 3, 64, 64), domain: str = "") -> str:
        given = helper.make_tensor_value_info("images", TensorProto.FLOAT, shape)
        returned = helper.make_tensor_value_info("output", TensorProto.FLOAT, [1, 6, 84])
        graph = helper.make_graph([node], "graph", [given], [returned])
        versions = [helper.make_opsetid("", 17), helper.make_opsetid(domain or "ai.onnx.ml", 1)]
        path = str(tmp_path / f"{node.op_type}.onnx")
        onnx.save(helper.make_model(graph, opset_imports=versions, ir_version=9), path)
        return path

    for path, message in (
        (
            save(helper.make_node("Swirl", ["images"], ["output"], domain="com.acme"), domain="com.acme"),
            "com.acme.Swirl",
        ),
        (save(helper.make_node("Gemm", ["images"], ["output"])), "OpenVINO cannot run"),
        (
            save(helper.make_node("Identity", ["images"], ["output"]), [1, 3, 10**6, 10**6]),
            r"takes images of \[1000000",
        ),
    ):
        with pytest.raises(ModelError, match=message) as told:
            load_detector(path)
        assert "\n" not in str(told.value)
        assert len(str(told.value)) < 600


def test_classes_that_a_model_has_not_are_told(tmp_path: Path) -> None:
    path = export_values(tmp_path / "m.onnx", {"output0": NOTHING}, names="{0: 'car', 1: 'plate'}")
    load_detector(path, classes=(1, 7))
    with pytest.raises(ModelError, match=r"--classes 2 7: .*m\.onnx has none of these, but 0 \(car\), 1 \(plate\)"):
        load_detector(path, classes=(2, 7))


def test_openvino_needs_neither_onnx_nor_tensorflow(yolo: Path) -> None:
    program = (
        "import sys; from faceveil.transforms.detectors.engine import load_detector; "
        f"load_detector({str(yolo)!r}); sys.exit(bool({{'onnx', 'tensorflow'}} & sys.modules.keys()))"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_tensorflow_runs_no_onnx(yolo: Path) -> None:
    with pytest.raises(ModelError, match=r"--engine tensorflow: .*m\.onnx is an ONNX file, which OpenVINO runs"):
        load_detector(str(yolo), "tensorflow")
