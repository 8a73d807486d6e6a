"""CenterFace as a TensorFlow SavedModel, built from its published ONNX weights.

The network: Xu et al., "CenterFace: Joint Face Detection and Alignment Using Face as Point", 2019,
https://arxiv.org/abs/1911.03599. It sees every face as a point: each cell of a map with a quarter of the
image's resolution holds the score of a face centred there, its size, the centre's offset within the cell and
five landmarks.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from faceveil.transforms.arrays import FloatArray
from faceveil.transforms.detectors.quantise import ActivationRange, quantise, quantise_kernel, read_ranges
from faceveil.transforms.models.frameworks import load_tensorflow

if TYPE_CHECKING:
    import onnx
    import tensorflow as tf

STRIDE = 4
"""Pixels of the input per cell of the output maps, along each axis."""

SIDE_MULTIPLE = 32
"""The backbone halves the image five times and the neck doubles it back: sides must be multiples of this."""

HEATMAP, LOG_SIZE, OFFSET, LANDMARKS = "537", "538", "539", "540"
"""What the ONNX file calls its four outputs, in the order of the network's heads."""

Weights = Mapping[str, Any]
"""Arrays, or TensorFlow's tensors or variables, by name."""


def build_detector(
    onnx_file: str | Path,
    directory: str | Path,
    ranges: Mapping[str, ActivationRange] = MappingProxyType({}),
    weights: Weights | None = None,
) -> None:
    """Writes CenterFace as a SavedModel with the outputs of TensorFlow's Object Detection API.

    Its ``serving_default`` takes ``input_tensor``, uint8 ``[B, H, W, 3]`` RGB with sides that are multiples
    of ``SIDE_MULTIPLE``, and returns, for the N = H/4 * W/4 cells of the map:

    * ``detection_boxes`` float32 ``[B, N, 4]``: ymin, xmin, ymax, xmax, 0 to 1, cut to the image;
    * ``detection_scores`` float32 ``[B, N]``: 0 to 1;
    * ``detection_keypoints`` float32 ``[B, N, 5, 2]``: y, x, 0 to 1: the eye on the image's left, the one on
      its right, nose, left and right mouth corner;
    * ``num_detections`` float32 ``[B]``: always N.

    Choosing the best candidates is left to the caller: a TopK or an NMS within the graph costs more than the
    network itself on a CPU, and keeping only local maxima of the scores (as CenterNet does) covers fewer
    faces (0.966 for 0.969 of those in 200 photos of WIDER FACE).

    Args:
        onnx_file: ``centerface.onnx``.
        directory: where to write the SavedModel; made if missing.
        ranges: of the tensors to be quantised, by their names in the ONNX file; none for a network of floats.
        weights: in place of the file's own, as `read_weights` returns them.

    Raises:
        ValueError: the file is not CenterFace's graph.
    """
    import onnx

    graph = onnx.load(str(onnx_file)).graph
    missing = {HEATMAP, LOG_SIZE, OFFSET, LANDMARKS} - {output.name for output in graph.output}
    if missing:
        raise ValueError(f"{onnx_file} is not CenterFace's graph: it lacks the outputs {sorted(missing)}")
    import tensorflow as tf

    used = read_weights(graph) if weights is None else weights

    def serve(input_tensor: tf.Tensor) -> dict[str, tf.Tensor]:
        maps = run_network(graph, tf.cast(input_tensor, tf.float32), used, ranges)
        return _candidates(maps[HEATMAP], maps[LOG_SIZE], maps[OFFSET], maps[LANDMARKS])

    module = tf.Module()
    image = tf.TensorSpec([None, None, None, 3], tf.uint8, name="input_tensor")
    module.serve = tf.function(serve, input_signature=[image], autograph=False)
    tf.saved_model.save(module, str(directory), signatures={"serving_default": module.serve})


def read_weights(graph: onnx.GraphProto) -> dict[str, FloatArray]:
    """The graph's weights, laid out as TensorFlow wants them and with batch normalisations folded in.

    ``NAME/kernel`` and ``NAME/bias`` are those of the convolution that makes the tensor ``NAME``, a transposed one's
    normalised output being that tensor.
    """
    import onnx

    stored = {t.name: onnx.numpy_helper.to_array(t) for t in graph.initializer}
    norms = _norms(graph)
    weights: dict[str, FloatArray] = {}
    for node in graph.node:
        if node.op_type == "Conv":
            kernel, bias = (stored[name] for name in node.input[1:3])
            name, axes = node.output[0], (2, 3, 0, 1) if _is_depthwise(node) else (2, 3, 1, 0)
        elif node.op_type == "ConvTranspose":
            norm = norms[node.output[0]]
            gamma, beta, mean, variance = (stored[name] for name in norm.input[1:])
            factor = gamma / np.sqrt(variance + _attributes(norm)["epsilon"])
            kernel, bias = stored[node.input[1]] * factor[:, None, None], beta - mean * factor  # in, out, y, x
            name, axes = norm.output[0], (2, 3, 1, 0)
        else:
            continue
        weights[f"{name}/kernel"], weights[f"{name}/bias"] = kernel.transpose(axes), bias
    return weights


def load_weights(file: str | Path) -> dict[str, FloatArray]:
    """Reads weights that ``training/shipped/detector.py`` wrote."""
    with np.load(file) as arrays:
        return {name: arrays[name].astype(np.float32) for name in arrays}


def run_network(
    graph: onnx.GraphProto, image: tf.Tensor, weights: Weights, ranges: Mapping[str, ActivationRange]
) -> dict[str, tf.Tensor]:
    """The ONNX graph's tensors by name for ``image`` ``[B, H, W, 3]``, all laid out as NHWC.

    Those that have a range are quantised, and so are the kernels of the convolutions that they go into.

    Args:
        graph: CenterFace's.
        image: float32, RGB from 0 to 255.
        weights: as `read_weights` returns them; may be TensorFlow's tensors or variables where nothing is quantised.
        ranges: of the tensors to be quantised.
    """
    import tensorflow as tf

    tensors: dict[str, tf.Tensor] = {}

    def keep(name: str, tensor: tf.Tensor) -> None:
        tensors[name] = quantise(tensor, name, ranges)

    keep(graph.input[0].name, image)
    # A BatchNormalization is folded into the ConvTranspose it follows, so both yield the later one's output.
    norms = _norms(graph)
    for node in graph.node:
        x, output = tensors.get(node.input[0]), node.output[0]
        match node.op_type:
            case "Conv":
                kernel, bias = weights[f"{output}/kernel"], weights[f"{output}/bias"]
                keep(output, _convolution(node, x, kernel, bias, quantised=node.input[0] in ranges))
            case "ConvTranspose":
                output = norms[output].output[0]
                keep(output, _upsampling(node, x, weights[f"{output}/kernel"], weights[f"{output}/bias"]))
            case "BatchNormalization":
                pass
            case "Relu":
                keep(output, tf.nn.relu(x))
            case "Sigmoid":
                keep(output, tf.sigmoid(x))
            case "Add":
                keep(output, x + tensors[node.input[1]])
            case other:
                raise ValueError(f"{other} is no operation of CenterFace's graph")
    return tensors


def _norms(graph: onnx.GraphProto) -> dict[str, onnx.NodeProto]:
    """The batch normalisations, by the tensor that each normalises."""
    return {node.input[0]: node for node in graph.node if node.op_type == "BatchNormalization"}


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    import onnx

    return {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}


def _is_depthwise(node: onnx.NodeProto) -> bool:
    return bool(_attributes(node)["group"] > 1)  # one group per channel


def _convolution(node: onnx.NodeProto, x: tf.Tensor, kernel: Any, bias: Any, *, quantised: bool) -> tf.Tensor:
    import tensorflow as tf

    attributes = _attributes(node)
    top, left, bottom, right = attributes["pads"]
    if any(attributes["pads"]):
        # Not left to the convolution: explicit padding within depthwise_conv2d crashes TensorFlow's graph
        # optimizer, and its "SAME" pads only the far sides at stride 2.
        x = tf.pad(x, [[0, 0], [top, bottom], [left, right], [0, 0]])
    stride = attributes["strides"][0]
    if quantised:
        kernel = quantise_kernel(kernel, channel_axis=2 if _is_depthwise(node) else 3)
    if _is_depthwise(node):
        y = tf.nn.depthwise_conv2d(x, kernel, [1, stride, stride, 1], "VALID")
    else:
        y = tf.nn.conv2d(x, kernel, stride, "VALID")
    return tf.nn.bias_add(y, bias)


def _upsampling(node: onnx.NodeProto, x: tf.Tensor, kernel: Any, bias: Any) -> tf.Tensor:
    """A transposed convolution whose stride is its kernel's size; the kernel is ``[y, x, out, in]``."""
    import tensorflow as tf

    stride = _attributes(node)["strides"][0]
    batch, height, width = tf.unstack(tf.shape(x)[:3])
    shape = tf.stack([batch, height * stride, width * stride, kernel.shape[2]])
    return tf.nn.bias_add(tf.nn.conv2d_transpose(x, kernel, shape, stride, "VALID"), bias)


def _candidates(
    heatmap: tf.Tensor, log_size: tf.Tensor, offset: tf.Tensor, landmarks: tf.Tensor
) -> dict[str, tf.Tensor]:
    """One candidate per cell of the maps ``[B, h, w, C]``; C = 1, 2 (y, x), 2 (y, x) and 10 (five y, x)."""
    import tensorflow as tf

    shape = tf.shape(heatmap)
    batch, height, width = shape[0], shape[1], shape[2]
    count = height * width
    rows, columns = tf.meshgrid(tf.range(height), tf.range(width), indexing="ij")
    cells = tf.cast(tf.stack([rows, columns], -1), tf.float32)
    extent = tf.cast(tf.stack([height, width]), tf.float32)
    size = tf.exp(log_size) / extent
    corner = (cells + 0.5 + offset) / extent - size / 2
    boxes = tf.clip_by_value(tf.concat([corner, corner + size], -1), 0.0, 1.0)
    # Repeated, not broadcast: OpenVINO broadcasts over an innermost axis of 2 several times slower.
    points = landmarks * tf.concat([size] * 5, -1) + tf.concat([corner] * 5, -1)
    return {
        "detection_boxes": tf.reshape(boxes, [batch, count, 4]),
        "detection_scores": tf.reshape(heatmap, [batch, count]),
        "detection_keypoints": tf.reshape(points, [batch, count, 5, 2]),
        "num_detections": tf.fill([batch], tf.cast(count, tf.float32)),
    }


def main() -> None:
    """Builds the SavedModel of a known model; run in a process of its own, as `KnownModel.build` says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory")
    parser.add_argument("onnx_file")
    parser.add_argument("--ranges", type=read_ranges, default={}, metavar="FILE")
    parser.add_argument("--weights", type=load_weights, metavar="FILE")
    given = parser.parse_args()
    load_tensorflow()
    build_detector(given.onnx_file, given.directory, given.ranges, given.weights)


if __name__ == "__main__":
    main()
