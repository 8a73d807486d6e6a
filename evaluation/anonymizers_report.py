"""A comparison of anonymizers as JSON, as a table to read, and as one page that needs nothing else."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from typing import Any

from faceveil.evaluation.anonymizers import NONE, MethodComparison, SeedMean
from faceveil.evaluation.bootstrap import CONFIDENCE, REPLICATES
from faceveil.evaluation.report import format_columns

_DRAWN = (">= 16", "16-32", "32-64", ">= 64")
"""The heights that the plots show, where there are such faces."""

_HOW = (
    f"Intervals hold each with {CONFIDENCE:.0%} for other seeds and other test photos: Student's over the seeds and "
    f"the bootstrap's over the photos ({REPLICATES} resamplings) together. A loss is paired by seed. "
    "Of many that are none, one in twenty seems sure."
)

_STYLE = """\
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: 1em 0 }
th, td { padding: .3em .8em; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
tr.sure td { font-weight: bold }
img { max-width: 100% }
"""


def describe_comparison(comparisons: Sequence[MethodComparison]) -> list[dict[str, Any]]:
    """The measures, ready for JSON: an entry for each band."""
    return [
        {
            "heights": str(comparison.band),
            "faces": comparison.faces,
            "confidence": CONFIDENCE,
            "resamplings": REPLICATES,
            "methods": [
                {
                    "method": method,
                    "average_precision": _described(precision),
                    "loss": None
                    if method == NONE
                    else {**_described(comparison.loss[method]), "sure": comparison.loss[method].is_sure},
                }
                for method, precision in comparison.precision.items()
            ],
        }
        for comparison in comparisons
    ]


def _described(found: SeedMean) -> dict[str, Any]:
    return {
        "value": found.value,
        **found.interval._asdict(),
        "seeds": list(found.values),
        "over_seeds": found.over_seeds._asdict(),
        "over_images": found.over_images._asdict(),
    }


def format_comparison(bands: Sequence[Mapping[str, Any]]) -> str:
    """A table for each band.

    Args:
        bands: as ``describe_comparison`` describes them.
    """
    parts = [
        "\n".join([_title(band), *format_columns(_HEADER, [_row(method) for method in band["methods"]])])
        for band in bands
        if band["methods"]
    ]
    return "\n\n".join([*parts, _HOW])


_HEADER = ("trained on", f"AP@0.5 ({CONFIDENCE:.0%})", f"loss ({CONFIDENCE:.0%})", "")


def _title(band: Mapping[str, Any]) -> str:
    heights = "all heights" if band["heights"] == "all" else f"{band['heights']} px"
    return f"faces of {heights}: {band['faces']}"


def _row(method: Mapping[str, Any]) -> tuple[str, str, str, str]:
    loss = method["loss"]
    precision = _told(method["average_precision"])
    if loss is None:
        return (method["method"], precision, "", "")
    return (method["method"], precision, _told(loss), "sure" if loss["sure"] else "may be chance")


def _told(found: Mapping[str, Any]) -> str:
    return f"{found['value']:.3f} ({found['low']:.3f} to {found['high']:.3f})"


def draw_comparison(bands: Sequence[Mapping[str, Any]]) -> bytes:
    """A PNG: for each height, AP@0.5 of every training and its mean with its interval, and below it the losses.

    Args:
        bands: as ``describe_comparison`` describes them.

    Raises:
        ImportError: matplotlib is not installed.
    """
    from matplotlib.figure import Figure  # part of the extra `evaluate`

    drawn = [band for band in bands if band["heights"] in _DRAWN and band["methods"]] or [
        band for band in bands if band["methods"]
    ]
    figure = Figure(figsize=(3.4 * max(1, len(drawn)), 7), layout="constrained")
    if not drawn:
        figure.suptitle("no faces")
    grid = figure.subplots(2, max(1, len(drawn)), squeeze=False)
    for column, band in enumerate(drawn):
        above, below = grid[:, column]
        names = [method["method"] for method in band["methods"]]
        for name, axes in (("average_precision", above), ("loss", below)):
            for place, method in enumerate(band["methods"]):
                found = method[name]
                if found is None:
                    continue
                reach = [[found["value"] - found["low"]], [found["high"] - found["value"]]]
                axes.plot([place + 0.15] * len(found["seeds"]), found["seeds"], ".", color="0.6")
                axes.errorbar([place], [found["value"]], yerr=reach, fmt="o", capsize=3, color="C0")
            axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
            axes.set_xlim(-0.5, len(names) - 0.5)
            axes.grid(axis="y", alpha=0.3)
        below.axhline(0, color="0.3", linestyle=":")
        above.set(title=_title(band))
    grid[0, 0].set(ylabel="AP@0.5 (grey: each seed)")
    grid[1, 0].set(ylabel="loss against none")
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=110)
    return png.getvalue()


def comparison_page(content: Mapping[str, Any]) -> str:
    """One page of HTML with tables and plots, which loads nothing.

    Args:
        content: as anonymizers.json has it: ``bands`` as ``describe_comparison`` describes them, ``training``,
            ``test``, ``seeds``, ``settings`` and ``methods``.
    """
    bands = content["bands"]
    picture = base64.b64encode(draw_comparison(bands)).decode()
    tables = [_table(_title(band), _HEADER, [_row(method) for method in band["methods"]]) for band in bands]
    settings = [(str(name), str(value)) for name, value in content["settings"].items()]
    masked = [
        tuple("" if method[name] is None else str(method[name]) for name in _COUNTED) for method in content["methods"]
    ]
    training, test = content["training"], content["test"]
    return (
        "<!DOCTYPE html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>Anonymizers compared</title><style>{_STYLE}</style></head>'
        "<body><h1>Which anonymization spoils training data least?</h1>"
        f"<p>The same detector, trained with {content['seeds']} seeds on {training['photos']} photos "
        f"({training['faces']} faces) that were anonymized in each way, and tested on {test['photos']} original photos "
        f"({test['faces']} faces). After Klomp et al., “Safe Fakes”, FG 2021.</p>"
        f'<p><img alt="AP@0.5 and its loss by method and height of faces" src="data:image/png;base64,{picture}"></p>'
        f"<p>{html.escape(_HOW)}</p>{''.join(tables)}"
        f"{_table('What was done to the training photos', _COUNTED, masked)}"
        f"{_table('Settings', ('setting', 'value'), settings)}</body></html>\n"
    )


_COUNTED = ("method", "faces", "fallback_faces", "quarantined")


def _table(title: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        sure = ' class="sure"' if cells[-1] == "sure" else ""
        return f"<tr{sure}>{''.join(f'<{tag}>{html.escape(cell)}</{tag}>' for cell in cells)}</tr>"

    body = "".join(line(row, "td") for row in rows)
    return f"<h2>{html.escape(title)}</h2><table>{line(header, 'th')}{body}</table>" if rows else ""
