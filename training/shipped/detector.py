"""Trains CenterFace on, so that it finds faces that are covered, too: ``centerface-covered``.

Example usage::

    python -m faceveil.training.shipped.detector --annotations wider-train/annotations.jsonl --seed 3 --output covered

writes ``covered/weights.npz``, which the package ships as ``transforms/detectors/centerface_covered.npz``. On two
cores a step takes 0.8 s.

The published network looks at each crop as it is, the trained one at the same crop with faces covered and the picture
spoilt. It is to find the annotated faces, and otherwise what the other found. So what nobody annotated is not unlearnt,
and scores keep their meaning. The loss of the heat map is that of Li et al., "Generalized Focal Loss", NeurIPS 2020,
https://arxiv.org/abs/2006.04388, with an exponent of 1.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import tensorflow as tf

from faceveil.training.shipped.photo_crops import Crop, Photo, draw_crop, load_photos
from faceveil.transforms.detectors.centerface import (
    HEATMAP,
    LANDMARKS,
    LOG_SIZE,
    OFFSET,
    read_weights,
    run_network,
)
from faceveil.transforms.detectors.models import KNOWN_MODELS

_BATCH = 8
_RATE = 7e-4
"""A step's largest part of a tensor's root mean square: weights of very different sizes learn alike."""

_WARM_UP = 100
_MOMENTUM, _VARIANCE = 0.9, 0.99
_AVERAGED = 0.998
"""What is kept is a moving average of the weights."""

_DOUBT = 0.6
"""Of the published network's score where no face is annotated: less is asked for, as many of those are none."""

_RAISED, _LOW = 0.003, 0.001
"""Where there is no face, the first times what log(score) exceeds the published network's by is added to the loss;
that one's score counts as no less than the second."""

_SHARPER, _HIGHER = 1.3, 0.25
"""By these log(score / (1 - score)) is multiplied and raised in the end: the loss leaves the network less sure than the
published one is, and their scores are averaged."""

_FOUND = 0.2
"""Score from which its boxes and keypoints are imitated, away from annotated faces."""


def draw_batches(photos: list[Photo], seed: int) -> Iterator[dict[str, Any]]:
    """Endless batches: the fields of `Crop` by name, stacked; the next one is drawn while one is used."""
    random = np.random.default_rng(seed)

    def draw() -> dict[str, Any]:
        crops = [draw_crop(photos[random.integers(len(photos))], random) for _ in range(_BATCH)]
        return {field.name: np.stack([getattr(crop, field.name) for crop in crops]) for field in fields(Crop)}

    with ThreadPoolExecutor(1) as pool:
        drawn = pool.submit(draw)
        while True:
            batch, drawn = drawn.result(), pool.submit(draw)
            yield batch


def losses(told: Mapping[str, tf.Tensor], published: Mapping[str, tf.Tensor], logits: tf.Tensor, batch: Any) -> Any:
    """What is minimised: float32 ``[5]``: heat map, sizes, offsets, keypoints, and agreement away from faces.

    Args:
        told: the trained network's tensors by name, for the spoilt crops.
        published: the published one's, for the clean ones.
        logits: float32 ``[B, h, w]``: the trained heat map before its sigmoid.
        batch: the fields of `Crop` by name, stacked.
    """
    heat, counted, centres = batch["heat"], batch["counted"], batch["centres"]
    score = published[HEATMAP][..., 0]
    wanted = tf.maximum(heat, score * tf.where(heat > 0.05, 1.0, _DOUBT))
    entropy = tf.nn.sigmoid_cross_entropy_with_logits(wanted, logits)
    # With the exponent of 2 that is usual, scores where there is no face crept up: below 0.2 little was asked for.
    focal = tf.reduce_sum(entropy * tf.abs(wanted - tf.sigmoid(logits)) * counted)
    raised = tf.nn.relu(logits - tf.math.log(score + _LOW)) * tf.cast(heat < 0.05, tf.float32)
    faces = tf.reduce_sum(centres) + 1
    of_heat = (focal + _RAISED * tf.reduce_sum(_distance(raised) * counted)) / faces
    sizes = _distance(told[LOG_SIZE] - batch["boxes"][..., :2]) * centres[..., None]
    # An offset counts by the face's size.
    in_sizes = 3 * centres[..., None] / tf.exp(batch["boxes"][..., :2])
    offsets = _distance(told[OFFSET] - batch["boxes"][..., 2:]) * in_sizes
    pointed = centres * batch["has_keypoints"]
    points = _distance(told[LANDMARKS] - batch["keypoints"]) * pointed[..., None]
    elsewhere = tf.where(score > _FOUND, score, 0.0) * (1 - centres)
    agreement = sum(
        tf.reduce_sum(_distance(told[name] - published[name]) * elsewhere[..., None])
        / (parts * tf.reduce_sum(elsewhere) + 1)
        for name, parts in ((LOG_SIZE, 1), (OFFSET, 1), (LANDMARKS, 5))
    )
    return tf.stack(
        [
            of_heat,
            tf.reduce_sum(sizes) / faces,
            tf.reduce_sum(offsets) / faces,
            0.5 * tf.reduce_sum(points) / (5 * tf.reduce_sum(pointed) + 1),
            0.5 * agreement,
        ]
    )


def _distance(difference: tf.Tensor) -> tf.Tensor:
    """The absolute value, rounded off around 0."""
    size = tf.abs(difference)
    return tf.where(size < 0.1, 5 * size**2, size - 0.05)


def train(graph: onnx.GraphProto, photos: list[Photo], steps: int, seed: int) -> dict[str, Any]:
    """The weights after training, from the published ones on, by Adam with a rate that falls as a cosine does."""
    published = read_weights(graph)
    weights = {name: tf.Variable(value) for name, value in published.items()}
    sizes = {
        name: float(np.sqrt(np.mean(np.square(value, dtype=np.float64)))) + 1e-6 for name, value in published.items()
    }
    means = {name: tf.Variable(tf.zeros_like(value)) for name, value in weights.items()}
    variances = {name: tf.Variable(tf.zeros_like(value)) for name, value in weights.items()}
    averages = {name: tf.Variable(value) for name, value in weights.items()}
    before_sigmoid = _before_sigmoid(graph)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def step(batch: Any, rate: tf.Tensor, number: tf.Tensor) -> tf.Tensor:
        of_published = run_network(graph, tf.cast(batch["clean"], tf.float32), published, {})
        with tf.GradientTape() as tape:
            told = run_network(graph, tf.cast(batch["spoilt"], tf.float32), weights, {})
            parts = losses(told, of_published, told[before_sigmoid][..., 0], batch)
            loss = tf.reduce_sum(parts)
        for name, gradient in tape.gradient(loss, weights).items():
            mean, variance, weight = means[name], variances[name], weights[name]
            mean.assign(_MOMENTUM * mean + (1 - _MOMENTUM) * gradient)
            variance.assign(_VARIANCE * variance + (1 - _VARIANCE) * gradient**2)
            direction = mean / (1 - _MOMENTUM**number) / (tf.sqrt(variance / (1 - _VARIANCE**number)) + 1e-9)
            weight.assign_sub(rate * sizes[name] * direction)
            kept = tf.minimum(_AVERAGED, number / (number + 20))
            averages[name].assign(kept * averages[name] + (1 - kept) * weight)
        return parts

    recent: list[Any] = []
    for number, batch in zip(range(1, steps + 1), draw_batches(photos, seed), strict=False):
        rate = _RATE * min(1, number / _WARM_UP) * 0.5 * (1 + math.cos(math.pi * number / steps))
        recent.append(step(batch, tf.constant(rate, tf.float32), tf.constant(float(number))).numpy())
        if number % 100 == 0 or number == steps:
            print(number, np.mean(recent, axis=0).round(4), flush=True)
            recent = []
    return {name: value.numpy() for name, value in averages.items()}


def sharpen(graph: onnx.GraphProto, weights: Mapping[str, Any]) -> dict[str, Any]:
    """The weights with the last layer of the heat map changed, so that the network is as sure as the published one."""
    layer = _before_sigmoid(graph)
    kernel, bias = f"{layer}/kernel", f"{layer}/bias"
    return {**weights, kernel: weights[kernel] * _SHARPER, bias: weights[bias] * _SHARPER + _HIGHER}


def _before_sigmoid(graph: onnx.GraphProto) -> str:
    """The name of the heat map before its sigmoid."""
    return str(next(node.input[0] for node in graph.node if node.op_type == "Sigmoid"))


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", required=True, metavar="FILE", help="annotations.jsonl, beside its photos")
    parser.add_argument("--output", required=True, metavar="DIR", help="where to write; made if missing")
    parser.add_argument("--steps", type=int, default=2800, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(default: %(default)s)")
    given = parser.parse_args()
    graph = onnx.load(str(KNOWN_MODELS["centerface"].weights)).graph
    trained = sharpen(graph, train(graph, load_photos(given.annotations), given.steps, given.seed))
    folder = Path(given.output)
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "weights.npz", **{name: value.astype(np.float16) for name, value in trained.items()})


if __name__ == "__main__":
    main()
