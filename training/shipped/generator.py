"""Trains the embedded generator on portraits.

Example usage::

    python -m faceveil.training.shipped.portraits --tar synthetic-faces.tar --output portraits
    python -m faceveil.training.shipped.generator --portraits portraits --steps 8000 --output generator

writes ``generator/weights.npz``, in half precision as it is shipped, every few minutes, and with it
``generator/samples.png`` (held-out portraits). A training goes on from shipped weights with ``--init
transforms/generators/weights.npz``; encoder and discriminator begin anew.

The generator is the decoder of a conditional variational autoencoder and a GAN's generator at once (Zhu et al., "Toward
Multimodal Image-to-Image Translation", NeurIPS 2017, https://arxiv.org/abs/1711.11586): half of a batch is drawn
from what an encoder says of the true faces, and must resemble them in its pixels and in the discriminator's features
(Larsen et al., ICML 2016, https://arxiv.org/abs/1512.09300); the other half from chance, and must only pass for faces.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf

from faceveil.training.shipped.balance import draw_probabilities
from faceveil.training.shipped.critics import build_discriminator, build_encoder
from faceveil.training.shipped.crops import Crops, draw_crops
from faceveil.training.shipped.portraits import Portraits, load_portraits
from faceveil.transforms.generators.network import RANDOM, SIZE, generate, initial_weights, keypoint_maps

_RECONSTRUCTION, _RESEMBLANCE, _DIVERGENCE, _TONE = 10.0, 5.0, 0.015, 10.0
_SMOOTHNESS, _SMOOTHNESS_STEPS = 1.0, 8
"""How steep the discriminator may be about true faces (R1, Mescheder et al., ICML 2018,
https://arxiv.org/abs/1801.04406), and at each so many-th step (https://arxiv.org/abs/1912.04958, appendix B). In the
first training at 128 px, which went without, speckles grew on the faces; they went while one with it went on."""

_AVERAGING = 0.999
"""Shipped are the moving averages of the weights: what a GAN draws changes from step to step."""

_CHECKPOINT_STEPS = 200


class Training:
    """The networks, their optimizers and one step of training."""

    def __init__(self, weights: dict[str, Any], rate: float) -> None:
        self.weights = {name: tf.Variable(value, name=name) for name, value in weights.items()}
        self.averages = {name: tf.Variable(value, trainable=False) for name, value in weights.items()}
        self.encoder, self.discriminator = build_encoder(SIZE // 2), build_discriminator(SIZE)
        self._drawing = [*self.weights.values(), *self.encoder.trainable_variables]
        self._draw = keras.optimizers.Adam(rate, beta_1=0.5, beta_2=0.99)
        self._judge = keras.optimizers.Adam(2 * rate, beta_1=0.0, beta_2=0.99)
        self._draw.build(self._drawing)
        self._judge.build(self.discriminator.trainable_variables)

    def set_rate(self, rate: float) -> None:
        """How far each step goes; the discriminator's go twice as far."""
        self._draw.learning_rate.assign(rate)
        self._judge.learning_rate.assign(2 * rate)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def step(
        self,
        images: tf.Tensor,
        faces: tf.Tensor,
        unknown: tf.Tensor,
        keypoints: tf.Tensor,
        averaging: tf.Tensor,
        adversarial: bool,
        smoothing: bool,
    ) -> dict[str, tf.Tensor]:
        """Updates all networks once; returns what is worth watching."""
        half = tf.shape(images)[0] // 2
        known = images * (1 - unknown)
        # What is judged: the crop with everything unknown left out, but for the face.
        true = images * (1 - unknown + faces)
        maps = keypoint_maps(keypoints, SIZE // 2, SIZE)
        weight = faces / tf.reduce_sum(faces, (1, 2, 3), keepdims=True)
        with tf.GradientTape(persistent=True) as tape:
            # Whose face it is shows at half the side.
            seen = _folded(tf.nn.avg_pool2d(true[:half], 2, 2, "VALID"), faces[:half, ::2, ::2])
            mean, spread = tf.split(self.encoder(seen, training=True), 2, -1)
            noise = tf.random.normal([tf.shape(images)[0], RANDOM])
            z = tf.concat([mean + tf.exp(spread / 2) * noise[:half], noise[half:]], 0)
            drawn = generate(
                self.weights, known, unknown, keypoints, z, keras.mixed_precision.dtype_policy().compute_dtype
            )
            fake = known + faces * drawn
            difference = tf.reduce_sum(tf.abs(fake - true)[:half] * weight[:half], (1, 2, 3)) / 3
            reconstruction = tf.reduce_mean(difference)
            divergence = tf.reduce_mean(tf.reduce_sum(tf.exp(spread) + tf.square(mean) - 1 - spread, -1)) / 2
            # What is drawn from chance has to be about as light and of about the colour of the true face.
            tone = tf.reduce_mean(tf.abs(_tones(fake[half:], faces[half:]) - _tones(true[half:], faces[half:])))
            loss = _RECONSTRUCTION * reconstruction + _DIVERGENCE * divergence + _TONE * tone
            watched = {"reconstruction": reconstruction, "divergence": divergence, "tone": tone}
            if adversarial:
                both = tf.concat([_folded(true, unknown), _folded(fake, unknown)], 0)
                judged = self.discriminator(tf.concat([both, tf.concat([maps, maps], 0)], -1), training=True)
                scores = (tf.split(tf.cast(scores, tf.float32), 2, 0) for scores in judged[:2])
                (real_patches, fake_patches), (real_whole, fake_whole) = scores
                # Only patches that hold some of the face.
                places = tf.nn.max_pool2d(faces, 16, 16, "SAME")
                places /= tf.reduce_sum(places)

                def hinge(patches: tf.Tensor, whole: tf.Tensor) -> tf.Tensor:
                    return tf.reduce_sum(places * tf.nn.relu(1 + patches)) + tf.reduce_mean(tf.nn.relu(1 + whole))

                judgement = judging_loss = hinge(-real_patches, -real_whole) + hinge(fake_patches, fake_whole)
                if smoothing:
                    steepness = self._steepness(true, unknown, maps, places)
                    judging_loss += _SMOOTHNESS_STEPS * _SMOOTHNESS / 2 * steepness
                    watched["steepness"] = steepness
                deceit = -tf.reduce_sum(places * fake_patches) - tf.reduce_mean(fake_whole)
                resemblance = tf.add_n([_resemblance(tf.cast(features, tf.float32), half) for features in judged[2:]])
                loss += deceit + _RESEMBLANCE * resemblance / len(judged[2:])
                watched |= {"judgement": judgement, "deceit": deceit, "resemblance": resemblance}
        self._draw.apply(tape.gradient(loss, self._drawing), self._drawing)
        if adversarial:
            judging = self.discriminator.trainable_variables
            self._judge.apply(tape.gradient(judging_loss, judging), judging)
        for name, weights in self.weights.items():
            average = self.averages[name]
            average.assign_add((weights - average) * (1 - averaging))
        return watched

    def _steepness(self, true: tf.Tensor, unknown: tf.Tensor, maps: tf.Tensor, places: tf.Tensor) -> tf.Tensor:
        """The mean square of the gradient, by true images, of what the discriminator thinks of them."""
        with tf.GradientTape() as tape:
            tape.watch(true)
            patches, whole = self.discriminator(tf.concat([_folded(true, unknown), maps], -1), training=True)[:2]
            opinion = tf.reduce_sum(whole) + tf.reduce_sum(places * patches) * tf.cast(tf.shape(true)[0], tf.float32)
        return tf.reduce_mean(tf.reduce_sum(tf.square(tape.gradient(opinion, true)), (1, 2, 3)))


def _folded(images: tf.Tensor, masks: tf.Tensor) -> tf.Tensor:
    return tf.nn.space_to_depth(tf.concat([images, masks], -1), 2)


def _tones(images: tf.Tensor, faces: tf.Tensor) -> tf.Tensor:
    """The mean colour of the face within each of 4 x 4 parts of a crop."""
    pool = functools.partial(tf.nn.avg_pool2d, ksize=SIZE // 4, strides=SIZE // 4, padding="VALID")
    return pool(images * faces) / tf.maximum(pool(faces), 0.1)


def _resemblance(features: tf.Tensor, half: tf.Tensor) -> tf.Tensor:
    """How far the first half's fakes are from the true faces, in the discriminator's eyes."""
    true, fake = tf.split(features, 2, 0)
    return tf.reduce_mean(tf.abs(tf.stop_gradient(true[:half]) - fake[:half]))


def batches(portraits: Portraits, size: int, seed: int) -> Iterator[Crops]:
    """Batches without end; the next ones are made while one is used."""
    probabilities = draw_probabilities(portraits)
    with ThreadPoolExecutor(1) as pool:
        number = 0

        def draw(number: int) -> Crops:
            random = np.random.default_rng([seed, number])
            return draw_crops(portraits, SIZE, size, random, probabilities=probabilities)

        waiting = [pool.submit(draw, number) for number in range(3)]
        while True:
            number += 1
            waiting.append(pool.submit(draw, number + 2))
            yield waiting.pop(0).result()


def draw_samples(weights: dict[str, Any], crops: Crops, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """A sheet, uint8 RGB: each row a crop as seen by the generator, three new faces, and the true one."""
    random = np.random.default_rng(seed)
    known = crops.images * (1 - crops.unknown)
    columns = [known]
    for _ in range(3):
        z = random.standard_normal((len(known), RANDOM)).astype(np.float32)
        drawn = generate(weights, known, crops.unknown, tf.constant(crops.keypoints), z).numpy()
        columns.append(known + crops.faces * drawn)
    columns.append(crops.images)
    sheet = np.concatenate([np.concatenate(row, axis=1) for row in zip(*columns, strict=True)])
    left, right = np.array_split(sheet, 2)
    return (np.concatenate([left, right], axis=1) * 127.5 + 128).clip(0, 255).astype(np.uint8)


def train(
    portraits: Portraits,
    weights: dict[str, Any],
    steps: int,
    seed: int,
    keep: Callable[[dict[str, Any], int], None],
    batch: int = 32,
    rate: float = 2e-4,
    reconstruct_steps: int = 600,
) -> None:
    """Trains, and hands over the averaged weights every few minutes and at the end.

    Args:
        portraits: to train on.
        weights: to begin with.
        steps: how many.
        seed: decides everything that is drawn.
        keep: called with the weights and the number of steps made.
        batch: how many crops make a step.
        rate: of learning; it falls to a tenth over the last quarter.
        reconstruct_steps: how many of the steps come before the discriminator has a say.
    """
    keras.utils.set_random_seed(seed)
    training = Training(weights, rate)
    started, lately = time.monotonic(), []
    for number, crops in enumerate(batches(portraits, batch, seed)):
        averaging = min(_AVERAGING, (1 + number) / (10 + number))
        training.set_rate(rate * min(1.0, max(0.1, 4 * (steps - number) / steps)))
        values = (crops.images, crops.faces, crops.unknown, crops.keypoints, np.float32(averaging))
        adversarial = number >= reconstruct_steps
        smoothing = adversarial and number % _SMOOTHNESS_STEPS == 0
        watched = training.step(*map(tf.constant, values), adversarial=adversarial, smoothing=smoothing)
        lately.append({name: float(value) for name, value in watched.items()})
        done = number + 1
        if done % _CHECKPOINT_STEPS == 0 or done == steps:
            names = dict.fromkeys(name for told in lately for name in told)
            means = {name: np.mean([told[name] for told in lately if name in told]) for name in names}
            told = ", ".join(f"{name} {value:.3f}" for name, value in means.items())
            print(f"{done} steps, {time.monotonic() - started:.0f} s: {told}", flush=True)
            lately.clear()
            keep({name: average.numpy() for name, average in training.averages.items()}, done)
        if done == steps:
            return


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--portraits", required=True, metavar="DIR", help="what faceveil.training.shipped.portraits has written"
    )
    parser.add_argument("--output", required=True, metavar="DIR", help="where to write; made if missing")
    parser.add_argument("--steps", type=int, default=8000, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="(default: %(default)s)")
    parser.add_argument("--init", metavar="FILE", help="weights to begin with (default: chance)")
    parser.add_argument("--reconstruct_steps", type=int, default=600, metavar="N", help="(default: %(default)s)")
    given = parser.parse_args()
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    portraits = load_portraits(given.portraits)
    folder = Path(given.output)
    folder.mkdir(parents=True, exist_ok=True)
    shown = draw_crops(portraits.only(portraits.held_out), SIZE, 24, np.random.default_rng(given.seed))

    def keep(weights: dict[str, Any], done: int) -> None:  # noqa: ARG001
        halved: dict[str, Any] = {name: value.astype(np.float16) for name, value in weights.items()}
        np.savez_compressed(folder / "weights.npz", **halved)
        cv2.imwrite(str(folder / "samples.png"), draw_samples(weights, shown)[..., ::-1])

    if given.init:
        with np.load(given.init) as file:
            weights = {name: file[name].astype(np.float32) for name in file}
    else:
        weights = dict(initial_weights(given.seed))
    train(
        portraits.only(~portraits.held_out),
        weights,
        given.steps,
        given.seed,
        keep,
        reconstruct_steps=given.reconstruct_steps,
    )


if __name__ == "__main__":
    main()
