"""The generator that comes with the package: its weights, and the SavedModel that is built from them once."""

from __future__ import annotations

import functools
import hashlib
import sys
from pathlib import Path

import numpy as np

from faceveil.transforms.models.cache import ModelBuild, built_model
from faceveil.transforms.models.frameworks import load_tensorflow

_WEIGHTS = Path(__file__).with_name("weights.npz")
_NETWORK = Path(__file__).with_name("network.py")


@functools.cache
def embedded_digest() -> str:
    """The sha256 of its weights and network, which is its identity: builds differ with TensorFlow's version.

    Any change of ``network.py``, of a comment too, makes it another generator, whose outputs are another job's.
    """
    return hashlib.sha256(_WEIGHTS.read_bytes() + _NETWORK.read_bytes()).hexdigest()


def embedded_generator() -> Path:
    """The folder of the embedded generator's SavedModel, which is built first if the cache lacks it.

    Raises:
        ModelError: it could not be built.
    """
    digest = embedded_digest()
    return built_model(ModelBuild("the embedded generator", f"generator-{digest[:8]}", digest, __name__))


def build_generator(weights_file: str | Path, directory: str | Path) -> None:
    """Writes a generator with our network as a SavedModel.

    Args:
        weights_file: an ``.npz`` with an array for each of the network's ``SHAPES``.
        directory: where to write the SavedModel; made if missing.

    Raises:
        ValueError: the file does not hold this network's weights.
    """
    import tensorflow as tf

    from faceveil.transforms.generators.network import KEYPOINTS, RANDOM, SHAPES, SIZE, SPREAD, generate

    with np.load(weights_file) as file:
        weights = {name: file[name].astype(np.float32) for name in file}
    if {name: value.shape for name, value in weights.items()} != dict(SHAPES):
        raise ValueError(f"{weights_file} does not hold the weights of this network")

    def serve(crop: tf.Tensor, mask: tf.Tensor, keypoints: tf.Tensor, z: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"faces": generate(weights, crop, mask, keypoints, SPREAD * z)}

    shapes = {"crop": [SIZE, SIZE, 3], "mask": [SIZE, SIZE, 1], "keypoints": [KEYPOINTS, 2], "z": [RANDOM]}
    specs = [tf.TensorSpec([None, *shape], tf.float32, name=name) for name, shape in shapes.items()]
    module = tf.Module()
    module.serve = tf.function(serve, input_signature=specs, autograph=False)
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.serve})


if __name__ == "__main__":
    load_tensorflow()
    build_generator(_WEIGHTS, sys.argv[1])
