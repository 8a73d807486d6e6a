"""The measures of groups as JSON, and as tables to read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from faceveil.evaluation.bootstrap import CONFIDENCE, REPLICATES, Difference, Interval
from faceveil.evaluation.fairness import MEASURES, Comparison, Estimate, GroupResult
from faceveil.evaluation.report import format_columns

_TITLES = {"average_precision": "AP@0.5", "recall": "recall", "covered": "covered"}


def describe_groups(comparisons: Sequence[Comparison]) -> list[dict[str, Any]]:
    """The groups' measures, ready for JSON: an entry for each feature and band."""
    return [
        {
            "feature": comparison.feature,
            "heights": str(comparison.band),
            "confidence": CONFIDENCE,
            "resamplings": REPLICATES,
            "false_positives_per_image": _described(comparison.false_positives_per_image),
            "groups": [_described_group(group) for group in comparison.groups],
            "not_annotated": _described_group(comparison.rest),
            "differences": {
                measure: [
                    {
                        "larger": comparison.groups[difference.larger].group,
                        "smaller": comparison.groups[difference.smaller].group,
                        "difference": difference.difference,
                        **difference.interval._asdict(),
                        "sure": difference.is_sure,
                    }
                    for difference in comparison.differences[measure]
                ]
                for measure in MEASURES
            },
        }
        for comparison in comparisons
    ]


def format_groups(comparisons: Sequence[Comparison], score_threshold: float) -> str:
    """A table for each feature and band, and below it the differences that matter."""
    return "\n\n".join("\n".join(_lines(comparison, score_threshold)) for comparison in comparisons)


def _lines(comparison: Comparison, score_threshold: float) -> Iterator[str]:
    yield f"by {comparison.feature}, faces of {_heights(comparison)}, at score {score_threshold:g}:"
    header = ("group", "faces", "images", "median px", *(f"{_TITLES[measure]} (95 %)" for measure in MEASURES))
    yield from format_columns(header, [_row(group) for group in (*comparison.groups, comparison.rest)])
    false = comparison.false_positives_per_image
    yield f"false boxes belong to no group: {_told(false)} an image, over all images"
    if not all(comparison.differences.values()):
        yield "there are no two groups with faces to compare"
        return
    for measure in MEASURES:
        largest, *others = comparison.differences[measure]
        yield f"{_TITLES[measure]}: largest difference {_difference(comparison, largest)}"
        for other in others:
            if other.is_sure:
                yield f"  {_difference(comparison, other)}"


def _heights(comparison: Comparison) -> str:
    return "all heights" if str(comparison.band) == "all" else f"{comparison.band} px"


def _row(group: GroupResult) -> tuple[str, ...]:
    height = "-" if group.median_height is None else f"{group.median_height:.0f}"
    shares = (_told(group.measures[measure]) if group.measures else "-" for measure in MEASURES)
    return (group.group, str(group.faces), str(group.images), height, *shares)


def _difference(comparison: Comparison, found: Difference) -> str:
    larger, smaller = (comparison.groups[number].group for number in (found.larger, found.smaller))
    sure = "" if found.is_sure else "; may be chance"
    return f"{larger} - {smaller}: {_told(Estimate(found.difference, found.interval))}{sure}"


def _told(estimate: Estimate) -> str:
    return f"{estimate.value:.3f} ({_ends(estimate.interval)})"


def _ends(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}"


def _described(estimate: Estimate) -> dict[str, float]:
    return {"value": estimate.value, **estimate.interval._asdict()}


def _described_group(group: GroupResult) -> dict[str, Any]:
    return {
        "group": group.group,
        "faces": group.faces,
        "images": group.images,
        "median_height": group.median_height,
        **{measure: _described(estimate) for measure, estimate in group.measures.items()},
    }
