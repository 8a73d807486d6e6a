"""Measures what anonymized faces tell of the true ones, and how much they look like faces.

Example usage::

    python -m training.likeness --portraits portraits

**Unlinkability**: for each way to anonymize, a matcher is trained to tell which anonymized face belongs to which
portrait (two small networks whose outputs agree for a pair; van den Oord et al., https://arxiv.org/abs/1807.03748), on
portraits that the generator was trained on, and tried on those held out. There is one picture of each, so the true face
is shown as if from another one: turned, shifted, stretched, maybe mirrored. The matcher sees the middle of a face, and
nothing of the mask's edge, in grey, of mean 0 and deviation 1: skin and light go on outside the mask. It chooses
between a face's own portrait and another one: any other, and one that is alike in what stays public whatever is done to
the face, its keypoints and surroundings. Beside it stand what it achieves with the keypoints alone, which the generator
is given, and with nothing to go by. Last come matchers that see the whole crop and the keypoints, with the face cut out
and with what was made of it: their difference is what an anonymized face tells beyond what the generator is given.

**Fréchet distance** (Heusel et al., https://arxiv.org/abs/1706.08500) over the features of a network that was trained
here to recognise portraits in other light, position and sharpness. It is no Inception network: compare its figures
with each other only.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from training.crops import Crops, draw_crops
from training.portraits import Portraits, load_portraits
from transforms.anonymizers import METHODS
from transforms.anonymizers.masks import MaskGeometry
from transforms.anonymizers.style import Style
from transforms.faces import Faces
from transforms.generators.embedded import embedded_generator
from transforms.generators.engine import GeneratorEngine, Requests, load_generator
from transforms.generators.network import SIZE

_FEATURES = 64
_SIDE = 32
_MIDDLE = slice(9 * SIZE // 32, 23 * SIZE // 32), slice(21 * SIZE // 64, 43 * SIZE // 64)
"""Of a crop, whose face takes about rows 0.22 to 0.78 and columns 0.28 to 0.72 of its side."""

_WHOLE_SIDE = 64
"""What networks see of whole crops, in pixels."""

_TEMPERATURE = 0.1
_BATCH = 128
_TAUGHT = 4000
"""Portraits that the matchers are trained on."""

_SPLIT = slice(0, _TAUGHT), slice(_TAUGHT, None)
_ALIKE = 5
"""Portraits that each is compared with because they are alike; they are among those that no matcher is trained on."""

_Floats = NDArray[np.float32]


def synthesized(
    engine: GeneratorEngine, crops: Crops, random: np.random.Generator, *, keypoints: bool = True
) -> _Floats:
    """The crops with new faces, before their colours are matched."""
    known = crops.images * (1 - crops.unknown)
    points = crops.keypoints if keypoints else np.full_like(crops.keypoints, np.nan)
    z = random.standard_normal((len(known), engine.sizes.random)).astype(np.float32)
    requests = Requests(known, crops.unknown, points, z)
    drawn = np.concatenate([engine.run(requests.part(i, i + 64)) for i in range(0, len(known), 64)])
    faces: _Floats = known + crops.faces * drawn
    return faces


def masked(crops: Crops, method: str, strength: float) -> _Floats:
    """The crops with their faces anonymized by another method, with the same mask."""
    whole = Faces(np.array([[0, 0, SIZE, SIZE]], np.float32), np.ones(1, np.float32))
    style = Style(MaskGeometry(margin=0, shape="box"), strength)
    images = []
    for image, face in zip(crops.images, crops.faces[..., 0] > 0, strict=True):
        rows, columns = (slice(places.min(), places.max() + 1) for places in np.nonzero(face))
        box = np.array([[columns.start, rows.start, columns.stop, rows.stop]], np.float32)
        values = np.round((image + 1) * 127.5).astype(np.uint8)
        images.append(METHODS[method](values, Faces(box, whole.scores), style, (0, 0, 0)) / np.float32(127.5) - 1)
    return np.stack(images).astype(np.float32)


def spots(crops: Crops) -> _Floats:
    """The keypoints and nothing else, as white spots."""
    images = np.zeros_like(crops.images)
    for image, points in zip(images, crops.keypoints, strict=True):
        for x, y in points:
            cv2.circle(image, (round(float(x)), round(float(y))), SIZE // 32, (1.0, 1.0, 1.0), -1)
    return images


def _wholes(images: _Floats) -> _Floats:
    """Whole crops as networks see them: ``[N, _WHOLE_SIDE, _WHOLE_SIDE, channels]``."""
    side = _WHOLE_SIDE, _WHOLE_SIDE
    return np.stack([cv2.resize(image, side, interpolation=cv2.INTER_AREA) for image in images]).astype(np.float32)


def _middles(images: _Floats) -> _Floats:
    """The middle of each face, within any mask, in grey, of mean 0 and deviation 1: ``[N, _SIDE, _SIDE, 1]``."""
    middles = [
        cv2.resize(image[_MIDDLE].mean(axis=2), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for image in images
    ]
    stacked = np.stack(middles)[..., np.newaxis]
    centred = stacked - stacked.mean(axis=(1, 2, 3), keepdims=True)
    levelled: _Floats = (centred / np.maximum(centred.std(axis=(1, 2, 3), keepdims=True), 0.02)).astype(np.float32)
    return levelled


def _with_spots(images: _Floats, crops: Crops, brightness: float = 1) -> _Floats:
    """Whole crops with the keypoints as a fourth channel."""
    return _wholes(np.concatenate([images, brightness * spots(crops)[..., :1]], axis=3))


def _elsewhere(images: _Floats, random: np.random.Generator) -> _Floats:
    """Faces as another picture might show them: turned, shifted, stretched, maybe mirrored."""
    moved = []
    for image in images:
        angle = random.normal(0, 0.12)
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        stretch = np.diag(np.exp(random.normal(0, 0.08, 2))) + np.array([[0, random.normal(0, 0.06)], [0, 0]])
        linear = turn @ stretch @ np.diag([random.choice([-1, 1]), 1])
        shift = np.full(2, SIZE / 2) + random.normal(0, 0.023 * SIZE, 2) - linear @ np.full(2, SIZE / 2)
        matrix = np.column_stack([linear, shift])
        moved.append(cv2.warpAffine(image, matrix, (SIZE, SIZE), borderMode=cv2.BORDER_REFLECT_101))
    return np.stack(moved)


def _tower(side: int, channels: int) -> keras.Model:
    seen = x = keras.Input((side, side, channels))
    for width in (32, 64, 128):
        x = keras.layers.Conv2D(width, 3, 2, "same", activation="relu")(x)
    x = keras.layers.Conv2D(128, 3, padding="same", activation="relu")(x)
    x = keras.layers.Concatenate()([keras.layers.GlobalAveragePooling2D()(x), keras.layers.Flatten()(x)])
    return keras.Model(seen, keras.layers.Dense(_FEATURES)(x))


def _teach(towers: tuple[Any, Any], draw: Callable[[np.random.Generator], tuple[_Floats, _Floats]], steps: int) -> None:
    """Trains two networks (or one, given twice) so that their outputs agree for pairs and for nothing else."""
    weights = list({id(v): v for tower in towers for v in tower.trainable_variables}.values())
    optimizer = keras.optimizers.Adam(1e-3)
    optimizer.build(weights)

    @tf.function(autograph=False)  # type: ignore[untyped-decorator]
    def step(first: tf.Tensor, second: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            ours, theirs = (
                tf.math.l2_normalize(t(x, training=True), -1) for t, x in zip(towers, (first, second), strict=True)
            )
            scores = tf.matmul(ours, theirs, transpose_b=True) / _TEMPERATURE
            right = tf.range(tf.shape(scores)[0])
            losses = [tf.nn.sparse_softmax_cross_entropy_with_logits(right, s) for s in (scores, tf.transpose(scores))]
            loss = tf.reduce_mean(tf.add_n(losses))
        optimizer.apply(tape.gradient(loss, weights), weights)

    random = np.random.default_rng(0)
    for _ in range(steps):
        step(*map(tf.constant, draw(random)))


def public_features(crops: Crops) -> _Floats:
    """What can be seen whatever is done to the face, as ``[N, D]`` numbers of deviation 1.

    Keypoints and surroundings count alike: the ten coordinates, and ten principal components of the surroundings.
    """
    around = (crops.images * (1 - crops.faces)).mean(axis=3)
    small = np.stack([cv2.resize(image, (8, 8), interpolation=cv2.INTER_AREA).ravel() for image in around])
    small -= small.mean(axis=0)
    _, _, directions = np.linalg.svd(small, full_matrices=False)
    points = crops.keypoints.reshape(len(small), -1)
    parts = [part / part.std(axis=0) for part in (points, small @ directions[: points.shape[1]].T)]
    features: _Floats = np.hstack(parts).astype(np.float32)
    return features


@dataclass(frozen=True)
class Matched:
    """How well a matcher finds the portrait of an anonymized face.

    Attributes:
        right_of_two: how often, of its own and another one, it takes its own (the area under the ROC curve).
        right_of_alike: the same where the other one is alike in what is public.
        first: how often the own one comes first of all.
    """

    right_of_two: _Floats
    right_of_alike: _Floats
    first: _Floats

    def __str__(self) -> str:
        """Means with their standard errors, by resampling portraits, as cells of a table."""
        random = np.random.default_rng(0)
        cells = []
        for shares in (self.right_of_two, self.right_of_alike):
            means = [shares[random.integers(0, len(shares), len(shares))].mean() for _ in range(500)]
            cells.append(f"{shares.mean():.3f} ± {np.std(means):.3f}")
        return " | ".join([*cells, f"{self.first.mean():.3f}"])


def matching(true: Sequence[_Floats], shown: Sequence[_Floats], alike: NDArray[np.intp], steps: int) -> Matched:
    """Teaches a matcher and tries it.

    Args:
        true: the true faces to teach it by, those to try it on, and others.
        shown: what the matcher sees of the first two once they are anonymized, ``[N, side, side, channels]``.
        alike: int ``[N, A]``: for each that it is tried on, which of the others are like it.
        steps: of teaching.
    """
    keras.utils.set_random_seed(0)
    taught, tried = shown
    towers = _tower(_SIDE, 1), _tower(*taught.shape[2:])

    def draw(random: np.random.Generator) -> tuple[_Floats, _Floats]:
        chosen = random.choice(len(taught), _BATCH, replace=False)
        return _middles(_elsewhere(true[0][chosen], random)), taught[chosen]

    _teach(towers, draw, steps)
    random = np.random.default_rng(0)
    asked, others = (_middles(_elsewhere(images, random)) for images in true[1:])
    ours, theirs, strangers = (
        np.asarray(tf.math.l2_normalize(tower.predict(x, verbose=0), -1))
        for tower, x in ((towers[0], asked), (towers[1], tried), (towers[0], others))
    )
    scores = theirs @ ours.T
    own = np.diag(scores)[:, np.newaxis]
    another = ~np.eye(len(scores), dtype=bool)
    like = np.einsum("nf,naf->na", theirs, strangers[alike])
    return Matched(
        _better(own, scores)[another].reshape(len(scores), -1).mean(axis=1),
        _better(own, like).mean(axis=1),
        np.asarray((own > np.where(another, scores, -2)).all(axis=1), np.float32),
    )


def _better(own: _Floats, other: _Floats) -> _Floats:
    better: _Floats = (own > other) + np.float32(0.5) * (own == other)
    return better


def frechet(first: _Floats, second: _Floats) -> float:
    """The Fréchet distance of two normal distributions with the means and covariances of the features ``[N, D]``."""
    covariances = [np.cov(features.astype(np.float64), rowvar=False) for features in (first, second)]
    # The trace of a root is the sum of the roots of the eigenvalues; those of a product of covariances are 0 or more.
    roots = np.sqrt(np.maximum(np.linalg.eigvals(covariances[0] @ covariances[1]).real, 0))
    apart = first.mean(axis=0) - second.mean(axis=0)
    return float(apart @ apart + np.trace(covariances[0] + covariances[1]) - 2 * roots.sum())


def feature_network(portraits: Portraits, steps: int) -> keras.Model:
    """Teaches a network to recognise a portrait in other light, position and sharpness."""
    keras.utils.set_random_seed(0)
    network = _tower(_WHOLE_SIDE, 3)

    def draw(random: np.random.Generator) -> tuple[_Floats, _Floats]:
        chosen = random.choice(len(portraits.images), _BATCH, replace=False)
        some = Portraits(*(array[np.sort(chosen)] for array in vars(portraits).values()))
        seen = [_wholes(draw_crops(some, SIZE, _BATCH, random, in_order=True).images) for _ in range(2)]
        return seen[0], seen[1]

    _teach((network, network), draw, steps)
    return network


def main() -> None:
    """Runs the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portraits", required=True, metavar="DIR", help="what training.portraits has written")
    parser.add_argument("--generator", metavar="DIR", help="a SavedModel (default: the embedded one)")
    parser.add_argument("--steps", type=int, default=300, metavar="N", help="of each matcher (default: %(default)s)")
    given = parser.parse_args()
    portraits = load_portraits(given.portraits)
    engine = load_generator(given.generator or str(embedded_generator()))
    random = np.random.default_rng(0)
    known, held_out = portraits.only(~portraits.held_out), portraits.only(portraits.held_out)
    drawn = draw_crops(known, SIZE, len(known.images), random, plain=True)
    taught, others = (Crops(*(array[part] for array in vars(drawn).values())) for part in _SPLIT)
    tried = draw_crops(held_out, SIZE, len(held_out.images), random, plain=True)
    both = Crops(*(np.concatenate(arrays) for arrays in zip(vars(tried).values(), vars(others).values(), strict=True)))
    public = public_features(both)
    apart = np.linalg.norm(public[: len(tried.images), np.newaxis] - public[len(tried.images) :], axis=2)
    alike = np.argsort(apart, axis=1)[:, :_ALIKE]

    def new(crops: Crops) -> _Floats:
        return synthesized(engine, crops, random)

    ways: dict[str, Callable[[Crops], _Floats]] = {
        "blur, strength 0.1": lambda crops: _middles(masked(crops, "blur", 0.1)),
        "blur": lambda crops: _middles(masked(crops, "blur", 0.2)),
        "synthesize": lambda crops: _middles(new(crops)),
        "synthesize, no keypoints": lambda crops: _middles(synthesized(engine, crops, random, keypoints=False)),
        "keypoints alone": lambda crops: _middles(spots(crops)),
        "another's face": lambda crops: _middles(np.roll(crops.images, 1, axis=0)),
        "surroundings": lambda crops: _with_spots(crops.images * (1 - crops.faces), crops, 0),
        "surroundings, keypoints": lambda crops: _with_spots(crops.images * (1 - crops.faces), crops),
        "surroundings, keypoints, synthesize": lambda crops: _with_spots(new(crops), crops),
        "surroundings, keypoints, blur, strength 0.1": lambda crops: _with_spots(masked(crops, "blur", 0.1), crops),
        "surroundings, keypoints, blur": lambda crops: _with_spots(masked(crops, "blur", 0.2), crops),
    }
    print(f"{len(tried.images)} portraits held out\n| | right of two | right of two alike | first of all |", flush=True)
    for name, way in ways.items():
        true = taught.images, tried.images, others.images
        print(f"| {name} | {matching(true, (way(taught), way(tried)), alike, given.steps)} |", flush=True)

    network = feature_network(known, given.steps)
    features = {
        "other portraits": taught.images,
        "synthesize": synthesized(engine, tried, random),
        "mean face": tried.images * (1 - tried.faces) + tried.faces * taught.images.mean(axis=0),
        "another's face": tried.images * (1 - tried.faces) + tried.faces * taught.images[: len(tried.images)],
        "blur": masked(tried, "blur", 0.2),
        "pixelate": masked(tried, "pixelate", 0.2),
        "solid": masked(tried, "solid", 0.2),
    }
    true = network.predict(_wholes(tried.images), verbose=0)
    print("| | Fréchet distance to the true portraits |")
    for name, images in features.items():
        print(f"| {name} | {frechet(true, network.predict(_wholes(images), verbose=0)):.2f} |", flush=True)


if __name__ == "__main__":
    main()
