"""Measures which ranges CenterFace's tensors have on photos, and writes those of its eight-bit variant.

Example usage::

    python -m faceveil.training.shipped.calibrate --images 'photos/**' \\
        --output transforms/detectors/centerface_int8.json

A tensor that flows into a convolution is quantised, and what is added up to such a tensor. The last layer stays in
floats: it takes a hundredth of the time and makes the scores. Inputs of depthwise convolutions have a range for each
channel, all others one, the mean over the photos of the largest absolute value; for channels it is the largest, since
many are rarely more than 0.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from faceveil.transforms import storage
from faceveil.transforms.arrays import FloatArray
from faceveil.transforms.codecs import decode_for_detection, probe
from faceveil.transforms.detectors.centerface import Weights, load_weights, read_weights, run_network
from faceveil.transforms.detectors.models import KNOWN_MODELS
from faceveil.transforms.detectors.quality import Quality
from faceveil.transforms.detectors.views import plan_windows, side_needed, take_view
from faceveil.transforms.inputs.match import Input, list_inputs

_QUALITY = Quality(1024)
_DIGITS = 5
_MIN_HIGH = 1e-3
"""For channels that are always 0."""


def calibrate(graph: onnx.GraphProto, weights: Weights, photos: Iterable[NDArray[np.uint8]]) -> dict[str, list[Any]]:
    """The ranges of the tensors to quantise, as ``read_ranges`` reads them.

    Args:
        graph: CenterFace's.
        weights: as `read_weights` returns them.
        photos: uint8 ``[H, W, 3]`` RGB, sides multiples of 32.
    """
    import tensorflow as tf

    def extremes(photo: tf.Tensor) -> dict[str, tf.Tensor]:
        tensors = run_network(graph, tf.cast(photo[None], tf.float32), weights, {})
        return {
            name: tf.stack([tf.reduce_min(t, (0, 1, 2)), tf.reduce_max(t, (0, 1, 2))]) for name, t in tensors.items()
        }

    spec = [tf.TensorSpec([None, None, 3], tf.uint8)]
    measure = tf.function(extremes, input_signature=spec, autograph=False)
    wanted = _quantised_tensors(graph)
    seen: dict[str, list[FloatArray]] = {name: [] for name in wanted}
    for photo in photos:
        for name, values in measure(photo).items():
            if name in wanted:
                seen[name].append(values.numpy())
    ranges = {name: _range(np.stack(values), wanted[name]) for name, values in seen.items()}
    ranges[graph.input[0].name] = [0, 255]
    return ranges


def _quantised_tensors(graph: onnx.GraphProto) -> dict[str, bool]:
    """The names of the tensors to quantise, and whether channel by channel, from the last to the first."""
    outputs = {output.name for output in graph.output}
    before_sigmoid = {node.input[0] for node in graph.node if node.op_type == "Sigmoid"}
    wanted: dict[str, bool] = {}
    for node in reversed(graph.node):
        if node.op_type == "Conv" and not set(node.output) & (outputs | before_sigmoid):
            groups = next(a.i for a in node.attribute if a.name == "group")
            wanted[node.input[0]] = groups > 1
        elif node.op_type == "Add" and node.output[0] in wanted:
            for name in node.input:
                wanted.setdefault(name, False)
    return dict(reversed(wanted.items()))


def _range(extremes: FloatArray, by_channel: bool) -> list[Any]:
    """The range of a tensor from its least and largest values ``[photos, 2, C]``."""
    low, high = extremes[:, 0], extremes[:, 1]
    if by_channel:
        return [0, [_rounded(max(value, _MIN_HIGH)) for value in high.max(axis=0).tolist()]]
    largest = float(np.abs(extremes).max(axis=(1, 2)).mean())
    # 256 levels, 0 being one of them: 128 below it where there are negative values, otherwise none.
    return [_rounded(-largest * 128 / 127) if (low < 0).any() else 0, _rounded(largest)]


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")


def _load(path: str) -> NDArray[np.uint8]:
    data = storage.read_bytes(path)
    info = probe(data)
    width, height = info.upright_width, info.upright_height
    rgb = next(decode_for_detection(data, info, side_needed(width, height, _QUALITY)).renderings()).rgb
    (window,) = plan_windows(width, height, _QUALITY)
    return take_view(rgb, window, width, height).pixels


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", required=True, metavar="GLOB", help="photos to measure on")
    parser.add_argument("--count", type=int, default=150, metavar="N", help="how many of them (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="chooses which (default: %(default)s)")
    parser.add_argument(
        "--weights", metavar="FILE", help="of faceveil.training.shipped.detector (default: the published ones)"
    )
    parser.add_argument("--output", required=True, metavar="FILE", help="the JSON file to write")
    given = parser.parse_args()
    graph = onnx.load(str(KNOWN_MODELS["centerface"].weights)).graph
    found = list_inputs([Input("data", given.images)], 0)
    paths = sorted(file.path for file in found if file.kind == "image")
    chosen = random.Random(given.seed).sample(paths, min(given.count, len(paths)))  # noqa: S311 (no secret)
    weights = load_weights(given.weights) if given.weights else read_weights(graph)
    ranges = calibrate(graph, weights, map(_load, chosen))
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in ranges.items())
    Path(given.output).write_text(f"{{\n{lines}\n}}\n")


if __name__ == "__main__":
    main()
