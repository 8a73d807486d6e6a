import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from faceveil.transforms.detectors.detector import Detector, DetectorConfig
from faceveil.transforms.detectors.engine import load_detector
from faceveil.transforms.detectors.quality import Quality
from faceveil.transforms.detectors.quantise import quantise, quantise_kernel, read_ranges
from faceveil.transforms.models.engines import EngineName


@given(arrays(np.float32, (2, 3, 4), elements=st.floats(-100, 100, width=32)), st.sampled_from([0, 1, 2, -1]))
def test_a_kernel_is_rounded_to_255_levels_of_each_channel(kernel: np.ndarray, axis: int) -> None:
    rounded = quantise_kernel(kernel, axis).numpy()
    by_channel, originals = (np.moveaxis(k, axis, 0).reshape(kernel.shape[axis], -1) for k in (rounded, kernel))
    for weights, original in zip(by_channel, originals, strict=True):
        step = max(np.abs(original).max(), 1e-6) / 127
        assert np.abs(weights - original).max() <= step * 0.501
        levels = weights / step
        np.testing.assert_allclose(levels, np.rint(levels), atol=1e-3)
        assert np.abs(levels).max() <= 127.001


def test_a_tensor_is_rounded_within_its_range() -> None:
    x = tf.constant([[-1.0, 0.0, 0.3, 300.0]])
    np.testing.assert_allclose(quantise(x, "x", {"x": (0, 255)}), [[0, 0, 0, 255]])
    by_channel = quantise(x, "x", {"x": (0, np.array([1, 1, 0.51, 2], np.float32))})
    np.testing.assert_allclose(by_channel, [[0, 0, 0.3, 2]], atol=1e-6)
    assert quantise(x, "y", {"x": (0, 255)}) is x


def test_ranges_are_read(tmp_path: Path) -> None:
    (tmp_path / "ranges.json").write_text(json.dumps({"a": [-1, 2], "b": [0, [1, 2]]}))
    ranges = read_ranges(tmp_path / "ranges.json")
    assert ranges["a"] == (-1, 2)
    np.testing.assert_array_equal(ranges["b"][1], [1, 2])


@pytest.mark.parametrize("engine", ["openvino", "tensorflow"])
def test_eight_bits_find_the_face_that_floats_find(
    centerface: str, centerface_int8: str, astronaut: np.ndarray, engine: EngineName
) -> None:
    found = []
    for model in (centerface, centerface_int8):
        detector = Detector(DetectorConfig((model,), engine=engine, score_threshold=0.5, quality=Quality(512)))
        (faces,) = detector.detect([detector.prepare(astronaut, 512, 512)])
        found.append(faces)
    floats, eight_bits = found
    np.testing.assert_allclose(eight_bits.scores, floats.scores, atol=0.03)
    np.testing.assert_allclose(eight_bits.boxes, floats.boxes, atol=2)


def test_openvino_computes_in_eight_bits(centerface: str, centerface_int8: str) -> None:
    assert load_detector(centerface_int8).engine.precision.startswith("int8 and ")
    assert load_detector(centerface_int8, precision="float32").engine.precision == "int8 and float32"
    assert "int8" not in load_detector(centerface).engine.precision
