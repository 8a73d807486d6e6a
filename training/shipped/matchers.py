"""Matchers: pairs of small networks that learn which anonymized face belongs to which true one.

A matcher's outputs agree for a pair and for nothing else. There is one picture of each portrait, so a true face is
shown as if from another one: turned, shifted, stretched, maybe mirrored; of it the matcher sees the middle, in grey, of
mean 0 and deviation 1.
"""

from __future__ import annotations

import cv2
import keras
import numpy as np
from numpy.typing import NDArray

from faceveil.evaluation.embedding import embed, teach, tower
from faceveil.training.shipped.crops import Crops
from faceveil.transforms.arrays import FloatArray
from faceveil.transforms.generators.network import SIZE

Floats = FloatArray

BATCH = 128
WHOLE_SIDE = 64
"""What networks see of whole crops, in pixels."""

_SIDE = 32
_MIDDLE = slice(9 * SIZE // 32, 23 * SIZE // 32), slice(21 * SIZE // 64, 43 * SIZE // 64)
"""Of a crop, whose face takes about rows 0.22 to 0.78 and columns 0.28 to 0.72 of its side."""


def spots(crops: Crops) -> Floats:
    """The keypoints and nothing else, as white spots."""
    images = np.zeros_like(crops.images)
    for image, points in zip(images, crops.keypoints, strict=True):
        for x, y in points:
            cv2.circle(image, (round(float(x)), round(float(y))), SIZE // 32, (1.0, 1.0, 1.0), -1)
    return images


def wholes(images: Floats) -> Floats:
    """Whole crops as networks see them: ``[N, WHOLE_SIDE, WHOLE_SIDE, channels]``."""
    side = WHOLE_SIDE, WHOLE_SIDE
    return np.stack([cv2.resize(image, side, interpolation=cv2.INTER_AREA) for image in images]).astype(np.float32)


def middles(images: Floats) -> Floats:
    """The middle of each face, within any mask, in grey, of mean 0 and deviation 1: ``[N, _SIDE, _SIDE, 1]``."""
    parts = [cv2.resize(image[_MIDDLE].mean(axis=2), (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) for image in images]
    stacked = np.stack(parts)[..., np.newaxis]
    centred = stacked - stacked.mean(axis=(1, 2, 3), keepdims=True)
    levelled: Floats = (centred / np.maximum(centred.std(axis=(1, 2, 3), keepdims=True), 0.02)).astype(np.float32)
    return levelled


def with_spots(images: Floats, crops: Crops, brightness: float = 1) -> Floats:
    """Whole crops with the keypoints as a fourth channel."""
    return wholes(np.concatenate([images, brightness * spots(crops)[..., :1]], axis=3))


def _elsewhere(images: Floats, random: np.random.Generator) -> Floats:
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


def with_error(shares: Floats) -> str:
    """A mean with its standard error, by resampling."""
    random = np.random.default_rng(0)
    means = [shares[random.integers(0, len(shares), len(shares))].mean() for _ in range(500)]
    return f"{shares.mean():.3f} ± {np.std(means):.3f}"


class Matcher:
    """A matcher, trained.

    Args:
        true: crops ``[N, S, S, 3]`` of the true faces.
        shown: what it sees of them once they are anonymized, ``[N, side, side, channels]``.
        steps: of training.
    """

    def __init__(self, true: Floats, shown: Floats, steps: int) -> None:
        keras.utils.set_random_seed(0)
        self._towers = tower(_SIDE, 1), tower(*shown.shape[2:])

        def draw(random: np.random.Generator) -> tuple[Floats, Floats]:
            chosen = random.choice(len(shown), BATCH, replace=False)
            return middles(_elsewhere(true[chosen], random)), shown[chosen]

        teach(self._towers, draw, steps)

    def true(self, faces: Floats, random: np.random.Generator) -> Floats:
        """What it makes of true faces, each as another picture shows it, ``[N, F]`` of length 1."""
        return self._seen(0, middles(_elsewhere(faces, random)))

    def shown(self, faces: Floats) -> Floats:
        """What it makes of anonymized ones: the greater the product with a true face's, the likelier they belong."""
        return self._seen(1, faces)

    def _seen(self, which: int, faces: Floats) -> Floats:
        return embed(self._towers[which], faces)


def match(
    matcher: Matcher, true: Floats, shown: Floats, others: Floats, alike: NDArray[np.intp]
) -> tuple[Floats, Floats, Floats]:
    """Tries a matcher on anonymized faces: how often does it take a face's own portrait?

    Args:
        matcher: to try.
        true: their true faces.
        shown: what it sees of them.
        others: true faces of others.
        alike: int ``[N, A]``: which of the others are like each.

    Returns:
        For each face, how often its own portrait is preferred to another true one (the area under the ROC curve),
        how often to one of the others that are alike, and whether it comes first of all true ones.
    """
    random = np.random.default_rng(0)
    ours, strangers, theirs = matcher.true(true, random), matcher.true(others, random), matcher.shown(shown)
    scores = theirs @ ours.T
    own = np.diag(scores)[:, np.newaxis]
    another = ~np.eye(len(scores), dtype=bool)
    like = np.einsum("nf,naf->na", theirs, strangers[alike])
    return (
        _better(own, scores)[another].reshape(len(scores), -1).mean(axis=1),
        _better(own, like).mean(axis=1),
        np.asarray((own > np.where(another, scores, -2)).all(axis=1), np.float32),
    )


def _better(own: Floats, other: Floats) -> Floats:
    better: Floats = (own > other).astype(np.float32) + np.float32(0.5) * (own == other)
    return better
