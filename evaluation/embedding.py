"""Small networks that learn which pictures belong together. They load TensorFlow, once they are made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from faceveil.transforms.arrays import FloatArray
from faceveil.transforms.models.frameworks import load_tensorflow

_FEATURES = 64
_TEMPERATURE = 0.1
_SEED = 0

Network = Any
"""A Keras model."""


def tower(side: int, channels: int) -> Network:
    """A network, not yet trained, that makes 64 features of images ``[N, side, side, channels]``."""
    keras = load_tensorflow().keras
    seen = x = keras.Input((side, side, channels))
    for width in (32, 64, 128):
        x = keras.layers.Conv2D(width, 3, 2, "same", activation="relu")(x)
    x = keras.layers.Conv2D(128, 3, padding="same", activation="relu")(x)
    x = keras.layers.Concatenate()([keras.layers.GlobalAveragePooling2D()(x), keras.layers.Flatten()(x)])
    return keras.Model(seen, keras.layers.Dense(_FEATURES)(x))


def teach(
    towers: tuple[Network, Network], draw: Callable[[np.random.Generator], tuple[FloatArray, FloatArray]], steps: int
) -> None:
    """Trains two networks (or one, given twice) so that their outputs agree for pairs and for nothing else.

    By contrast within a batch (van den Oord et al., https://arxiv.org/abs/1807.03748).

    Args:
        towers: one for the first of each pair, one for the second.
        draw: a batch of pairs, of what belongs together; no two of them may belong together otherwise.
        steps: batches.
    """
    tf = load_tensorflow()
    weights = list({id(v): v for network in towers for v in network.trainable_variables}.values())
    optimizer = tf.keras.optimizers.Adam(1e-3)
    optimizer.build(weights)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def step(first: Any, second: Any) -> None:
        with tf.GradientTape() as tape:
            ours, theirs = (
                tf.math.l2_normalize(t(x, training=True), -1) for t, x in zip(towers, (first, second), strict=True)
            )
            scores = tf.matmul(ours, theirs, transpose_b=True) / _TEMPERATURE
            right = tf.range(tf.shape(scores)[0])
            losses = [tf.nn.sparse_softmax_cross_entropy_with_logits(right, s) for s in (scores, tf.transpose(scores))]
            loss = tf.reduce_mean(tf.add_n(losses))
        optimizer.apply(tape.gradient(loss, weights), weights)

    random = np.random.default_rng(_SEED)
    for _ in range(steps):
        step(*map(tf.constant, draw(random)))


def seed_networks() -> None:
    """Makes the networks that are made next the same in every run; Python's and NumPy's random numbers, too."""
    load_tensorflow().keras.utils.set_random_seed(_SEED)


def embed(network: Network, images: FloatArray) -> FloatArray:
    """What a network makes of images, each of length 1: float32 ``[N, 64]``."""
    features = network.predict(images, verbose=0)
    embedded: FloatArray = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
    return embedded
