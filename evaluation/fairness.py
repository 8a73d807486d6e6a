"""How a detector's measures differ between groups of faces."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from faceveil.evaluation.bootstrap import (
    Difference,
    Interval,
    Replicates,
    differences_of_shares,
    interval_of_share,
    percentiles,
    resampled_counts,
)
from faceveil.evaluation.groups import Grouping
from faceveil.evaluation.matching import NEVER, covering_scores, match, unmatched
from faceveil.evaluation.measures import BANDS, Band, ImageResult
from faceveil.transforms.arrays import BoolMask, FloatArray

GROUP_BANDS = BANDS[:2]
"""The heights that groups are compared at: all, and 16 px and more. Faces of one group in narrower ones are few."""

MEASURES = ("average_precision", "recall", "covered")
"""What each group has, by its name in JSON; all are shares."""


@dataclass(frozen=True)
class Outcomes:
    """What became of each face of a band that counts, and what the detector found beside them.

    Attributes:
        images: number of images.
        image: int ``[F]``: each face's image.
        place: int ``[F]``: its place among the image's faces.
        heights: float32 ``[F]``, in pixels of the upright image.
        found: float32 ``[F]``: the score of the detection that found it, ``NEVER`` without one.
        covering: float32 ``[F]``: the highest threshold at which all detections together cover it.
        false: float32 ``[D]``: scores of the detections that found no face and are not neutral.
        false_image: int ``[D]``: their images.
        unmatched: float32 ``[U]``: scores of those of the band's heights that overlap no annotated face.
        unmatched_image: int ``[U]``: their images.
    """

    images: int
    image: NDArray[np.intp]
    place: NDArray[np.intp]
    heights: FloatArray
    found: FloatArray
    covering: FloatArray
    false: FloatArray
    false_image: NDArray[np.intp]
    unmatched: FloatArray
    unmatched_image: NDArray[np.intp]


@dataclass(frozen=True)
class Estimate:
    """A figure and where it lies."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class GroupResult:
    """The measures of one group.

    Attributes:
        group: its name.
        faces: how many of its faces count.
        images: in how many images they are.
        median_height: of them, in pixels; None without faces.
        measures: of each of ``MEASURES``; empty without faces.
    """

    group: str
    faces: int
    images: int
    median_height: float | None
    measures: dict[str, Estimate]


@dataclass(frozen=True)
class Comparison:
    """The groups of one feature, in one band.

    Attributes:
        feature: its name.
        band: the heights.
        groups: in order.
        rest: the faces that nobody annotated with it; they take no part in the differences.
        false_positives_per_image: of all images: a box on no face belongs to no group.
        differences: of each of ``MEASURES``, between the groups that have faces, the largest first; the numbers are
            places in ``groups``.
    """

    feature: str
    band: Band
    groups: tuple[GroupResult, ...]
    rest: GroupResult
    false_positives_per_image: Estimate
    differences: dict[str, list[Difference]]


def outcomes(results: Sequence[ImageResult], band: Band) -> Outcomes:
    """Compares detections with annotations, face by face; faces and detections count as for ``measures.measure``."""
    parts = [_outcomes_of_image(result, band) for result in results]
    place, heights, found, covering, false, alone = zip(*parts, strict=True) if parts else ((),) * 6
    return Outcomes(
        *(len(parts), _owners(place), np.concatenate([np.zeros(0, np.intp), *place]), _joined(heights)),
        *(_joined(found), _joined(covering)),
        *(_joined(false), _owners(false), _joined(alone), _owners(alone)),
    )


def _outcomes_of_image(
    result: ImageResult, band: Band
) -> tuple[NDArray[np.intp], FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
    heights = result.heights(result.faces)
    counts = ~result.ignored & band.holds(heights)
    inside = band.holds(result.heights(result.boxes))
    matching = match(result.faces, ~counts, result.boxes, ~inside)
    found = np.full(len(result.faces), NEVER, np.float32)
    found[matching.found[matching.correct]] = result.scores[matching.correct]
    return (
        np.flatnonzero(counts),
        heights[counts],
        found[counts],
        covering_scores(result.faces[counts], result.boxes, result.scores),
        result.scores[~matching.correct & ~matching.neutral],
        result.scores[inside & unmatched(result.faces, result.boxes)],
    )


def compare_groups(results: Sequence[ImageResult], grouping: Grouping, score_threshold: float) -> list[Comparison]:
    """The measures of every group, at all of ``GROUP_BANDS``.

    Intervals come from resampling images, not faces: faces of one photo share its light, its size and its groups.

    Args:
        results: one for every image, as ``measures.measure`` takes them.
        grouping: of the same images.
        score_threshold: the operating point for recall and coverage.
    """
    resampled = resampled_counts(len(results))
    return [_compare(outcomes(results, band), band, grouping, score_threshold, resampled) for band in GROUP_BANDS]


def _compare(
    all_faces: Outcomes, band: Band, grouping: Grouping, threshold: float, resampled: NDArray[np.float32]
) -> Comparison:
    places = zip(all_faces.image, all_faces.place, strict=True)
    members = np.array([grouping.members[image][place] for image, place in places], np.intp)
    made = [
        _measure_group(name, all_faces, members == number, threshold, resampled)
        for number, name in [*enumerate(grouping.groups), (-1, "not annotated")]
    ]
    groups, rest = tuple(result for result, _ in made[:-1]), made[-1][0]
    with_faces = [number for number, result in enumerate(groups) if result.faces]
    differences = {}
    for measure in MEASURES:
        replicates = np.array([made[number][1][measure] for number in with_faces])
        found = differences_of_shares(
            [groups[number].measures[measure].value for number in with_faces],
            [groups[number].faces for number in with_faces],
            replicates.reshape(len(with_faces), len(resampled)).T,
        )
        differences[measure] = [
            each._replace(larger=with_faces[each.larger], smaller=with_faces[each.smaller]) for each in found
        ]
    false = np.bincount(all_faces.unmatched_image[all_faces.unmatched >= threshold], minlength=all_faces.images)
    rate = float(false.mean())
    estimate = Estimate(rate, percentiles(rate, resampled @ false / all_faces.images))
    return Comparison(grouping.feature, band, groups, rest, estimate, differences)


def _measure_group(
    name: str, all_faces: Outcomes, chosen: BoolMask, threshold: float, resampled: NDArray[np.float32]
) -> tuple[GroupResult, dict[str, Replicates]]:
    """A group's measures, and the replicates of each."""
    faces = int(chosen.sum())
    if not faces:
        return GroupResult(name, 0, 0, None, {}), {}
    images = all_faces.image[chosen]
    drawn = resampled @ np.bincount(images, minlength=all_faces.images)
    estimates, replicates = {}, {}
    for measure, scores in (("recall", all_faces.found), ("covered", all_faces.covering)):
        good = scores[chosen] >= threshold
        estimates[measure] = float(good.mean())
        hits = resampled @ np.bincount(images[good], minlength=all_faces.images)
        replicates[measure] = np.divide(hits, drawn, out=np.full(len(drawn), np.nan), where=drawn > 0)
    estimates["average_precision"], replicates["average_precision"] = precision_replicates(all_faces, chosen, resampled)
    measures = {
        measure: Estimate(estimates[measure], interval_of_share(estimates[measure], faces, replicates[measure]))
        for measure in MEASURES
    }
    return (
        GroupResult(name, faces, len(np.unique(images)), float(np.median(all_faces.heights[chosen])), measures),
        replicates,
    )


def precision_replicates(
    all_faces: Outcomes, chosen: BoolMask, resampled: NDArray[np.float32]
) -> tuple[float, Replicates]:
    """The average precision of some faces, 0 to 1, and what it would be on resampled images.

    Args:
        all_faces: what became of all of them.
        chosen: bool ``[F]``, of which faces; of all, it is ``measures.average_precision``.
        resampled: ``[R, images]``, how often each image counts.
    """
    precision = _PrecisionOfGroup(all_faces, chosen)
    estimate = precision.average(np.ones(all_faces.images, np.float32))
    return estimate, np.array([precision.average(counts) for counts in resampled])


class _PrecisionOfGroup:
    """Average precision of one group, as if all faces were found as often as the group's are.

    A box on no face belongs to no group, so all of them count against each group. Against a small group they would
    weigh more than against a large one: so precision at a threshold is ``R N / (R N + F)``, with the recall R of the
    group, the number N of all faces and the number F of false boxes (Hoiem, Chodpathumwan and Dai, "Diagnosing Error in
    Object Detectors", ECCV 2012, normalize it so). Of all faces together it is ``measures.average_precision``.
    """

    def __init__(self, all_faces: Outcomes, chosen: BoolMask) -> None:
        self._image, self._all_image, self._false_image = (
            all_faces.image[chosen],
            all_faces.image,
            all_faces.false_image,
        )
        scores = all_faces.found[chosen]
        # Precision is best where a face has just been found: at these thresholds, from the highest down.
        thresholds = np.unique(scores[scores > NEVER])[::-1]
        self._steps = len(thresholds)
        self._step = np.where(scores > NEVER, np.searchsorted(-thresholds, -scores), self._steps)
        self._false_step = np.searchsorted(-thresholds, -all_faces.false)

    def average(self, counts: NDArray[np.float32]) -> float:
        """The average precision when each image counts so many times; NaN where no face of the group is left."""
        own = counts[self._image]
        faces = own.sum()
        if not faces:
            return float("nan")
        found = np.bincount(self._step, own, self._steps + 1)[:-1].cumsum()
        false = np.bincount(self._false_step, counts[self._false_image], self._steps + 1)[:-1].cumsum()
        recall = found / faces
        as_many = recall * counts[self._all_image].sum()
        precision = np.divide(as_many, as_many + false, out=np.zeros(self._steps), where=as_many > 0)
        best_from_here = np.maximum.accumulate(precision[::-1])[::-1]
        return float((np.diff(recall, prepend=0) * best_from_here).sum())


def _owners(parts: Sequence[NDArray[Any]]) -> NDArray[np.intp]:
    """For each value of all parts together, the number of its part."""
    return np.repeat(np.arange(len(parts)), [len(part) for part in parts])


def _joined(parts: Iterable[FloatArray]) -> FloatArray:
    return np.concatenate([np.zeros(0, np.float32), *parts])
