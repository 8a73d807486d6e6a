"""An EfficientDet as TensorFlow's Object Detection API exports it, small, and made to find bright squares.

The exporter's inputs, outputs and order of steps:
https://github.com/tensorflow/models/blob/master/research/object_detection/exporter_lib_v2.py; the network: Tan et al.,
"EfficientDet: Scalable and Efficient Object Detection", 2020, https://arxiv.org/abs/1911.09070.

All weights are random but for those of the three channels that carry red, green and blue from the stem to the heads,
past everything that the others do. The class head compares the middle of an anchor with the ring around it. So it
finds plain squares of 32, 64 and 128 px (of its input of 256 px) that are brighter than what surrounds them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

INPUT_SIDE = 256
"""Pixels: images are resized to it by their longer side, and padded below and on the right."""

MOST = 100
"""Detections of an image, padded with zeros."""

_STRIDES = (8, 16, 32)
_ANCHOR_SCALE = 3.0
_BOX_SCALE = 4.0
"""Squares are found by anchors of 3 cells, whose boxes the box head makes 4 cells large."""

_OCTAVES, _ASPECTS = (1.0, 2 ** (1 / 3), 2 ** (2 / 3)), (1.0, 2.0, 0.5)
_ANCHORS = len(_OCTAVES) * len(_ASPECTS)
_CHANNELS, _COLOURS = 16, 3
_WHITE = 10.0
"""What a carried channel holds where its colour is 255: from here on swish changes nothing."""

_MEAN = np.array([123.675, 116.28, 103.53], np.float32)
_DEVIATION = np.array([58.395, 57.12, 57.375], np.float32)
_POINTS = np.array([[0.4, 0.3], [0.4, 0.7], [0.6, 0.5], [0.8, 0.35], [0.8, 0.65]], np.float32)


def export(
    directory: str | Path,
    *,
    classes: int = 1,
    dynamic_batch: bool = False,
    keypoints: bool = False,
    fixed_resize: bool = False,
) -> str:
    """Writes the SavedModel, the way that ``exporter_main_v2.py --input_type image_tensor`` does.

    Args:
        directory: where to.
        classes: 1 finds white squares; 2 or 3 find red ones (class 1), green ones (2), and blue ones (3).
        dynamic_batch: takes ``[None, None, None, 3]`` and suppresses non-maxima by CombinedNonMaxSuppression; else
            takes ``[1, None, None, 3]``, as the API's do, and does so class by class.
        keypoints: whether there are keypoints, at fixed places of each box.
        fixed_resize: resizes to the input's square, as the API's SSDs do; else keeps the aspect ratio and pads, as its
            EfficientDets do.

    Returns:
        The directory.
    """
    detector = _Detector(classes, dynamic_batch, keypoints, fixed_resize)
    module = tf.Module()
    module.model = detector

    def serve(input_tensor: tf.Tensor) -> dict[str, tf.Tensor]:
        return detector(input_tensor)

    image = tf.TensorSpec([None if dynamic_batch else 1, None, None, 3], tf.uint8, name="input_tensor")
    module.serve = tf.function(serve, input_signature=[image])
    tf.saved_model.save(module, str(directory), signatures=module.serve.get_concrete_function())
    return str(directory)


class _Detector(tf.Module):  # type: ignore[misc]
    """Preprocessing, EfficientNet, BiFPN, heads and postprocessing, over variables."""

    def __init__(self, classes: int, dynamic_batch: bool, keypoints: bool, fixed_resize: bool) -> None:
        super().__init__()
        self._preprocess = _resize_to_square if fixed_resize else _resize_and_pad
        self._classes, self._dynamic_batch, self._keypoints = classes, dynamic_batch, keypoints
        self._random = np.random.default_rng(0)
        self.weights: list[tf.Variable] = []  # a SavedModel holds what its modules have as attributes
        self._stem = self._stem_convolution()
        self._blocks = [self._block(stride) for stride in (2, 1, 2, 2, 2)]
        self._fusions = [self._fusion(inputs) for inputs in (2, 2, 3, 2)]
        # With several classes, each carried channel becomes what its colour has more than the other two.
        mixing = np.full((_COLOURS, _COLOURS), 1 / 3) if classes == 1 else 2 * np.eye(_COLOURS) - 1
        self._heads = {
            "class": [self._separable(mixing), self._predictor(classes, is_class=True)],
            "box": [self._separable(), self._predictor(4, is_class=False)],
        }

    def __call__(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        inputs, extents = tf.map_fn(
            self._preprocess, images, fn_output_signature=(tf.TensorSpec([INPUT_SIDE] * 2 + [3]), tf.TensorSpec([2]))
        )
        maps = self._pyramid(self._backbone(inputs))
        logits = [self._head("class", level, self._classes) for level in maps]
        codes = [self._head("box", level, 4) for level in maps]
        boxes = _decode(tf.concat(codes, 1))
        scores = tf.sigmoid(tf.concat(logits, 1))
        found = (_suppress_batch if self._dynamic_batch else _suppress_by_class)(boxes, scores, extents)
        found |= {"raw_detection_boxes": boxes, "raw_detection_scores": scores}
        if self._keypoints:
            corner, opposite = tf.split(found["detection_boxes"][:, :, None], 2, axis=-1)
            found["detection_keypoints"] = corner + (opposite - corner) * _POINTS
            found["detection_keypoint_scores"] = tf.ones_like(found["detection_keypoints"][..., 0])
        return {name: tf.cast(value, tf.float32) for name, value in found.items()}

    def _backbone(self, x: tf.Tensor) -> list[tf.Tensor]:
        """The maps of strides 8, 16 and 32."""
        levels = []
        x = tf.nn.swish(self._stem(x))
        for block in self._blocks:
            x = block(x)
            levels.append(x)
        return levels[-3:]

    def _pyramid(self, levels: list[tf.Tensor]) -> list[tf.Tensor]:
        """BiFPN: down the pyramid and up again, each sum weighted."""
        p3, p4, p5 = levels
        middle = self._fusions[0]([p4, _twice(p5)])
        p3 = self._fusions[1]([p3, _twice(middle)])
        p4 = self._fusions[2]([p4, middle, _half(p3)])
        p5 = self._fusions[3]([p5, _half(p4)])
        return [p3, p4, p5]

    def _head(self, name: str, x: tf.Tensor, width: int) -> tf.Tensor:
        """One of the heads, shared by all levels: ``[B, cells * anchors, width]``."""
        tower, predictor = self._heads[name]
        y = predictor(tf.nn.swish(tower(x)))
        return tf.reshape(y, [tf.shape(y)[0], -1, width])

    def _variable(self, value: np.ndarray) -> tf.Variable:
        self.weights.append(tf.Variable(value.astype(np.float32), trainable=False))
        return self.weights[-1]

    def _noise(self, *shape: int) -> np.ndarray:
        return self._random.normal(0, 0.3, shape)

    def _stem_convolution(self) -> Callable[[tf.Tensor], tf.Tensor]:
        kernel = self._noise(3, 3, 3, _CHANNELS)
        kernel[..., :_COLOURS] = 0
        for colour in range(_COLOURS):
            kernel[:2, :2, colour, colour] = _DEVIATION[colour] / 255 * _WHITE / 4
        weights, normalise = self._variable(kernel), self._normalisation(_CHANNELS, _MEAN / 255 * _WHITE)
        return lambda x: normalise(tf.nn.conv2d(x, weights, 2, "SAME"))

    def _pointwise(self, inputs: int, outputs: int, mixing: np.ndarray) -> Callable[[tf.Tensor], tf.Tensor]:
        """A 1 × 1 convolution with its batch normalisation, and what it makes of the colours."""
        kernel = self._noise(1, 1, inputs, outputs)
        kernel[..., :_COLOURS] = 0
        kernel[0, 0, :_COLOURS, :_COLOURS] = mixing
        weights, normalise = self._variable(kernel), self._normalisation(outputs)
        return lambda x: normalise(tf.nn.conv2d(x, weights, 1, "SAME"))

    def _normalisation(self, channels: int, colours: float | np.ndarray = 0.0) -> Callable[[tf.Tensor], tf.Tensor]:
        """Batch normalisation as it is once trained; what it adds to the colours."""
        shift, mean, variance = self._noise(channels), self._noise(channels), 1 + self._noise(channels) ** 2
        shift[:_COLOURS], mean[:_COLOURS], variance[:_COLOURS] = colours, 0, 1
        parts = [self._variable(part) for part in (np.ones(channels), shift, mean, variance)]
        return lambda x: tf.compat.v1.nn.fused_batch_norm(x, *parts, epsilon=1e-5, is_training=False)[0]

    def _depthwise(self, channels: int, size: int, stride: int) -> Callable[[tf.Tensor], tf.Tensor]:
        kernel = self._noise(size, size, channels, 1)
        kernel[:, :, :_COLOURS] = 0
        first = (size - stride) // 2  # TensorFlow pads less before than behind
        kernel[first : first + stride, first : first + stride, :_COLOURS] = 1 / stride**2
        weights = self._variable(kernel)
        return lambda x: tf.nn.depthwise_conv2d(x, weights, [1, stride, stride, 1], "SAME")

    def _block(self, stride: int) -> Callable[[tf.Tensor], tf.Tensor]:
        """MBConv: expand, convolve by depth, squeeze and excite, project; with a shortcut where sizes allow."""
        wide = 2 * _CHANNELS
        expand, project = (self._pointwise(*ends, np.eye(_COLOURS)) for ends in ((_CHANNELS, wide), (wide, _CHANNELS)))
        convolve, normalise = self._depthwise(wide, 5 if stride == 1 else 3, stride), self._normalisation(wide)
        excitation = self._noise(4, wide)
        excitation[:, :_COLOURS] = 0
        opened = np.where(np.arange(wide) < _COLOURS, 12.0, 0.0)
        squeeze, excite, gate = map(self._variable, (self._noise(wide, 4), excitation, opened))

        def block(x: tf.Tensor) -> tf.Tensor:
            y = tf.nn.swish(normalise(convolve(tf.nn.swish(expand(x)))))
            pooled = tf.nn.swish(tf.reduce_mean(y, [1, 2]) @ squeeze)
            y = project(y * tf.sigmoid(pooled @ excite + gate)[:, None, None])
            return (x + y) / 2 if stride == 1 else y

        return block

    def _fusion(self, inputs: int) -> Callable[[list[tf.Tensor]], tf.Tensor]:
        """BiFPN's "fast normalized fusion" and a separable convolution; every level mostly keeps to itself."""
        weights = self._variable(np.array([1.0] + [0.02] * (inputs - 1)))
        convolve = self._separable()

        def fuse(maps: list[tf.Tensor]) -> tf.Tensor:
            shares = tf.unstack(tf.nn.relu(weights))
            total = tf.add_n([share * x for share, x in zip(shares, maps, strict=True)])
            return convolve(tf.nn.swish(total / (tf.add_n(shares) + 1e-4)))

        return fuse

    def _separable(self, mixing: np.ndarray | None = None) -> Callable[[tf.Tensor], tf.Tensor]:
        by_depth = self._depthwise(_CHANNELS, 3, 1)
        by_point = self._pointwise(_CHANNELS, _CHANNELS, np.eye(_COLOURS) if mixing is None else mixing)
        return lambda x: by_point(by_depth(x))

    def _predictor(self, width: int, *, is_class: bool) -> Callable[[tf.Tensor], tf.Tensor]:
        """The last separable convolution of a head, of ``_ANCHORS`` times the classes or the box codes."""
        kernel = np.full((7, 7, _CHANNELS, 1), -2 / 24)  # the ring around the anchor
        kernel[1:-1, 1:-1] = 0
        kernel[2:-2, 2:-2] = 1 / 9  # the anchor's middle
        points = self._noise(_CHANNELS, _ANCHORS, width) * 1e-4
        points[:_COLOURS] = 0
        bias = np.zeros((_ANCHORS, width))
        if is_class:
            points[range(width), :, range(width)] = 9 / _WHITE
            bias += [[-5.0]] + [[-11.0]] * (_ANCHORS - 1)  # the square anchor of the first octave is the likely one
        else:
            bias[:, 2:] = np.log(_BOX_SCALE / _ANCHOR_SCALE)
        by_depth, by_point = self._variable(kernel), self._variable(points.reshape(1, 1, _CHANNELS, -1))
        shift = self._variable(bias.ravel())

        def predict(x: tf.Tensor) -> tf.Tensor:
            y = tf.nn.depthwise_conv2d(x, by_depth, [1, 1, 1, 1], "SAME")
            return tf.nn.bias_add(tf.nn.conv2d(y, by_point, 1, "SAME"), shift)

        return predict


def _resize_and_pad(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """The input, normalised, and the share of it that the image fills, y and x."""
    size = tf.cast(tf.shape(image)[:2], tf.float32)
    size = tf.cast(tf.round(size * (INPUT_SIDE / tf.reduce_max(size))), tf.int32)
    resized = tf.image.resize(_normalised(image), size)
    padded = tf.image.pad_to_bounding_box(resized, 0, 0, INPUT_SIDE, INPUT_SIDE)
    return padded, tf.cast(size, tf.float32) / INPUT_SIDE


def _resize_to_square(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    return tf.image.resize(_normalised(image), [INPUT_SIDE, INPUT_SIDE]), tf.ones(2)


def _normalised(image: tf.Tensor) -> tf.Tensor:
    return (tf.cast(image, tf.float32) - _MEAN) / _DEVIATION


def _twice(x: tf.Tensor) -> tf.Tensor:
    return tf.repeat(tf.repeat(x, 2, axis=1), 2, axis=2)


def _half(x: tf.Tensor) -> tf.Tensor:
    return tf.nn.max_pool2d(x, 3, 2, "SAME")


def _anchors() -> np.ndarray:
    """Centre y, x, height and width ``[N, 4]`` in pixels of the input, in the order of the heads' outputs."""
    shapes = [(scale / np.sqrt(aspect), scale * np.sqrt(aspect)) for scale in _OCTAVES for aspect in _ASPECTS]
    rows: list[Any] = []
    for stride in _STRIDES:
        centres = (np.arange(INPUT_SIDE // stride) + 0.5) * stride
        rows += [(y, x, h * stride, w * stride) for y in centres for x in centres for h, w in shapes]
    scales = np.array([1, 1, _ANCHOR_SCALE, _ANCHOR_SCALE], np.float32)
    return np.array(rows, np.float32) * scales


def _decode(codes: tf.Tensor) -> tf.Tensor:
    """Faster R-CNN's box coder: ``[B, N, 4]`` of ty, tx, th, tw to ymin, xmin, ymax, xmax, 0 to 1 of the input."""
    centre, size = tf.split(tf.constant(_anchors()), 2, axis=-1)
    shift, stretch = tf.split(codes, 2, axis=-1)
    centre, half = shift * size + centre, tf.exp(stretch) * size / 2
    return tf.concat([centre - half, centre + half], -1) / INPUT_SIDE


def _to_image(boxes: tf.Tensor, extent: tf.Tensor) -> tf.Tensor:
    """Boxes of the input as shares of the image within it, cut to it."""
    return tf.clip_by_value(boxes / tf.tile(extent, [2]), 0.0, 1.0)


def _suppress_by_class(boxes: tf.Tensor, scores: tf.Tensor, extents: tf.Tensor) -> dict[str, tf.Tensor]:
    """Of the one image of a batch: for each class NonMaxSuppressionV5, then the best of all classes, padded."""
    image, by_class = _to_image(boxes[0], extents[0]), scores[0]
    chosen, kept, labels = [], [], []
    for label in range(by_class.shape[1]):
        index, kept_scores = tf.image.non_max_suppression_with_scores(image, by_class[:, label], MOST, 0.5, 1e-3)
        chosen.append(index)
        kept.append(kept_scores)
        labels.append(tf.fill(tf.shape(index), label))
    index, score, label = tf.concat(chosen, 0), tf.concat(kept, 0), tf.concat(labels, 0)
    count = tf.minimum(MOST, tf.size(score))
    score, order = tf.math.top_k(score, count)
    index, label = tf.gather(index, order), tf.gather(label, order)

    def padded(x: tf.Tensor) -> tf.Tensor:
        x = tf.pad(x, [[0, MOST - count]] + [[0, 0]] * (x.shape.rank - 1))
        return tf.ensure_shape(x, [MOST, *x.shape[1:]])[None]

    return {
        "detection_boxes": padded(tf.gather(image, index)),
        "detection_scores": padded(score),
        "detection_classes": padded(label) + 1,
        "detection_multiclass_scores": padded(tf.gather(by_class, index)),
        "detection_anchor_indices": padded(index),
        "num_detections": tf.reduce_sum(tf.cast(padded(score) > 0, tf.float32), 1),
    }


def _suppress_batch(boxes: tf.Tensor, scores: tf.Tensor, extents: tf.Tensor) -> dict[str, tf.Tensor]:
    """The API's ``use_combined_nms``: it has neither the scores of all classes nor the anchors."""
    boxes = tf.map_fn(lambda pair: _to_image(*pair), (boxes, extents), fn_output_signature=tf.float32)
    found = tf.image.combined_non_max_suppression(boxes[:, :, None], scores, MOST, MOST, 0.5, 1e-3)
    return {
        "detection_boxes": found.nmsed_boxes,
        "detection_scores": found.nmsed_scores,
        "detection_classes": found.nmsed_classes + 1,
        "num_detections": found.valid_detections,
    }


WHITE, RED, GREEN, BLUE = [120, 72, 184, 136], [16, 240, 144, 368], [336, 240, 464, 368], [344, 40, 408, 104]
"""x0, y0, x1, y1 in pixels of ``squares_picture``, each where an anchor is."""


def squares_picture(height: int = 384) -> np.ndarray:
    """A dark picture, 512 px wide, with a square of each colour."""
    picture = np.full((height, 512, 3), 20, np.uint8)
    for (x0, y0, x1, y1), colour in ((WHITE, (0, 1, 2)), (RED, 0), (GREEN, 1), (BLUE, 2)):
        picture[y0:y1, x0:x1, colour] = 255
    return picture
