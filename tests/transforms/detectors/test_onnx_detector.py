"""Views in the input of an ONNX detector, and what it finds back in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from faceveil.transforms.detectors.candidates import Candidates
from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.detectors.models import known_model
from faceveil.transforms.detectors.onnx_detector import _in_image, _place
from faceveil.transforms.detectors.onnx_layouts import Reading
from faceveil.transforms.detectors.quality import QUALITIES, Quality
from tests import onnx_exports

ULTRALYTICS: dict[str, Any] = {"names": "{0: 'face'}", "kpt_shape": "[5, 3]"}


@given(
    st.sampled_from(["letterbox", "letterbox-corner", "stretch"]),
    st.one_of(st.none(), st.tuples(st.integers(16, 200), st.integers(16, 200))),
    st.tuples(st.integers(1, 300), st.integers(1, 300)),
    st.sampled_from([32, 64]),
)
def test_what_is_found_in_an_input_comes_back_into_the_image(
    fit: str, size: tuple[int, int] | None, image_size: tuple[int, int], multiple: int
) -> None:
    image = np.full((*image_size, 3), 255, np.uint8)
    placed = _place(image, Reading("yolo", size, "NCHW", fit=fit, pad=0), multiple)
    shape = placed.pixels.shape[:2]
    assert shape == (size or tuple(-(-side // multiple) * multiple for side in image_size))
    # The whole image in the input is white, all around it is not.
    rows, columns = np.nonzero(placed.pixels[..., 0])
    x0, y0, x1, y1 = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    assert (placed.pixels[y0:y1, x0:x1] == 255).all()
    box = np.array([[y0 / shape[0], x0 / shape[1], y1 / shape[0], x1 / shape[1]]], np.float32)
    points = np.array([[[y0 / shape[0], x0 / shape[1]], [y1 / shape[0], x1 / shape[1]]]], np.float32)
    found = _in_image(Candidates(box, np.ones(1, np.float32), None, points), placed)
    np.testing.assert_allclose(found.boxes, [[0, 0, 1, 1]], atol=1e-4)
    assert found.keypoints is not None
    np.testing.assert_allclose(found.keypoints, [[[0, 0], [1, 1]]], atol=1e-4)
    if fit != "stretch" and size:
        assert (y1 - y0, x1 - x0) <= image_size  # never enlarged


def test_what_lies_beside_the_image_goes_and_what_is_nowhere_stays() -> None:
    placed = _place(np.zeros((20, 100, 3), np.uint8), Reading("yolo", (100, 100), "NCHW"), 32)
    boxes = np.array([[0.0, 0.1, 0.2, 0.3], [0.3, 0.1, 0.5, 0.3], [5, 5, 6, 6], [np.nan, 0, 1, 1]], np.float32)
    found = _in_image(Candidates(boxes, np.array([0.9, 0.8, 0.7, 0.6], np.float32), np.arange(4)), placed)
    np.testing.assert_array_equal(found.scores, np.array([0.8, 0.7, 0.6], np.float32))
    assert found.classes is not None
    assert found.classes.tolist() == [1, 2, 3]
    np.testing.assert_allclose(found.boxes[0], [0, 0.1, 0.5, 0.3], atol=1e-6)
    np.testing.assert_array_equal(found.boxes[1:], boxes[2:])


@pytest.mark.parametrize("size", [(320, 320), (192, 320)])
def test_a_photo_of_any_shape_fits_a_fixed_size(size: tuple[int, int], astronaut: np.ndarray, tmp_path: Path) -> None:
    path = onnx_exports.export(tmp_path / "m.onnx", "yolo", size=size, **ULTRALYTICS)
    detector = Detector(DetectorConfig((path,), "auto", "float32", quality=QUALITIES["fast"]))
    for x0, x1, height in ((0, 512, 512), (0, 512, 200), (120, 340, 512)):
        photo = astronaut[:height, x0:x1]
        [faces] = detector.detect([detector.prepare(photo, x1 - x0, height)])
        np.testing.assert_allclose(faces.boxes[0] + [x0, 0, x0, 0], [178, 63, 268, 176], atol=12)


def test_a_small_face_is_found_by_tiles_of_the_models_size(astronaut: np.ndarray, tmp_path: Path) -> None:
    path = onnx_exports.export(tmp_path / "m.onnx", "yolo", size=(320, 320), **ULTRALYTICS)
    photo = np.full((1100, 1500, 3), 90, np.uint8)
    photo[600:728, 900:1028] = cv2.resize(astronaut, (128, 128), interpolation=cv2.INTER_AREA)
    expected = [900 + 178 / 4, 600 + 63 / 4, 900 + 268 / 4, 600 + 176 / 4]
    # Tiles show no pixel smaller than half, as of a model that takes any size.
    detector = Detector(DetectorConfig((path,), quality=QUALITIES["balanced"]))
    windows = [view.window for view in detector.prepare(photo, 1500, 1100).views]
    assert all(max(window.width, window.height) <= 320 for window in windows)
    assert sum(window.x1 - window.x0 < 1500 for window in windows) > 3
    [faces] = detector.detect([detector.prepare(photo, 1500, 1100)])
    np.testing.assert_allclose(faces.boxes[0], expected, atol=6)


def test_each_of_two_models_has_views_of_its_own_size(astronaut: np.ndarray, tmp_path: Path) -> None:
    fixed = onnx_exports.export(tmp_path / "fixed.onnx", "yolo", size=(320, 320), **ULTRALYTICS)
    other = str(known_model("yunet-s"))
    quality = Quality(512, reduce_at_most=1.5, smaller=(256,), mirrored=True, turned=1.25)
    detector = Detector(DetectorConfig((fixed, other), "auto", "float32", 0.3, quality))
    views = detector.prepare(astronaut, 512, 512).views
    assert {max(view.pixels.shape[:2]) for view in views if view.quality == 0} == {256, 320}
    assert {max(view.pixels.shape[:2]) for view in views if view.quality == 1} == {256, 512, 640}
    assert detector.side_needed(512, 512) == 640
    [both] = detector.detect([detector.prepare(astronaut, 512, 512)])
    alone = [Detector(DetectorConfig((path,), "auto", "float32", 0.3, quality)) for path in (fixed, other)]
    found = [each.detect([each.prepare(astronaut, 512, 512)])[0] for each in alone]
    assert both.scores[0] == max(faces.scores[0] for faces in found)


def test_views_that_are_turned_mirrored_and_averaged_find_what_the_saved_models_do(
    astronaut: np.ndarray, tmp_path: Path
) -> None:
    path = onnx_exports.export(tmp_path / "m.onnx", "yolo", **ULTRALYTICS)
    quality = Quality(256, (1.0, 1.75), 1, (128,), mirrored=True, turned=1.125, averaged=True)
    found, expected = (
        detector.detect([detector.prepare(astronaut, 512, 512)])[0]
        for detector in (
            Detector(DetectorConfig((model,), "auto", "float32", quality=quality))
            for model in (path, str(known_model("yunet-s")))
        )
    )
    np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.1)
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
    assert found.keypoints is not None
    assert expected.keypoints is not None
    np.testing.assert_allclose(found.keypoints, expected.keypoints, atol=0.1)


def test_a_fixed_size_limits_views() -> None:
    thorough = QUALITIES["thorough"].fitted(640)
    assert (thorough.detect_size, thorough.scales, thorough.turned) == (640, (1.0,), 1.0)
    assert QUALITIES["fast"].fitted(1280) == Quality(1280)
    assert QUALITIES["fast"].fitted(None) == QUALITIES["fast"]
    assert QUALITIES["balanced"].fitted(640, stretches=True).smaller == ()
