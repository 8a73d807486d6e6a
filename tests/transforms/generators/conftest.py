from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from faceveil.transforms.generators.embedded import embedded_generator
from faceveil.transforms.generators.synthesize import SynthesisConfig, Synthesizer

SHAPES = {"crop": [16, 16, 3], "mask": [16, 16, 1], "keypoints": [7, 2], "z": [4]}
KINDS = dict.fromkeys(SHAPES, tf.float32)


@pytest.fixture(scope="session")
def embedded() -> str:
    return str(embedded_generator())


@pytest.fixture(scope="session")
def synthesizer(embedded: str) -> Synthesizer:
    return Synthesizer(SynthesisConfig(embedded, b"salt", fallback="solid", threads=2))


def grey_faces(crop: tf.Tensor, mask: tf.Tensor, keypoints: tf.Tensor, z: tf.Tensor) -> dict[str, tf.Tensor]:
    """As grey as the first number of z says, if z and keypoints arrive."""
    count = tf.reduce_sum(tf.cast(tf.abs(keypoints) < 1e6, tf.float32), (1, 2))
    grey = tf.tanh(z[:, 0] / 8) + count / 100
    return {"faces": crop * (1 - mask) + mask * grey[:, tf.newaxis, tf.newaxis, tf.newaxis]}


@pytest.fixture
def export(tmp_path: Path) -> Callable[..., str]:
    """Writes a generator that takes and does what is wanted, and returns its folder."""

    def write(
        serve: Callable[..., dict[str, tf.Tensor]] = grey_faces,
        shapes: dict[str, list[int | None]] = SHAPES,  # type: ignore[assignment]
        kinds: dict[str, Any] = KINDS,
        batch: int | None = None,
    ) -> str:
        module = tf.Module()
        specs = [tf.TensorSpec([batch, *shape], kinds[name], name=name) for name, shape in shapes.items()]
        module.serve = tf.function(serve, input_signature=specs)
        tf.saved_model.save(module, str(tmp_path / "generator"), signatures={"serving_default": module.serve})
        return str(tmp_path / "generator")

    return write
