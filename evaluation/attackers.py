"""Attackers who try to tell whose face was anonymized. They know the method, and have other photos of everybody.

Each anonymizes its own photos in the same way and compares, or learns from, what comes out: the parrot attack of
Newton, Sweeney and Malin, "Preserving Privacy by De-Identifying Face Images", IEEE TKDE 17(2), 2005.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from faceveil.evaluation.embedding import embed, seed_networks, teach, tower
from faceveil.evaluation.pictures import FacePicture
from faceveil.evaluation.similarity import (
    Similarities,
    Vectors,
    correlations,
    cosines,
    found_right,
    measures_of_likeness,
)
from faceveil.transforms.arrays import FloatArray

VIEW_SIDE = 32
"""What attackers see of a face, in pixels: its box, whatever its shape. Larger faces tell people apart no better, down
to about this size."""

GRID = 5
"""Averages along a side."""

_COMPONENTS = 200
"""Principal components that LDA works on, at most."""
_SHRINKAGE = 0.1
"""Of the scatter within persons towards a sphere, since there are few photos of each."""

_CELL, _DIRECTIONS = 4, 9
_LEAST_GRADIENT = 0.05
"""Of a block of 8 x 8 px; weaker ones are noise."""

_STEPS = 400
_BATCH = 128
_MOST_SHIFT = 3
_LIGHT = 0.15

Persons = NDArray[np.intp]
"""``[N]``, whose face each is, by number."""


@dataclass(frozen=True)
class Views:
    """What an attacker sees of some faces.

    Attributes:
        images: float32 ``[N, VIEW_SIDE, VIEW_SIDE, 3]`` RGB, 0 to 1.
        persons: whose they are.
    """

    images: FloatArray
    persons: Persons


def view(picture: FacePicture, around: float = 0) -> FloatArray:
    """A face's box as an attacker sees it, float32 ``[VIEW_SIDE, VIEW_SIDE, 3]`` RGB, 0 to 1.

    Args:
        picture: anonymized or not.
        around: how much of its surroundings to see, too, in sides of the box.
    """
    height, width = picture.image.shape[:2]
    sides = picture.box[2:] - picture.box[:2]
    ends = np.rint(np.concatenate([picture.box[:2] - around * sides, picture.box[2:] + around * sides])).astype(int)
    left, top = (int(np.clip(end, 0, most - 1)) for end, most in zip(ends[:2], (width, height), strict=True))
    right, bottom = (int(np.clip(ends[2], left + 1, width)), int(np.clip(ends[3], top + 1, height)))
    part = picture.image[top:bottom, left:right].astype(np.float32) / 255
    seen = cv2.resize(part, (VIEW_SIDE, VIEW_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(seen, np.float32)


Comparer = Callable[[Views, FloatArray], Mapping[str, Similarities]]
"""Takes the faces that unknown ones are compared with, and the views of these; gives for each of an attack's variants
how alike every unknown face is to each of the others."""

Attack = Callable[[Views], Comparer]
"""Learns from the faces that an attacker knows."""


def by_correlation(known: Views) -> Comparer:
    """Pearson's correlation of all pixels, in colour and in grey; learns nothing."""
    del known
    return lambda references, unknown: {
        "colour": correlations(_flat(unknown), _flat(references.images)),
        "grey": correlations(_flat(_grey(unknown)), _flat(_grey(references.images))),
    }


def by_averages(known: Views) -> Comparer:
    """The averages over 5 x 5 parts, in colour, by four measures of likeness; learns nothing."""
    del known
    return lambda references, unknown: measures_of_likeness(_averages(unknown), _averages(references.images))


def by_discriminants(known: Views) -> Comparer:
    """Linear discriminants of pixels, and of histograms of gradients (Belhumeur, Hespanha and Kriegman, PAMI 1997)."""
    kinds = {"pixels": _flat, "gradients": _gradients}
    project = {name: _discriminants(features(known.images), known.persons) for name, features in kinds.items()}
    return lambda references, unknown: {
        name: cosines(project[name](features(unknown)), project[name](features(references.images)))
        for name, features in kinds.items()
    }


def by_network(known: Views) -> Comparer:
    """A small convolutional network that learns which anonymized faces are of the same person."""
    seed_networks()
    network = tower(VIEW_SIDE, 3)
    members = _members(known.persons)
    batch = min(_BATCH, len(members))

    def draw(random: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        chosen = [random.choice(members[place], 2) for place in random.choice(len(members), batch, replace=False)]
        first, second = np.array(chosen).T
        return _varied(known.images[first], random), _varied(known.images[second], random)

    teach((network, network), draw, _STEPS)

    def compare(references: Views, unknown: FloatArray) -> dict[str, Similarities]:
        seen = (embed(network, _centred(images)) for images in (unknown, references.images))
        return {"": cosines(*map(_flat, seen))}

    return compare


ATTACKS: dict[str, Attack] = {
    "correlation": by_correlation,
    "5 x 5 averages": by_averages,
    "discriminants": by_discriminants,
    "network": by_network,
}
"""By their names."""


def attempts(compare: Comparer, references: Views, unknown: Views) -> dict[str, NDArray[np.float64]]:
    """Whose faces are recognised: for each variant of an attack ``[N]``, 0 to 1, of the unknown ones.

    Each face is taken for that of the person one of whose references is most alike, or all of whose references are on
    average; see ``similarity.found_right``.

    Args:
        compare: the attack, when it has learnt.
        references: of everybody.
        unknown: of some of them.
    """
    everybody = np.unique(references.persons)
    columns = [references.persons == person for person in everybody]
    right = np.searchsorted(everybody, unknown.persons)
    recognised = {}
    for name, similarities in compare(references, unknown.images).items():
        for way, reduced in (("nearest", np.max), ("mean", np.mean)):
            scores = np.stack([reduced(similarities[:, column], axis=1) for column in columns], axis=1)
            recognised[" ".join(filter(None, (name, way)))] = found_right(scores, right)
    return recognised


def _flat(images: FloatArray) -> Vectors:
    return images.reshape(len(images), -1).astype(np.float64)


def _grey(images: FloatArray) -> FloatArray:
    grey: FloatArray = images.mean(axis=3)
    return grey


def _averages(images: FloatArray) -> Vectors:
    return _flat(np.stack([cv2.resize(image, (GRID, GRID), interpolation=cv2.INTER_AREA) for image in images]))


def _gradients(images: FloatArray) -> Vectors:
    """Histograms of oriented gradients (Dalal and Triggs, CVPR 2005): cells of 4 px, normalised with their neighbours.

    Each pixel's gradient counts for its cell, and for the two nearest of nine directions from 0 to 180°.
    """
    grey = _grey(images).astype(np.float64)
    down, across = np.gradient(grey, axis=(1, 2))
    strength = np.hypot(across, down)
    place = np.arctan2(down, across) / np.pi % 1 * _DIRECTIONS
    cells = []
    for direction in range(_DIRECTIONS):
        apart = np.abs(place - direction)
        near = np.maximum(1 - np.minimum(apart, _DIRECTIONS - apart), 0) * strength
        cells.append(near.reshape(len(grey), -1, _CELL, VIEW_SIDE // _CELL, _CELL).sum(axis=(2, 4)))
    histograms = np.stack(cells, axis=3)
    rows = [
        histograms[:, y : y + 2, x : x + 2].reshape(len(grey), -1)
        for y in range(histograms.shape[1] - 1)
        for x in range(histograms.shape[2] - 1)
    ]
    blocks = np.stack(rows, axis=1)
    normalised = blocks / np.sqrt((blocks**2).sum(axis=2, keepdims=True) + _LEAST_GRADIENT**2)
    features: Vectors = normalised.reshape(len(grey), -1)
    return features


def _discriminants(vectors: Vectors, persons: Persons) -> Callable[[Vectors], Vectors]:
    """The projection onto the directions in which persons differ, whitened by how much photos of one person do."""
    mean = vectors.mean(axis=0)
    _, spread, directions = np.linalg.svd(vectors - mean, full_matrices=False)
    kept = min(int((spread > 1e-6 * max(spread[0], 1e-12)).sum()), _COMPONENTS)
    basis = directions[: max(kept, 1)].T
    inner = (vectors - mean) @ basis
    _, numbers, counts = np.unique(persons, return_inverse=True, return_counts=True)
    means = np.stack([inner[numbers == person].mean(axis=0) for person in range(len(counts))])
    within = (inner - means[numbers]).T @ (inner - means[numbers]) / max(len(inner) - len(means), 1)
    sphere = np.eye(len(within)) * (np.trace(within) / len(within) + 1e-9)
    values, axes = np.linalg.eigh((1 - _SHRINKAGE) * within + _SHRINKAGE * sphere)
    whitening = axes / np.sqrt(values)
    _, between, turned = np.linalg.svd(means @ whitening, full_matrices=False)
    # By how much persons differ in a direction, in units of what photos of one do, which makes their means differ, too.
    signal = np.maximum(between**2 / len(means) - (1 / counts).mean(), 0)
    final = basis @ whitening @ turned.T * np.sqrt(signal / (signal + 1))

    def project(others: Vectors) -> Vectors:
        projected: Vectors = (others - mean) @ final
        return projected

    return project


def _members(persons: Persons) -> list[NDArray[np.intp]]:
    return [np.flatnonzero(persons == person) for person in np.unique(persons)]


def _centred(images: FloatArray) -> FloatArray:
    return (images - np.float32(0.5)) * np.float32(4)


def _varied(images: FloatArray, random: np.random.Generator) -> FloatArray:
    """Views as another photo might show them: shifted, in other light."""
    edge = _MOST_SHIFT
    padded = np.pad(images, ((0, 0), (edge, edge), (edge, edge), (0, 0)), "edge")
    places = random.integers(0, 2 * edge + 1, (len(images), 2))
    moved = np.stack(
        [image[y : y + VIEW_SIDE, x : x + VIEW_SIDE] for image, (x, y) in zip(padded, places, strict=True)]
    )
    light = np.exp(random.uniform(-_LIGHT, _LIGHT, (len(images), 1, 1, 3))).astype(np.float32)
    return _centred(moved * light)
