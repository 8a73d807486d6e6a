"""How sure a figure is: intervals by resampling, and what few samples cannot tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

REPLICATES = 1000
CONFIDENCE = 0.95
_Z = 1.959964
"""The normal distribution's quantile for that."""

_SEED = 0

Replicates = NDArray[np.float64]
"""``[R]``, a figure on resampled data; NaN where it could not be computed."""


class Interval(NamedTuple):
    """Where a figure lies with ``CONFIDENCE``."""

    low: float
    high: float


def resampled_counts(count: int) -> NDArray[np.float32]:
    """How often each of some samples is drawn when as many are drawn with replacement: ``[REPLICATES, count]``.

    The bootstrap (Efron, "Bootstrap Methods: Another Look at the Jackknife", 1979), with a fixed seed, of at least one
    sample.

    Example usage::

        >>> resampled_counts(5).sum(axis=1).tolist() == [5] * REPLICATES
        True
    """
    random = np.random.default_rng(_SEED)
    return random.multinomial(count, np.full(count, 1 / count), size=REPLICATES).astype(np.float32)


def percentiles(estimate: float, replicates: Replicates) -> Interval:
    """The bootstrap's percentile interval, widened where it does not hold the estimate itself."""
    tail = (1 - CONFIDENCE) / 2
    known = replicates[~np.isnan(replicates)]
    low, high = np.quantile(known, (tail, 1 - tail)) if len(known) else (estimate, estimate)
    return Interval(min(float(low), estimate), max(float(high), estimate))


def interval_of_share(share: float, samples: int, replicates: Replicates) -> Interval:
    """The interval of a share: the percentiles of its replicates, widened to Wilson's interval.

    Resampling cannot see what never happened among few samples: all found of five would be sure. Wilson's interval can,
    but takes all samples to be independent. So the wider end of both counts.

    Args:
        share: the estimate, 0 to 1.
        samples: what it is a share of, at least 1.
        replicates: of the share.
    """
    resampled, independent = percentiles(share, replicates), wilson(share, samples)
    return Interval(min(resampled.low, independent.low), max(resampled.high, independent.high))


def wilson(share: float, samples: int) -> Interval:
    """Wilson's score interval of a share of independent samples (JASA 22, 1927, https://doi.org/10.2307/2276774).

    Example usage::

        >>> [round(end, 3) for end in wilson(0.5, 10)]
        [0.237, 0.763]
    """
    middle = (share + _Z**2 / (2 * samples)) / (1 + _Z**2 / samples)
    half = _Z / (1 + _Z**2 / samples) * math.sqrt(share * (1 - share) / samples + _Z**2 / (4 * samples**2))
    return Interval(min(max(middle - half, 0), share), max(min(middle + half, 1), share))


class Difference(NamedTuple):
    """By how much one share is larger than another, by their numbers, and where the difference lies."""

    larger: int
    smaller: int
    difference: float
    interval: Interval

    @property
    def is_sure(self) -> bool:
        """Whether it is more than chance and few samples explain, with ``CONFIDENCE`` for all pairs together."""
        return self.interval.low > 0


def differences_of_shares(
    shares: Sequence[float], samples: Sequence[int], replicates: NDArray[np.float64]
) -> list[Difference]:
    """The differences of all pairs of shares, the largest first, with intervals that hold for all pairs at once.

    Of many pairs one seems different by chance alone, and the largest is the one that was looked for. So each interval
    is wide enough that all of them together hold with ``CONFIDENCE``: the difference, give or take its standard error
    times the quantile of the largest of all pairs' deviations in their standard errors (the bootstrap's single-step
    max-T; Westfall and Young, "Resampling-Based Multiple Testing", 1993). The error of a share is at least that of
    independent samples, two hits and two misses added (Agresti and Coull, The American Statistician 52, 1998).

    Args:
        shares: the estimates.
        samples: what each is a share of, at least 1.
        replicates: ``[R, shares]``, all of each row from the same resampling.
    """
    estimates, counts = np.array(shares, np.float64), np.array(samples, np.float64)
    smoothed = (estimates * counts + 2) / (counts + 4)
    least = np.sqrt(smoothed * (1 - smoothed) / (counts + 4))
    pairs = [(i, j) for i in range(len(shares)) for j in range(i)]
    if not pairs:
        return []
    first, second = np.array(pairs).T
    apart = estimates[first] - estimates[second]
    deviations = replicates[:, first] - replicates[:, second] - apart
    deviations = deviations[~np.isnan(deviations).any(axis=1)]
    spread = deviations.std(axis=0) if len(deviations) else np.zeros(len(pairs))
    errors = np.maximum(spread, np.hypot(least[first], least[second]))
    largest = np.abs(deviations / errors).max(axis=1, initial=0)
    reach = max(float(np.quantile(largest, CONFIDENCE)) if len(largest) else 0, _Z) * errors
    found = [
        Difference(*((i, j) if gap >= 0 else (j, i)), abs(gap), Interval(abs(gap) - half, abs(gap) + half))
        for i, j, gap, half in zip(first.tolist(), second.tolist(), apart.tolist(), reach.tolist(), strict=True)
    ]
    return sorted(found, key=lambda difference: -difference.difference)
