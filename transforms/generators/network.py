"""The embedded generator's network: a small U-Net that sees the surroundings of a face and draws another one.

It draws a face of half the crop's side, and adds detail to it at the whole side, as the generators of Karras et al. do
("Analyzing and Improving the Image Quality of StyleGAN", CVPR 2020, https://arxiv.org/abs/1912.04958, section 4.1). At
both, two by two pixels become channels first (Shi et al., "Real-Time Single Image and Video Super-Resolution Using an
Efficient Sub-Pixel Convolutional Neural Network", CVPR 2016, https://arxiv.org/abs/1609.05158). The random vector and
the mean of what is seen modulate the features (Perez et al., "FiLM: Visual Reasoning with a General Conditioning
Layer", AAAI 2018, https://arxiv.org/abs/1709.07871).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import tensorflow as tf

SIZE = 128
"""Side of the crops, in pixels."""

KEYPOINTS = 5
"""Eyes, nose, corners of the mouth."""

RANDOM = 64
"""Numbers in z."""

SPREAD = 0.6
"""What z is multiplied by once the network is trained: fewer odd faces for less variety, as the truncation of Brock et
al. does (https://arxiv.org/abs/1809.11096, section 3.1)."""

_DETAIL, _FINE, _MIDDLE, _COARSE = 32, 64, 96, 192
"""Channels at a half, a quarter, an eighth and a sixteenth of the crop's side."""

_STYLE = 256
_SPOT = 0.75
"""Standard deviation of a keypoint's spot on its map, in cells."""

_FAR = 1e4
"""Pixels: where a missing keypoint is put."""

_LEAK = 0.2
_EPSILON = 1e-4


def _convolution(name: str, side: int, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/kernel": (side, side, inputs, outputs), f"{name}/bias": (outputs,)}


def _dense(name: str, inputs: int, outputs: int) -> dict[str, tuple[int, ...]]:
    return {f"{name}/kernel": (inputs, outputs), f"{name}/bias": (outputs,)}


def _block(name: str, channels: int) -> dict[str, tuple[int, ...]]:
    return (
        _convolution(f"{name}/first", 3, channels, channels)
        | _dense(f"{name}/style", _STYLE, 2 * channels)
        | _convolution(f"{name}/second", 3, channels, channels)
    )


SHAPES: Mapping[str, tuple[int, ...]] = (
    _convolution("enter", 3, 4 * 4 + KEYPOINTS, _FINE)
    | _convolution("to_middle", 3, _FINE, _MIDDLE)
    | _convolution("to_coarse", 3, _MIDDLE, _COARSE)
    | _dense("style/first", RANDOM + _COARSE, _STYLE)
    | _dense("style/second", _STYLE, _STYLE)
    | _block("coarse", _COARSE)
    | _convolution("from_coarse", 1, _COARSE, 4 * _MIDDLE)
    | _block("middle", _MIDDLE)
    | _convolution("from_middle", 1, _MIDDLE, 4 * _FINE)
    | _block("fine", _FINE)
    | _convolution("leave", 3, _FINE, 4 * 12)
    | _convolution("paint", 3, 12, 3)
    | _convolution("enter_detail", 3, 4 * 4, _DETAIL)
    | _convolution("to_fine", 3, _DETAIL, _FINE)
    | _convolution("from_fine", 1, _FINE, 4 * _DETAIL)
    | _block("detail", _DETAIL)
    | _convolution("leave_detail", 3, _DETAIL, 4 * 12)
    | _convolution("paint_detail", 3, 12, 3)
)
"""The name and shape of every weight: kernels ``[h, w, in, out]`` or ``[in, out]``, biases ``[out]``."""


def initial_weights(seed: int) -> dict[str, NDArray[np.float32]]:
    """Weights to begin a training with: normal, scaled by fan-in (He et al., https://arxiv.org/abs/1502.01852)."""
    random = np.random.default_rng(seed)
    weights: dict[str, NDArray[np.float32]] = {}
    for name, shape in SHAPES.items():
        if name.endswith("/bias"):
            weights[name] = np.zeros(shape, np.float32)
        else:
            # What is added to something else begins as nearly nothing.
            scale = 0.1 if name.endswith(("/second/kernel", "to_fine/kernel", "paint_detail/kernel")) else 1.0
            deviation = scale * np.sqrt(2 / np.prod(shape[:-1]))
            weights[name] = random.normal(0, deviation, shape).astype(np.float32)
    return weights


def keypoint_maps(keypoints: tf.Tensor, cells: int, size: int) -> tf.Tensor:
    """Gaussian spots where the keypoints lie, float32 ``[B, cells, cells, K]``; nothing for a missing one.

    Args:
        keypoints: float32 ``[B, K, 2]``, x, y in pixels of the crop, NaN where missing.
        cells: side of the maps.
        size: side of the crop in pixels.
    """
    import tensorflow as tf

    centres = tf.range(cells, dtype=tf.float32) + 0.5
    # A comparison with NaN is false; OpenVINO does not keep NaN out of what is computed from it.
    there = tf.reduce_all(tf.abs(keypoints) < _FAR, -1, keepdims=True)
    places = tf.where(there, keypoints, -_FAR) * (cells / size)
    x, y = places[:, tf.newaxis, :, 0], places[:, tf.newaxis, :, 1]
    across = tf.exp(-tf.square(centres[:, tf.newaxis] - x) / (2 * _SPOT**2))
    down = tf.exp(-tf.square(centres[:, tf.newaxis] - y) / (2 * _SPOT**2))
    return down[:, :, tf.newaxis] * across[:, tf.newaxis]


def generate(
    weights: Mapping[str, Any],
    crop: tf.Tensor,
    mask: tf.Tensor,
    keypoints: tf.Tensor,
    z: tf.Tensor,
    dtype: str = "float32",
) -> tf.Tensor:
    """New faces for a batch of crops, float32 ``[B, SIZE, SIZE, 3]`` from -1 to 1; only masked pixels are meant.

    Args:
        weights: by the names of ``SHAPES``.
        crop: float32 ``[B, SIZE, SIZE, 3]`` RGB from -1 to 1, 0 where the mask is 1.
        mask: float32 ``[B, SIZE, SIZE, 1]``, 1 where nothing is known.
        keypoints: float32 ``[B, KEYPOINTS, 2]``, x, y in pixels of the crop, NaN where missing.
        z: float32 ``[B, RANDOM]``, standard normal.
        dtype: of the arithmetic.
    """
    import tensorflow as tf

    def convolve(name: str, x: tf.Tensor, stride: int = 1) -> tf.Tensor:
        y = tf.nn.conv2d(x, tf.cast(weights[f"{name}/kernel"], dtype), stride, "SAME")
        return tf.nn.bias_add(y, tf.cast(weights[f"{name}/bias"], dtype))

    def multiply(name: str, x: tf.Tensor) -> tf.Tensor:
        return tf.matmul(x, weights[f"{name}/kernel"]) + weights[f"{name}/bias"]

    def activate(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.leaky_relu(x, _LEAK)

    def normalise(x: tf.Tensor) -> tf.Tensor:
        return x * tf.math.rsqrt(tf.reduce_mean(tf.square(x), -1, keepdims=True) + _EPSILON)

    def block(name: str, x: tf.Tensor) -> tf.Tensor:
        y = normalise(convolve(f"{name}/first", activate(normalise(x))))
        scale, shift = tf.split(tf.cast(multiply(f"{name}/style", style), dtype)[:, tf.newaxis, tf.newaxis], 2, -1)
        return x + convolve(f"{name}/second", activate(y * (1 + scale) + shift))

    def double(x: tf.Tensor) -> tf.Tensor:
        return tf.nn.depth_to_space(x, 2)

    def fold(crop: tf.Tensor, mask: tf.Tensor) -> tf.Tensor:
        return tf.nn.space_to_depth(tf.concat([crop, mask], -1), 2)

    # Of half the side a pixel is known if all four were.
    small_mask = tf.nn.max_pool2d(mask, 2, 2, "VALID")
    small_crop = tf.nn.avg_pool2d(crop, 2, 2, "VALID") * (1 - small_mask)
    spots = keypoint_maps(keypoints, SIZE // 4, SIZE)
    detail = convolve("enter_detail", tf.cast(fold(crop, mask), dtype))
    fine = convolve("enter", tf.cast(tf.concat([fold(small_crop, small_mask), spots], -1), dtype))
    fine += convolve("to_fine", activate(detail), 2)
    middle = convolve("to_middle", activate(fine), 2)
    coarse = convolve("to_coarse", activate(middle), 2)
    surroundings = tf.cast(tf.reduce_mean(normalise(coarse), (1, 2)), tf.float32)
    style = activate(multiply("style/first", tf.concat([z, surroundings], -1)))
    style = activate(multiply("style/second", style))
    x = block("coarse", coarse)
    x = middle + double(convolve("from_coarse", activate(x)))
    x = block("middle", x)
    x = fine + double(convolve("from_middle", activate(x)))
    x = activate(block("fine", x))
    small = convolve("paint", activate(double(convolve("leave", x))))
    x = block("detail", detail + double(convolve("from_fine", x)))
    added = convolve("paint_detail", activate(double(convolve("leave_detail", activate(x)))))
    return tf.tanh(tf.image.resize(small, (SIZE, SIZE)) + tf.cast(added, tf.float32))
