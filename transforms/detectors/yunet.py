"""YuNet-s as a TensorFlow SavedModel, built from libfacedetection's weights.

The network: Wu, Peng and Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 20 (2023),
https://doi.org/10.1007/s11633-023-1423-y. A backbone of separable convolutions, a feature pyramid with strides of 8, 16
and 32 pixels, and for each cell of each level one candidate: its score, its box and five landmarks.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from faceveil.transforms.arrays import FloatArray
from faceveil.transforms.models.frameworks import load_tensorflow

if TYPE_CHECKING:
    import tensorflow as tf

STRIDES = (8, 16, 32)
"""Pixels of the input per cell of each level, along each axis; sides of the input are multiples of the last."""

HEADS = {"cls": 1, "obj": 1, "bbox": 4, "kps": 10}
"""What each level tells of a cell, and in how many numbers: that it is a face, that something is there, dx, dy, log w,
log h, and x, y of five landmarks."""


_LOGIT_FACTOR, _LOGIT_BIAS = 0.6, -0.6
"""Of the network's scores, as log(p / (1 - p)): so that their mean with those of CenterFace for covered faces has as
many false boxes at a threshold as CenterFace alone. Chosen on photos of WIDER FACE's validation split and of masks."""


def build_yunet(weights_file: str | Path, directory: str | Path) -> None:
    """Writes YuNet-s as a SavedModel with the outputs of TensorFlow's Object Detection API.

    Its ``serving_default`` takes ``input_tensor``, uint8 ``[B, H, W, 3]`` RGB with sides that are multiples of 32, and
    returns, for the N = HW/64 + HW/256 + HW/1024 cells of the three levels, as CenterFace's does:

    * ``detection_boxes`` float32 ``[B, N, 4]``: ymin, xmin, ymax, xmax, 0 to 1, cut to the image;
    * ``detection_scores`` float32 ``[B, N]``: 0 to 1, the geometric mean of both of the network's, brought to
      CenterFace's scale;
    * ``detection_keypoints`` float32 ``[B, N, 5, 2]``: y, x, 0 to 1: the eye on the image's left, the one on
      its right, nose, left and right mouth corner;
    * ``num_detections`` float32 ``[B]``: always N.

    Args:
        weights_file: ``yunet_s.npz``.
        directory: where to write the SavedModel; made if missing.
    """
    import tensorflow as tf

    with np.load(weights_file) as arrays:
        weights = {name: arrays[name] for name in arrays}

    def serve(input_tensor: tf.Tensor) -> dict[str, tf.Tensor]:
        levels = run_yunet(tf.cast(input_tensor, tf.float32), weights)
        return _candidates(levels, tf.shape(input_tensor))

    module = tf.Module()
    image = tf.TensorSpec([None, None, None, 3], tf.uint8, name="input_tensor")
    module.serve = tf.function(serve, input_signature=[image], autograph=False)
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.serve})


def run_yunet(image: tf.Tensor, weights: Mapping[str, FloatArray]) -> list[tf.Tensor]:
    """What the heads say of each level's cells, ``[B, H / stride, W / stride, 16]``, in the order of ``HEADS``.

    Args:
        image: float32 ``[B, H, W, 3]``, RGB from 0 to 255.
        weights: ``NAME/kernel`` and ``NAME/bias`` by the names that libfacedetection gives its convolutions, ``_pw``
            those of one pixel, ``_dw`` those of one channel.
    """
    import tensorflow as tf

    def pointwise(x: tf.Tensor, name: str, stride: int = 1) -> tf.Tensor:
        return tf.nn.bias_add(tf.nn.conv2d(x, weights[f"{name}/kernel"], stride, "VALID"), weights[f"{name}/bias"])

    def separable(x: tf.Tensor, name: str) -> tf.Tensor:
        # Padded beforehand: within depthwise_conv2d it crashes TensorFlow's graph optimizer.
        x = tf.pad(pointwise(x, f"{name}_pw"), _AROUND)
        y = tf.nn.depthwise_conv2d(x, weights[f"{name}_dw/kernel"], [1, 1, 1, 1], "VALID")
        return tf.nn.bias_add(y, weights[f"{name}_dw/bias"])

    def stage(x: tf.Tensor, number: int) -> tf.Tensor:
        for part in (1, 2):
            x = tf.nn.relu(separable(x, f"backbone__model{number}_dp{part}"))
        return x

    def halved(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.max_pool2d(x, 2, 2, "VALID")

    x = tf.nn.relu(pointwise(tf.pad(image, _AROUND), "backbone__model0_pw", stride=2))
    x = halved(tf.nn.relu(separable(x, "backbone__model0_dp")))
    levels = [stage(halved(stage(stage(x, 1), 2)), 3)]
    levels += [stage(halved(levels[0]), 4)]
    levels += [stage(halved(levels[1]), 5)]
    for number in (2, 1, 0):
        levels[number] = tf.nn.relu(separable(levels[number], f"neck__lateral_convs__{number}"))
        if number:
            levels[number - 1] += tf.repeat(tf.repeat(levels[number], 2, axis=1), 2, axis=2)
    return [separable(level, f"heads__{number}") for number, level in enumerate(levels)]


_AROUND = ((0, 0), (1, 1), (1, 1), (0, 0))


def _candidates(levels: list[tf.Tensor], image_shape: tf.Tensor) -> dict[str, tf.Tensor]:
    """One candidate per cell of each level; a cell's numbers count in cells, from its upper left corner."""
    import tensorflow as tf

    extent = tf.cast(image_shape[1:3], tf.float32)
    batch = image_shape[0]
    boxes, scores, points = [], [], []
    for stride, level in zip(STRIDES, levels, strict=True):
        shape = tf.shape(level)
        count = shape[1] * shape[2]
        rows, columns = tf.meshgrid(tf.range(shape[1]), tf.range(shape[2]), indexing="ij")
        cell = tf.cast(tf.stack([rows, columns], -1), tf.float32)
        face, thing, offset, log_size, landmarks = tf.split(level, [1, 1, 2, 2, 10], axis=3)
        # Both by [..., ::-1] from x, y to y, x, which OpenVINO takes for a gather of single numbers: as slices.
        centre = cell + tf.concat([offset[..., 1:], offset[..., :1]], -1)
        size = tf.exp(tf.concat([log_size[..., 1:], log_size[..., :1]], -1))
        box = tf.concat([centre - size / 2, centre + size / 2], -1) * float(stride) / tf.concat([extent] * 2, -1)
        x_y = tf.reshape(landmarks, [batch, count, 5, 2])
        places = tf.concat([x_y[..., 1:], x_y[..., :1]], -1) + tf.reshape(cell, [1, count, 1, 2])
        boxes.append(tf.reshape(tf.clip_by_value(box, 0.0, 1.0), [batch, count, 4]))
        score = tf.sqrt(tf.sigmoid(face) * tf.sigmoid(thing))
        logit = tf.math.log(score) - tf.math.log(1 - score)
        scores.append(tf.reshape(tf.sigmoid(_LOGIT_FACTOR * logit + _LOGIT_BIAS), [batch, count]))
        points.append(places * float(stride) / extent)
    all_boxes = tf.concat(boxes, 1)
    return {
        "detection_boxes": all_boxes,
        "detection_scores": tf.concat(scores, 1),
        "detection_keypoints": tf.concat(points, 1),
        "num_detections": tf.fill([batch], tf.cast(tf.shape(all_boxes)[1], tf.float32)),
    }


def main() -> None:
    """Builds the SavedModel of a known model; run in a process of its own, as `KnownModel.build` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("weights_file")
    given = parser.parse_args()
    load_tensorflow()
    build_yunet(given.weights_file, given.directory)


if __name__ == "__main__":
    main()
