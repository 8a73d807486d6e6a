"""Every layout's outputs: real exports find what the SavedModel of the same weights finds; others are told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto

from faceveil.transforms.detectors.candidates import Candidates
from faceveil.transforms.detectors.engine import load_detector
from faceveil.transforms.detectors.models import KNOWN_MODELS, known_model
from faceveil.transforms.detectors.onnx_layouts import Reading
from faceveil.transforms.detectors.onnx_outputs import read_outputs
from faceveil.transforms.errors import ModelError
from tests import onnx_exports

SIZE = (64, 96)
IMAGENET = {"mean": (123.675, 116.28, 103.53), "scale": (58.395, 57.12, 57.375)}
EXPORTS: dict[str, tuple[dict[str, Any], str]] = {
    "rows6": ({"size": (512, 512)}, ""),
    "rows7": ({"classes": 3}, ""),
    "boxes": ({"axes": "CHW", **IMAGENET}, "mean: [123.675, 116.28, 103.53]\nscale: [58.395, 57.12, 57.375]"),
    "egoblur": (
        {"axes": "CHW", "bgr": True, "scale": (1, 1, 1)},
        "layout: boxes\nchannels: BGR\nscale: 1\noutputs: {boxes: '12', scores: '14'}",
    ),
    "yolo": ({"names": "{0: 'face'}", "kpt_shape": "[5, 3]"}, ""),
    "yolov5": ({"size": (512, 512), "classes": 3, "axes": "NHWC"}, ""),
    "yolov5-face": ({}, "layout: yolov5-face"),
    "scrfd": ({"mean": (127.5,) * 3, "scale": (128,) * 3}, ""),
    "retinaface": ({"mean": (104, 117, 123), "scale": (1, 1, 1), "bgr": True}, ""),
    "yunet": ({"scale": (1, 1, 1), "bgr": True}, ""),
    "ssd": ({"size": (512, 512), "shares": True, "scale": (1, 1, 1)}, ""),
    "object-detection-api": (
        {"size": (512, 512), "shares": True, "scale": (1, 1, 1), "axes": "NHWC", "kind": TensorProto.UINT8},
        "",
    ),
}
WITH_KEYPOINTS = {"yolo", "yolov5-face", "scrfd", "retinaface", "yunet"}
CHOSEN = {"rows6", "rows7", "boxes", "egoblur", "ssd"}
"""The models have suppressed overlaps themselves."""


@pytest.fixture(scope="module")
def saved() -> Candidates:
    """What the SavedModel finds in the astronaut's photo."""
    import skimage.data

    [found] = load_detector(str(known_model("yunet-s")), "openvino", "float32").run(skimage.data.astronaut()[None], 0.2)
    return found


@pytest.mark.parametrize("layout", EXPORTS)
def test_an_export_finds_what_its_saved_model_finds(
    layout: str, saved: Candidates, astronaut: np.ndarray, tmp_path: Path
) -> None:
    options, declaration = EXPORTS[layout]
    path = onnx_exports.export(tmp_path / "m.onnx", layout, **options)
    if declaration:
        (tmp_path / "m.yaml").write_text(declaration)
    [found] = load_detector(path, "openvino", "float32").run(astronaut[None], 0.2)
    expected = saved.scores.argmax() if layout in CHOSEN else slice(None)
    order, truth = np.argsort(found.scores), np.argsort(np.atleast_1d(saved.scores[expected]))
    np.testing.assert_allclose(found.scores[order], np.atleast_1d(saved.scores[expected])[truth], atol=1e-4)
    np.testing.assert_allclose(found.boxes[order], saved.boxes[expected].reshape(-1, 4)[truth], atol=1e-4)
    assert (found.keypoints is not None) == (layout in WITH_KEYPOINTS)
    if found.keypoints is not None and saved.keypoints is not None:
        np.testing.assert_allclose(found.keypoints[order], saved.keypoints[truth], atol=1e-4)
    if found.classes is not None:
        assert set(found.classes) == {options.get("classes", 1) - (layout != "ssd")}


def test_centerfaces_own_file_finds_what_its_saved_model_finds(
    centerface: str, centerface_onnx: Path, astronaut: np.ndarray
) -> None:
    ours, theirs = (load_detector(path, "openvino", "float32") for path in (str(centerface_onnx), centerface))
    [found], [expected] = ours.run(astronaut[None], 0.1), theirs.run(astronaut[None], 0.1)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    np.testing.assert_allclose(np.clip(found.boxes, 0, 1), expected.boxes, atol=1e-5)
    assert found.keypoints is not None
    assert expected.keypoints is not None
    np.testing.assert_allclose(found.keypoints, expected.keypoints, atol=1e-5)
    assert centerface_onnx == KNOWN_MODELS["centerface"].weights


def values(layout: str, table: Any, min_score: float = 0.5, **more: Any) -> Candidates:
    """What one output says."""
    defaults: dict[str, Any] = {"columns": ("x0", "y0", "x1", "y1", "score", "class")} if layout == "rows" else {}
    reading = Reading(layout, SIZE, "NCHW", **{**defaults, **more})
    return read_outputs(reading, {"output": np.asarray(table, np.float32)}, SIZE, min_score)


def test_columns_and_units_may_be_any() -> None:
    one = [[0.5, 0.25, 0.5, 0.25, 7, 3, 0.9]]
    found = values("rows", one, columns=("cx", "cy", "w", "h", "-", "class", "score"), units="shares")
    np.testing.assert_allclose(found.boxes, [[0.125, 0.25, 0.375, 0.75]])
    assert found.classes is not None
    assert (found.classes.tolist(), found.scores.tolist()) == ([3], [pytest.approx(0.9)])


def test_each_class_that_is_likely_counts() -> None:
    # A face that is more likely a person is one all the same.
    table = np.zeros((1, 4 + 3, 2))
    table[0, :, 1] = [48, 32, 20, 10, 0.6, 0.1, 0.9]
    found = values("yolo", table)
    assert found.classes is not None
    assert found.classes.tolist() == [0, 2]
    np.testing.assert_allclose(found.boxes, [[27 / 64, 38 / 96, 37 / 64, 58 / 96]] * 2)


def test_background_is_no_class() -> None:
    reading = Reading("boxes", SIZE, "NCHW", background=True, units="shares", outputs={"boxes": "b", "scores": "s"})
    outputs = {"b": np.full((1, 2, 4), 0.5, np.float32), "s": np.array([[[0.9, 0.1], [0.2, 0.8]]], np.float32)}
    found = read_outputs(reading, outputs, SIZE, 0.5)
    assert (found.scores.tolist(), found.classes.tolist() if found.classes is not None else None) == (
        [pytest.approx(0.8)],
        [0],
    )


def test_keypoints_of_people_are_brought_into_order() -> None:
    names = ("nose", "left_eye", "right_eye", "left_ear")
    row = [0, 0, 50, 50, 0.9, 0, *(number for point in range(4) for number in (point * 10, point * 10 + 1, 0.5))]
    found = values("rows", [row], keypoints=names)
    assert found.keypoints is not None
    np.testing.assert_allclose(found.keypoints[0] * [64, 96], [[21, 20], [11, 10], [1, 0]], atol=1e-5)
    # Of what nobody has named, no eyes are known.
    assert values("rows", [row], keypoints=("0", "1", "2", "3")).keypoints is None


@pytest.mark.parametrize(
    ("layout", "table", "message"),
    [
        ("rows", [[0, 0, 9, 9, np.nan, 0]], "scores that are no numbers"),
        ("rows", [[0, 0, 9, 9, 7, 0.9]], r"scores from 7 to 7 where they must be from 0 to 1; declare"),
        ("rows", [[0, 0, 9, 9, 0.9, np.nan]], "the layout rows is one output"),
        ("rows", [[0, 0, 9, 9, 0.9]], r"the model returned output \[1, 5\]; declare another layout"),
        ("rows", [[0.1, 0.1, 0.9, 0.9, 0.9, 0]], r"boxes such as 0\.1, 0\.1, 0\.9, 0\.9, which are no pixels; declare"),
        ("yolo", np.full((1, 6, 3), 9), "scores from 9 to 9"),
        ("yolo", np.zeros((1, 4, 3)), "the layout yolo is"),
        ("yolo", np.zeros((2, 6, 3)), "the layout yolo is"),
        ("yolo", np.zeros((6, 3)), "the layout yolo is"),
        ("yolov5", np.zeros((1, 3, 5)), "the layout yolov5 is"),
        ("yolov5-face", np.zeros((1, 3, 17)), "the layout yolov5-face is"),
        ("scrfd", np.zeros((3, 4)), "the layout scrfd is"),
        ("yunet", np.zeros((3, 4)), "the layout yunet is"),
        ("retinaface", np.zeros((3, 4)), "the layout retinaface is"),
        ("centerface", np.zeros((3, 4)), "the layout centerface is"),
        ("ssd", np.zeros((1, 1, 3, 6)), "the layout ssd is"),
    ],
)  # fmt: skip
def test_values_that_are_none_of_a_layout_are_told(layout: str, table: Any, message: str) -> None:
    with pytest.raises(ModelError, match=message) as told:
        values(layout, table, strides=(8, 16, 32) if layout in ("scrfd", "yunet") else ())
    assert "\n" not in str(told.value)


def test_boxes_that_are_no_numbers_stay_so() -> None:
    # Detection refuses them by `check_boxes`, as of any model.
    assert np.isnan(values("rows", [[np.nan, 0, 9, 9, 0.9, 0]]).boxes).any()


@given(
    st.sampled_from(["rows", "yolo", "yolov5", "yolov5-face", "ssd"]),
    st.lists(st.integers(0, 20), min_size=1, max_size=4),
    st.sampled_from([0.0, 0.4, 1.0, -1.0, 3.0, np.inf, -np.inf, np.nan]),
    st.sampled_from(["probabilities", "sigmoid", "softmax"]),
)
def test_any_array_is_read_or_told(layout: str, shape: list[int], value: float, scores: str) -> None:
    try:
        found = values(layout, np.full(shape, value), 0.1, scores=scores)
    except ModelError:
        return
    assert found.boxes.shape == (len(found.scores), 4)
    assert ((found.scores >= 0.1) & (found.scores <= 1.01)).all()
