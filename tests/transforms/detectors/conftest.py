"""Models to test with: the default detector's weights, and tiny models of known outputs."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import skimage.data

from faceveil.transforms.detectors.models import KNOWN_MODELS

MakeModel = Callable[..., str]


@pytest.fixture(scope="session")
def centerface_onnx() -> Path:
    """CenterFace's published network and weights."""
    return KNOWN_MODELS["centerface"].weights


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """NASA's portrait of Eileen Collins, 512 px: one face, around x 224 and y 115."""
    return np.asarray(skimage.data.astronaut())


@pytest.fixture
def make_model(tmp_path: Path) -> MakeModel:
    """Writes a SavedModel that returns the given outputs ``[N, ...]`` for every image."""
    import tensorflow as tf

    def make(
        outputs: dict[str, np.ndarray],
        *,
        shape: tuple[int | None, ...] = (None, None, None, 3),
        dtype: str = "uint8",
        unconvertible: bool = False,
    ) -> str:
        def serve(input_tensor: tf.Tensor) -> dict[str, tf.Tensor]:
            images = tf.shape(input_tensor)[0]
            zero = tf.reduce_sum(tf.cast(input_tensor, tf.float32)) * 0
            if unconvertible:
                zero += tf.cast(tf.strings.length(tf.strings.as_string(zero)), tf.float32) * 0
            return {
                name: tf.broadcast_to(value, [images, *value.shape])
                + (tf.cast(zero, value.dtype) if value.dtype.kind == "f" else "")
                for name, value in outputs.items()
            }

        module = tf.Module()
        spec = tf.TensorSpec(shape, dtype, name="input_tensor")
        module.serve = tf.function(serve, input_signature=[spec], autograph=False)
        folder = str(tmp_path / f"model{len(list(tmp_path.iterdir()))}")
        tf.saved_model.save(module, folder, signatures={"serving_default": module.serve})
        return folder

    return make


@pytest.fixture
def outputs() -> dict[str, np.ndarray]:
    """Three detections of two classes, the last two the same object, and one beyond num_detections."""
    boxes = [[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.9, 0.75], [0.5, 0.5, 0.9, 0.7], [0.0, 0.0, 1.0, 1.0]]
    return {
        "detection_boxes": np.array(boxes, np.float32),
        "detection_scores": np.array([0.5, 0.7, 0.9, 0.99], np.float32),
        "detection_classes": np.array([2, 1, 1, 1], np.float32),
        "num_detections": np.array(3, np.float32),
    }
