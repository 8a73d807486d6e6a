"""The generator that comes with the package: its weights, and the SavedModel that is built from them once."""

from __future__ import annotations

import functools
import hashlib
import sys
import tempfile
from pathlib import Path

import numpy as np

from faceveil.transforms.detectors.models import ModelError, cache_folder, run_builder, write_note

_WEIGHTS = Path(__file__).with_name("weights.npz")
_NETWORK = Path(__file__).with_name("network.py")


@functools.cache
def embedded_digest() -> str:
    """The sha256 of its weights and network, which is its identity: builds differ with TensorFlow's version."""
    return hashlib.sha256(_WEIGHTS.read_bytes() + _NETWORK.read_bytes()).hexdigest()


def embedded_generator() -> Path:
    """The folder of the embedded generator's SavedModel, which is built first if the cache lacks it.

    Several processes may build it at once: each works in a folder of its own, the first to finish wins.

    Raises:
        ModelError: it could not be built.
    """
    entry = cache_folder() / f"generator-{embedded_digest()[:8]}"
    if (entry / "saved_model.pb").is_file():
        return entry
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=entry.parent, prefix=f".{entry.name}-") as folder:
        new = Path(folder) / "saved_model"
        run_builder("the embedded generator", "faceveil.transforms.generators.embedded", [str(new)])
        write_note(new, embedded_digest())
        try:
            new.rename(entry)
        except OSError as error:
            if not (entry / "saved_model.pb").is_file():
                raise ModelError(f"cannot put the generator into {entry}: {error}; remove that folder") from error
    return entry


def build_saved_model(weights_file: str | Path, directory: str | Path) -> None:
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
    build_saved_model(_WEIGHTS, sys.argv[1])
