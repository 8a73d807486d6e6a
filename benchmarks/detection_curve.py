"""Draws covered faces over false boxes, docs/detection-curve.png, from what ``benchmarks.detection`` measured.

    python -m benchmarks.detection --data ../shared/data/wider-dev --output views --ways 640 balanced thorough 1024-bf16
    python -m benchmarks.detection --data ../shared/data/masks --output views --ways 640 balanced thorough 1024-bf16
    python -m benchmarks.detection_curve --views views --output docs/detection-curve.png

It says how many false boxes an image each way pays for the faces that it covers.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from faceveil.transforms.detectors.detector import DetectorConfig

_SETS = "wider-dev", "masks"
_LINES = {"640": "fast", "balanced": "balanced", "thorough": "thorough", "1024-bf16": "single view, 1024 px"}
_COLOURS = "tab:blue", "tab:orange", "tab:green", "tab:grey"
_MAX_FALSE, _MIN_COVERED = 6, 0.85
_THRESHOLD = DetectorConfig(()).score_threshold


def points(result: dict[str, Any]) -> list[tuple[float, float, float]]:
    """Threshold, false boxes an image and covered share of the faces of 16 px and more, of what a way found."""
    bands = {band["heights"]: band["curve"] for band in result["bands"]}
    return [
        (counted["threshold"], everything["false_positives_per_image"], counted["covered"])
        for counted, everything in zip(bands[">= 16"], bands["all"], strict=True)
    ]


def draw(views: Path) -> Figure:
    """A panel for each set, a line for each way, a dot at the default threshold."""
    figure = Figure((9, 3.6), layout="constrained")
    panels = figure.subplots(1, len(_SETS))
    for panel, data in zip(panels, _SETS, strict=True):
        for (way, label), colour in zip(_LINES.items(), _COLOURS, strict=True):
            curve = points(json.loads((views / f"{data}-{way}.json").read_text()))
            _, false, covered = zip(*curve, strict=True)
            panel.plot(false, covered, color=colour, label=label)
            [(at, share)] = [point[1:] for point in curve if point[0] == _THRESHOLD]
            panel.plot(at, share, "o", color=colour)
        panel.set(title=data, xlabel="false boxes an image", xlim=(0, _MAX_FALSE), ylim=(_MIN_COVERED, 1))
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("faces of 16 px and more, at least half covered")
    panels[-1].legend(loc="lower right")
    return figure


def main() -> None:
    """Writes the picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--views", type=Path, required=True, help="what benchmarks.detection wrote")
    parser.add_argument("--output", type=Path, required=True, help="a PNG file")
    given = parser.parse_args()
    draw(given.views).savefig(given.output, dpi=100)


if __name__ == "__main__":
    main()
