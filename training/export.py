"""Writes a trained detector as the SavedModel that ``faceveil run --model`` takes.

    python -m faceveil.training.export FOLDER CHECKPOINT ARCHITECTURE CLASSES

The contract is that of ``transforms/detectors/engine.py``: images of any size in, all candidates out, overlaps not
suppressed. Each image is padded to a square and resized to the model's size, so faces keep their shape. OpenVINO
computes a resize to a fixed size as TensorFlow does, but not one to a size that follows from the image's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from faceveil.training.anchors import MAX_LOG, make_anchors
from faceveil.training.architectures import Architecture
from faceveil.training.checkpoint import assign_values, read_checkpoint
from faceveil.training.settings import TrainingSettings
from faceveil.transforms.errors import AccessError, ModelError
from faceveil.transforms.models.saved_model import is_saved_model
from faceveil.transforms.runtime.child_process import child_environment, module_command

_MODULE = "faceveil.training.export"


def export(checkpoint: Path, settings: TrainingSettings, target: Path) -> None:
    """Writes the SavedModel of a checkpoint's weights, in place of one that is there.

    It is made in a process of its own, by TensorFlow in float32, whatever this process trains with.

    Raises:
        ModelError: it cannot be made.
        AccessError: the target cannot be written.
    """
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".export-") as work:
        new, old = Path(work) / "new", Path(work) / "old"
        sizes = json.dumps(asdict(settings.architecture))
        command = module_command(_MODULE, str(new), str(checkpoint), sizes, str(len(settings.labels)))
        environment = child_environment(KERAS_BACKEND="tensorflow", CUDA_VISIBLE_DEVICES="-1")
        result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
        if result.returncode or not is_saved_model(new):
            said = (result.stderr.strip().splitlines() or ["it said nothing"])[-1]
            raise ModelError(f"cannot export {checkpoint}: {said}")
        try:
            if target.exists():
                target.rename(old)
            new.rename(target)
        except OSError as error:
            raise AccessError(f"{target}: cannot be written: {error}") from error


def build_serving(model: Any, architecture: Architecture, classes: int) -> Any:
    """The function that a SavedModel serves: images to candidates.

    Args:
        model: as ``build_model`` returns it, on TensorFlow.
        architecture: its own.
        classes: how many labels there are.

    Returns:
        A ``tf.function`` from uint8 ``[B, H, W, 3]`` RGB to the outputs of the detector contract.
    """
    import tensorflow as tf

    size, anchors = architecture.size, make_anchors(architecture)
    middle = tf.constant((anchors[:, :2] + anchors[:, 2:])[:, ::-1] / 2)
    sides = tf.constant((anchors[:, 2:] - anchors[:, :2])[:, ::-1])

    def serve(images: Any) -> dict[str, Any]:
        height, width = tf.shape(images)[1], tf.shape(images)[2]
        side = tf.maximum(height, width)
        square = tf.pad(tf.cast(images, tf.float32), [[0, 0], [0, side - height], [0, side - width], [0, 0]])
        # All sides but one are said, since OpenVINO does not see them through the padding.
        resized = tf.reshape(tf.image.resize(square, [size, size]), [-1, size, size, 3])
        outputs = model(resized, training=False)
        encoded, scores = outputs["boxes"], tf.sigmoid(outputs["logits"])
        centres = middle + tf.gather(encoded, [1, 0], axis=-1) * sides
        half = tf.exp(tf.clip_by_value(tf.gather(encoded, [3, 2], axis=-1), -MAX_LOG, MAX_LOG)) * (sides / 2)
        # From pixels of the square to shares of the image, which it exceeds.
        shares = tf.cast(side, tf.float32) / size / tf.cast(tf.stack([height, width]), tf.float32)
        boxes = tf.concat([(centres - half) * shares, (centres + half) * shares], axis=-1)
        result = {
            "detection_boxes": tf.clip_by_value(boxes, 0.0, 1.0),
            "detection_scores": tf.reduce_max(scores, axis=-1),
            "num_detections": tf.fill(tf.shape(images)[:1], float(len(anchors))),
        }
        if classes > 1:
            result["detection_classes"] = tf.cast(tf.argmax(scores, axis=-1) + 1, tf.float32)
        return result

    return tf.function(serve, input_signature=[tf.TensorSpec([None, None, None, 3], tf.uint8, name="images")])


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder")
    parser.add_argument("checkpoint")
    parser.add_argument("architecture", help="as JSON")
    parser.add_argument("classes", type=int)
    given = parser.parse_args()

    from faceveil.training.model import build_model  # loads TensorFlow

    architecture = Architecture(**json.loads(given.architecture))
    model = build_model(architecture, given.classes)
    values, _ = read_checkpoint(Path(given.checkpoint))
    assign_values(model.variables, values, given.checkpoint)
    _save(build_serving(model, architecture, given.classes), given.folder)


def _save(serve: Any, folder: str) -> None:
    """Writes a function with its weights as constants: OpenVINO (2026.4) does not convert all models with variables."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    traced = serve.get_concrete_function()
    frozen = convert_variables_to_constants_v2(traced)
    names = sorted(traced.structured_outputs)
    module = tf.Module()
    module.serve = tf.function(
        lambda images: dict(zip(names, frozen(images), strict=True)), input_signature=serve.input_signature
    )
    # Gradients are for training on; without variables they cannot be written.
    options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
    tf.saved_model.save(module, folder, signatures={"serving_default": module.serve}, options=options)


if __name__ == "__main__":
    main()
