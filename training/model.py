"""EfficientDet in Keras: a backbone of ``keras.applications``, a BiFPN, and heads that all levels share.

Tan, Pang, Le, "EfficientDet: Scalable and Efficient Object Detection", 2020, https://arxiv.org/abs/1911.09070. Runs on
any backend of Keras.
"""

from __future__ import annotations

import math
from typing import Any

from faceveil.training.anchors import ANCHORS_PER_CELL
from faceveil.training.architectures import Architecture
from faceveil.transforms.errors import ModelError
from faceveil.transforms.models.frameworks import load_keras

keras = load_keras()

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's photos, RGB, 0 to 1: what published weights of EfficientNet expect to be normalized."""

_PRIOR = 0.01
"""The score that all anchors begin with, lest the many of background swamp the loss (Lin et al., 2017,
https://arxiv.org/abs/1708.02002, section 4.1)."""

_EPSILON = 1e-4
"""Added to the sum of a fusion's weights (section 3.3)."""

BOXES, LOGITS = "boxes", "logits"
"""The model's outputs."""


class FastFusion(keras.layers.Layer):  # type: ignore[misc, name-defined]
    """Fast normalized fusion: a mean of feature maps by learnt weights of at least 0 (section 3.3)."""

    def build(self, input_shape: Any) -> None:
        """Makes a weight for every map."""
        self._weights = self.add_weight(name="fusion", shape=(len(input_shape),), initializer="ones")

    def call(self, inputs: Any) -> Any:
        """The mean of maps ``[B, H, W, C]``."""
        weights = keras.ops.relu(self._weights)
        weights = keras.ops.cast(weights / (keras.ops.sum(weights) + _EPSILON), inputs[0].dtype)
        return sum(weights[place] * each for place, each in enumerate(inputs))


def build_model(architecture: Architecture, classes: int, backbone_weights: str | None = None) -> Any:
    """A detector with random weights, the backbone's apart if those are given.

    It takes RGB float32 ``[B, S, S, 3]``, 0 to 255, S the architecture's size, and returns, for the anchors of
    ``make_anchors`` in their order, a dictionary of ``boxes`` float32 ``[B, A, 4]``, as ``encode_boxes`` has them, and
    ``logits`` float32 ``[B, A, classes]``, scores before their sigmoid.

    Args:
        architecture: its sizes.
        classes: how many labels there are.
        backbone_weights: a file of weights of the backbone without its top, as Keras saves them.

    Raises:
        ModelError: these weights cannot be read, or are of another backbone.
    """
    images = keras.Input((architecture.size, architecture.size, 3), name="images")
    features = _pyramid(_backbone(architecture, backbone_weights)(_normalize(images, architecture)), architecture)
    for repeat in range(architecture.repeats):
        features = _bifpn(features, architecture, f"bifpn{repeat}")
    boxes = _head(features, architecture, "box", 4, "zeros")
    prior = keras.initializers.Constant(-math.log((1 - _PRIOR) / _PRIOR))
    logits = _head(features, architecture, "class", classes, prior)
    return keras.Model(images, {BOXES: boxes, LOGITS: logits}, name="efficientdet")


def _normalize(images: Any, architecture: Architecture) -> Any:
    if not architecture.backbone.startswith("EfficientNet"):
        return keras.layers.Rescaling(1 / 127.5, -1, name="normalize")(images)
    # The backbone itself divides by 255.
    scale = [1 / deviation for deviation in _DEVIATION]
    offset = [-255 * mean / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True)]
    return keras.layers.Rescaling(scale, offset, name="normalize")(images)


def _backbone(architecture: Architecture, weights: str | None) -> Any:
    """From normalized images to the last feature map of each stride, from the finest level with anchors to level 5."""
    # Its preprocessing is ours, which published weights bring along as well.
    own = {} if architecture.backbone.startswith("EfficientNet") else {"include_preprocessing": False}
    shape = (architecture.size, architecture.size, 3)
    whole = getattr(keras.applications, architecture.backbone)(
        include_top=False, weights=None, input_shape=shape, **own
    )
    if weights:
        _load_backbone(whole, architecture.backbone, weights)
    ends = [layer.output for layer in whole.layers if layer.name.endswith(("_add", "_project_bn"))]
    sides = {math.ceil(architecture.size / 2**level): level for level in range(architecture.min_level, 6)}
    last = {sides[output.shape[1]]: output for output in ends if output.shape[1] in sides}
    return keras.Model(whole.input, [last[level] for level in sorted(last)], name="backbone")


def _load_backbone(backbone: Any, name: str, path: str) -> None:
    layers = [layer for layer in backbone.layers if isinstance(layer, keras.layers.Normalization)]
    before = [layer.get_weights() for layer in layers]
    try:
        backbone.load_weights(path)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: holds no weights of {name} without its top: {error}") from error
    for layer, values in zip(layers, before, strict=True):
        layer.set_weights(values)
        layer.finalize_state()


def _pyramid(features: list[Any], architecture: Architecture) -> list[Any]:
    """A map of the BiFPN's channels for every level: the backbone's, then ever coarser ones."""
    maps = []
    for level, given in zip(range(architecture.min_level, 6), features, strict=True):
        maps.append(_resampled(given, architecture.channels, f"level{level}"))
    for level in range(6, architecture.max_level + 1):
        source = maps[-1] if level > 6 else _resampled(features[-1], architecture.channels, "level6")
        maps.append(_halved(source, f"level{level}_pool"))
    return maps


def _bifpn(maps: list[Any], architecture: Architecture, name: str) -> list[Any]:
    """One layer: from coarse to fine, and back; levels between the ends see their own map twice (figure 3)."""
    down = [maps[-1]]
    for level, own in zip(reversed(architecture.levels[:-1]), reversed(maps[:-1]), strict=True):
        down.append(_fused([own, _doubled(down[-1], own, f"{name}_up{level}")], architecture, f"{name}_down{level}"))
    down.reverse()
    up = [down[0]]
    for level, own, seen in zip(architecture.levels[1:], maps[1:], down[1:], strict=True):
        finer = _halved(up[-1], f"{name}_pool{level}")
        inputs = [own, finer] if level == architecture.max_level else [own, seen, finer]
        up.append(_fused(inputs, architecture, f"{name}_out{level}"))
    return up


def _fused(maps: list[Any], architecture: Architecture, name: str) -> Any:
    x = keras.layers.Activation("swish", name=f"{name}_swish")(FastFusion(name=f"{name}_fusion")(maps))
    x = keras.layers.SeparableConv2D(architecture.channels, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
    return _batch_norm(x, f"{name}_bn")


def _resampled(x: Any, channels: int, name: str) -> Any:
    x = keras.layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_conv")(x)
    return _batch_norm(x, f"{name}_bn")


def _halved(x: Any, name: str) -> Any:
    return keras.layers.MaxPooling2D(3, 2, padding="same", name=name)(x)


def _doubled(x: Any, like: Any, name: str) -> Any:
    """A map enlarged to the next finer one's size, which is odd where half a cell was filled up."""
    x = keras.layers.UpSampling2D(2, name=name)(x)
    spare = [(0, has - wants) for has, wants in zip(x.shape[1:3], like.shape[1:3], strict=True)]
    return keras.layers.Cropping2D(spare, name=f"{name}_crop")(x) if any(cut for _, cut in spare) else x


def _head(maps: list[Any], architecture: Architecture, name: str, values: int, bias: Any) -> Any:
    """Convolutions that all levels share, with a normalization of each level's own: ``[B, A, values]``."""
    convolutions = [
        keras.layers.SeparableConv2D(architecture.channels, 3, padding="same", use_bias=False, name=f"{name}_conv{i}")
        for i in range(architecture.head_layers)
    ]
    last = keras.layers.SeparableConv2D(
        ANCHORS_PER_CELL * values, 3, padding="same", bias_initializer=bias, name=f"{name}_output"
    )
    outputs = []
    for level, given in zip(architecture.levels, maps, strict=True):
        x = given
        for i, convolution in enumerate(convolutions):
            x = _batch_norm(convolution(x), f"{name}_bn{i}_level{level}")
            x = keras.layers.Activation("swish", name=f"{name}_swish{i}_level{level}")(x)
        outputs.append(keras.layers.Reshape((-1, values), name=f"{name}_level{level}")(last(x)))
    return keras.layers.Concatenate(axis=1, name=name, dtype="float32")(outputs)


def _batch_norm(x: Any, name: str) -> Any:
    return keras.layers.BatchNormalization(epsilon=1e-3, name=name)(x)


def set_momentum(model: Any, momentum: float) -> None:
    """Sets how slowly the statistics of all batch normalizations follow; to be called before the model is trained."""
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            set_momentum(layer, momentum)
        elif isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = momentum
