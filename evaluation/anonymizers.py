"""What anonymization costs those who train on it: the same detector, trained on each kind of photos, compared."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from faceveil.evaluation.bootstrap import CONFIDENCE, Interval, Replicates, percentiles, resampled_counts
from faceveil.evaluation.fairness import outcomes, precision_replicates
from faceveil.evaluation.measures import BANDS, Band, ImageResult

NONE = "none"
"""The photos as they are: what all methods are compared with."""

Seeds = NDArray[np.float64]
"""``[S]``, a figure of each seed's training."""


@dataclass(frozen=True)
class SeedMean:
    """A figure, the mean of several trainings, and where it would lie if others trained and measured.

    Attributes:
        values: of each seed.
        value: their mean.
        over_seeds: where it lies by chance of the trainings alone.
        over_images: where it lies by chance of the test images alone.
        interval: where it lies by both.
    """

    values: tuple[float, ...]
    value: float
    over_seeds: Interval
    over_images: Interval
    interval: Interval

    @property
    def is_sure(self) -> bool:
        """Whether the interval excludes 0."""
        return self.interval.low > 0 or self.interval.high < 0


@dataclass(frozen=True)
class MethodComparison:
    """The trainings on photos anonymized in each way, measured on faces of some heights.

    Attributes:
        band: the heights.
        faces: how many of the test photos' count.
        precision: AP@0.5 by method; empty without faces.
        loss: by how much it is lower than without anonymization, by method but for ``NONE``.
    """

    band: Band
    faces: int
    precision: dict[str, SeedMean]
    loss: dict[str, SeedMean]


def compare_methods(results: Mapping[str, Sequence[Sequence[ImageResult]]]) -> list[MethodComparison]:
    """Average precision by method and height, and what is lost against ``NONE``.

    Args:
        results: by method, ``NONE`` among them: for every seed, in the same order, the results on the same test images.
            At least one image and two seeds.
    """
    images = len(results[NONE][0])
    resampled = resampled_counts(images)
    return [_compare_band(results, band, resampled) for band in BANDS]


def _compare_band(
    results: Mapping[str, Sequence[Sequence[ImageResult]]], band: Band, resampled: NDArray[np.float32]
) -> MethodComparison:
    values: dict[str, Seeds] = {}
    replicates: dict[str, Replicates] = {}
    faces = 0
    for method, trainings in results.items():
        found = [outcomes(training, band) for training in trainings]
        faces = len(found[0].image)
        if not faces:
            return MethodComparison(band, 0, {}, {})
        measured = [precision_replicates(each, np.ones(faces, bool), resampled) for each in found]
        values[method] = np.array([estimate for estimate, _ in measured])
        replicates[method] = np.mean([drawn for _, drawn in measured], axis=0)
    precision = {method: mean_over_seeds(values[method], replicates[method], share=True) for method in results}
    loss = {
        method: mean_over_seeds(values[NONE] - values[method], replicates[NONE] - replicates[method])
        for method in results
        if method != NONE
    }
    return MethodComparison(band, faces, precision, loss)


def mean_over_seeds(values: Seeds, replicates: Replicates, *, share: bool = False) -> SeedMean:
    """The mean of a figure over seeds, with intervals.

    Over seeds it is Student's, which takes the trainings for a sample of all that could be; over images the
    bootstrap's percentiles. Both errors are independent and add up, so the ends of both intervals add up in squares
    (Zou and Donner, "Construction of confidence limits about effect measures", Statistics in Medicine 27, 2008).

    Args:
        values: of each seed, at least two.
        replicates: the mean on resampled images.
        share: whether it is from 0 to 1, and its intervals too.

    Example usage::

        >>> found = mean_over_seeds(np.array([0.4, 0.5, 0.6]), np.array([0.45, 0.55]))
        >>> [round(end, 3) for end in found.over_seeds], found.is_sure
        ([0.252, 0.748], True)
    """
    mean = float(values.mean())
    reach = student_quantile(len(values) - 1) * float(values.std(ddof=1)) / math.sqrt(len(values))
    seeds, images = Interval(mean - reach, mean + reach), percentiles(mean, replicates)
    both = Interval(
        mean - math.hypot(mean - seeds.low, mean - images.low), mean + math.hypot(seeds.high - mean, images.high - mean)
    )
    if share:
        seeds, both = (Interval(max(ends.low, 0.0), min(ends.high, 1.0)) for ends in (seeds, both))
    return SeedMean(tuple(values.tolist()), mean, seeds, images, both)


@functools.cache
def student_quantile(degrees: int) -> float:
    """How many standard errors Student's t stays within with ``CONFIDENCE``.

    With t = sqrt(degrees) tan(a), its density is that of cos(a) to the power of degrees - 1 (Abramowitz and Stegun,
    26.7.3 and 26.7.4).

    Args:
        degrees: of freedom, at least 1.

    Example usage::

        >>> [round(student_quantile(degrees), 3) for degrees in (1, 2, 4, 30)]
        [12.706, 4.303, 2.776, 2.042]
    """
    angles = np.linspace(0, np.pi / 2, 100_001)
    density = np.cos(angles) ** (degrees - 1)
    share = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return math.sqrt(degrees) * math.tan(float(np.interp(CONFIDENCE, share / share[-1], angles)))
