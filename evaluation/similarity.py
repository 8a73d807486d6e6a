"""How alike two sets of vectors are, and who is found by it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float64]
"""``[N, D]``, what is seen of N faces."""

Similarities = NDArray[np.float64]
"""``[N, M]``, of N faces with M others; only their order in a row matters."""


def cosines(one: Vectors, other: Vectors) -> Similarities:
    """The cosine of the angle between every vector of one and every vector of another."""
    cosine: Similarities = _of_length_one(one) @ _of_length_one(other).T
    return cosine


def correlations(one: Vectors, other: Vectors) -> Similarities:
    """Pearson's correlation of every vector of one with every vector of another."""
    return cosines(one - one.mean(1, keepdims=True), other - other.mean(1, keepdims=True))


def measures_of_likeness(one: Vectors, other: Vectors) -> dict[str, Similarities]:
    """Four ways in which vectors may be alike: correlation and distance, plain and with all features standardised."""
    common = [(vectors - vectors.mean(0)) / (vectors.std(0) + 1e-6) for vectors in (one, other)]
    return {
        "correlation": correlations(one, other),
        "standardised correlation": cosines(common[0], common[1]),
        "distance": _nearness(one, other),
        "standardised distance": _nearness(common[0], common[1]),
    }


def found_right(similarities: Similarities, right: NDArray[np.intp]) -> NDArray[np.float64]:
    """For each row whether the right column is the most alike, ``[N]``; one of k that are equally alike counts 1/k.

    Args:
        similarities: equal to six decimals is equal.
        right: int ``[N]``, the column.

    Example usage::

        >>> found_right(np.array([[0.5, 0.75], [0.9, 0.1], [0.2, 0.2]]), np.array([1, 1, 1])).tolist()
        [1.0, 0.0, 0.5]
    """
    rounded = similarities.round(6)
    best = rounded == rounded.max(axis=1, keepdims=True)
    found: NDArray[np.float64] = best[np.arange(len(best)), right] / best.sum(axis=1)
    return found


def found_first(probes: Vectors, gallery: Vectors) -> float:
    """The share of probes that are most alike to their own, the first N of a gallery, by the best measure."""
    own = np.arange(len(probes))
    return max(float(found_right(alike, own).mean()) for alike in measures_of_likeness(probes, gallery).values())


def _of_length_one(vectors: Vectors) -> Vectors:
    scaled: Vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    return scaled


def _nearness(one: Vectors, other: Vectors) -> Similarities:
    nearness: Similarities = 2 * one @ other.T - (one**2).sum(1)[:, np.newaxis] - (other**2).sum(1)
    return nearness
