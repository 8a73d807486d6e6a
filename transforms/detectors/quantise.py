"""Eight-bit arithmetic for a network: tensors and kernels rounded to 256 levels, as engines recognise it.

The model stays a SavedModel of floats whose operations say how values are to be rounded ("fake quantisation"). OpenVINO
computes such a model in eight-bit integers; TensorFlow computes the same values in floats.

Levels and their symmetry: Jacob et al., "Quantization and Training of Neural Networks for Efficient
Integer-Arithmetic-Only Inference", 2018, https://arxiv.org/abs/1712.05877.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from faceveil.transforms.arrays import FloatArray

if TYPE_CHECKING:
    import tensorflow as tf

ActivationRange = tuple[float, float | FloatArray]
"""The least and the largest value of a tensor; the largest may be float32 ``[C]``, one for each channel."""

_LARGEST = 127
"""Of a kernel's integers; -128 is left out, so that both signs have as many levels."""


def read_ranges(file: str | Path) -> dict[str, ActivationRange]:
    """Reads the ranges that ``training/shipped/calibrate.py`` wrote: a JSON object of names to ``[low, high]``."""
    ranges: dict[str, ActivationRange] = {}
    for name, (low, high) in json.loads(Path(file).read_text()).items():
        ranges[name] = low, np.array(high, np.float32) if isinstance(high, list) else high
    return ranges


def quantise(x: tf.Tensor, name: str, ranges: Mapping[str, ActivationRange]) -> tf.Tensor:
    """The tensor ``[..., C]`` rounded to 256 levels within its range, if it has one."""
    import tensorflow as tf

    if name not in ranges:
        return x
    low, high = ranges[name]
    if isinstance(high, np.ndarray):
        return tf.quantization.fake_quant_with_min_max_vars_per_channel(x, np.full_like(high, low), high)
    return tf.quantization.fake_quant_with_min_max_vars(x, low, high)


def quantise_kernel(kernel: NDArray[Any], channel_axis: int) -> tf.Tensor:
    """A kernel rounded to 255 levels, symmetric to 0, each output channel by its own largest weight.

    Args:
        kernel: of any shape.
        channel_axis: the axis of the output channels.
    """
    import tensorflow as tf

    others = tuple(axis for axis in range(kernel.ndim) if axis != channel_axis % kernel.ndim)
    step = np.maximum(np.abs(kernel).max(axis=others, keepdims=True), 1e-6).astype(np.float32) / _LARGEST
    # Rounded for the whole tensor and then scaled by channel: OpenVINO does not see through the operation for
    # channels where a depthwise kernel's channels are not the last axis.
    rounded = tf.quantization.fake_quant_with_min_max_vars(
        tf.constant(kernel / step), -_LARGEST, _LARGEST, narrow_range=True
    )
    return rounded * tf.constant(step)
