"""Recognition after anonymization as JSON, as a table to read, and as a plot."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from faceveil.evaluation.privacy import FRAMES_AVERAGED, SETTINGS, Recognition
from faceveil.evaluation.report import format_columns

_TITLES = {
    "same_photo": "same photo",
    "another_photo": "another photo",
    "averaged_frames": f"{FRAMES_AVERAGED} frames averaged",
}
_BAR_WIDTH = 0.26


def describe_recognition(recognitions: Sequence[Recognition]) -> dict[str, Any]:
    """Of one way to anonymize, ready for JSON: for each setting the attack that recognises most, and all of them."""
    described = {}
    for setting in SETTINGS:
        attacks = [_described(found) for found in recognitions if found.setting == setting]
        strongest = max(attacks, key=lambda attack: attack["recognised"])
        described[setting] = {**strongest, "attacks": attacks}
    return described


def _described(found: Recognition) -> dict[str, Any]:
    return {
        "attack": found.attack,
        "variant": found.variant,
        "variants": found.variants,
        "recognised": found.share,
        **found.interval._asdict(),
    }


def format_recognition(results: Sequence[Mapping[str, Any]]) -> str:
    """The table.

    Args:
        results: as privacy.json has them: ``label``, and what ``describe_recognition`` says as ``settings``.
    """
    rows = []
    for result in results:
        cells = []
        for setting in SETTINGS:
            found = result["settings"][setting]
            cells += [f"{found['recognised']:.3f} ({found['low']:.3f} to {found['high']:.3f})", found["attack"]]
        rows.append((result["label"], *cells))
    header = [cell for setting in SETTINGS for cell in (f"{_TITLES[setting]} (95 %)", "by")]
    return "\n".join(format_columns(("persons recognised", *header), rows))


def draw_recognition(results: Sequence[Mapping[str, Any]], chance: float) -> bytes:
    """A PNG of bars: for each way to anonymize and each setting, the share of persons recognised.

    Args:
        results: as for ``format_recognition``.
        chance: the share that guessing recognises, a line.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure  # part of the extra `evaluate`

    figure = Figure(figsize=(2 + 1.2 * len(results), 4.5), layout="constrained")
    axes = figure.subplots()
    for number, setting in enumerate(SETTINGS):
        found = [result["settings"][setting] for result in results]
        shares = [each["recognised"] for each in found]
        reach = [
            [each["recognised"] - each["low"] for each in found],
            [each["high"] - each["recognised"] for each in found],
        ]
        places = [place + (number - 1) * _BAR_WIDTH for place in range(len(results))]
        axes.bar(places, shares, _BAR_WIDTH, yerr=reach, capsize=2, label=_TITLES[setting])
    axes.axhline(chance, color="0.3", linestyle=":", label="chance")
    axes.set(ylabel="share of persons recognised", ylim=(0, 1.02))
    axes.set_xticks(range(len(results)), [result["label"].replace(", ", "\n") for result in results])
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside upper center", ncols=4, fontsize="small")
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    return png.getvalue()
