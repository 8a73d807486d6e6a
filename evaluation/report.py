"""An evaluation as JSON, as a table to read, and as curves."""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

from faceveil.evaluation.measures import BANDS, Band, BandResult, Point

THRESHOLDS = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7)
"""Score thresholds of the table."""

_CURVE_THRESHOLDS = tuple(number / 100 for number in range(2, 100))
_ALL, _COUNTED = Band(0, math.inf), Band(16, math.inf)
_PANEL_INCHES = 4.5


def describe_bands(results: Sequence[BandResult], score_threshold: float) -> list[dict[str, Any]]:
    """The measures of every band, ready for JSON.

    Args:
        results: of the bands.
        score_threshold: the operating point, which the table has besides ``THRESHOLDS``.
    """
    return [
        {
            "heights": str(result.band),
            "low": result.band.low,
            "high": None if math.isinf(result.band.high) else result.band.high,
            "faces": result.faces,
            "average_precision": result.average_precision(),
            "table": [dataclasses.asdict(result.at(threshold)) for threshold in _rows(score_threshold)],
            "curve": [dataclasses.asdict(result.at(threshold)) for threshold in _CURVE_THRESHOLDS],
        }
        for result in results
    ]


def format_tables(results: Sequence[BandResult], score_threshold: float) -> str:
    """Two tables: each band at the operating point, and the bands' covered shares over thresholds.

    Args:
        results: of ``BANDS``.
        score_threshold: the operating point.
    """
    by_band = {result.band: result for result in results}
    lines = [f"at score {score_threshold:g}, by height of the faces in px:"]
    lines += format_columns(
        ("height", "faces", "AP@0.5", "recall", "precision", "covered", "false/image"),
        (
            (str(result.band), str(result.faces), _share(result.average_precision()), *_point(result, score_threshold))
            for result in results
        ),
    )
    lines += ["", f"by score: recall and precision at {_COUNTED} px, share of faces at least half covered by height:"]
    lines += format_columns(
        ("score", "recall", "precision", *map(str, BANDS), "false/image"),
        (
            (
                f"{threshold:g}",
                _share(by_band[_COUNTED].at(threshold).recall),
                _share(by_band[_COUNTED].at(threshold).precision),
                *(_share(by_band[band].at(threshold).covered) for band in BANDS),
                f"{by_band[_ALL].at(threshold).false_positives_per_image:.3f}",
            )
            for threshold in _rows(score_threshold)
        ),
    )
    return "\n".join(lines)


def draw_curves(results: Sequence[BandResult], score_threshold: float) -> bytes:
    """A PNG of three diagrams: precision over recall, covered faces and false positives over the score threshold.

    Args:
        results: of the bands, each a curve; those without faces are left out.
        score_threshold: the operating point, marked in each.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure  # part of the extra `evaluate`

    figure = Figure(figsize=(3 * _PANEL_INCHES, _PANEL_INCHES), layout="constrained")
    precision, covered, false = figure.subplots(1, 3)
    for result in results:
        if not result.faces:
            continue
        points = [result.at(threshold) for threshold in _CURVE_THRESHOLDS]
        operating = result.at(score_threshold)
        detected = [point for point in points if point.precision is not None]
        label = f"{result.band}, AP {result.average_precision():.3f}"
        (line,) = precision.plot([p.recall for p in detected], [p.precision for p in detected], label=label)
        if operating.precision is not None:
            precision.plot(operating.recall, operating.precision, "o", color=line.get_color())
        covered.plot(_CURVE_THRESHOLDS, [point.covered for point in points], label=str(result.band))
        false.plot(_CURVE_THRESHOLDS, [p.false_positives_per_image or math.nan for p in points])
    precision.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    covered.set(xlabel="score threshold", ylabel="share of faces at least half covered", xlim=(0, 1), ylim=(0, 1.02))
    false.set(xlabel="score threshold", ylabel="false positives an image", xlim=(0, 1), yscale="log")
    for axes in (covered, false):
        axes.axvline(score_threshold, color="0.5", linestyle=":")
    for axes in (precision, covered, false):
        axes.grid(alpha=0.3)
    precision.legend(title="height in px", loc="lower left", fontsize="small")
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    return png.getvalue()


def _rows(score_threshold: float) -> list[float]:
    return sorted({*THRESHOLDS, score_threshold})


def _point(result: BandResult, threshold: float) -> tuple[str, ...]:
    point: Point = result.at(threshold)
    return (
        _share(point.recall),
        _share(point.precision),
        _share(point.covered),
        f"{point.false_positives_per_image:.3f}",
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def format_columns(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Lines with right-aligned columns.

    Example usage::

        >>> format_columns(("a", "bcd"), [("10", "2")])
        ['   a  bcd', '  10    2']
    """
    cells = [header, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    return ["".join(f"  {cell:>{width}}" for cell, width in zip(row, widths, strict=True)) for row in cells]
