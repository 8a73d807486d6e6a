"""Plots as inline SVG: rows of bars, which read as well on a phone as on paper."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import NamedTuple

_ROW = 20
_LABELS, _BARS, _NUMBERS = 80, 140, 60
_MIN_BAR = 1.5


class Bar(NamedTuple):
    """One bar: what it is about, and how many there are."""

    label: str
    number: int


def bins(starts: Sequence[float], counts: Sequence[int], digits: int = 0) -> list[Bar]:
    """A histogram's bars, without the empty ones at both ends.

    Args:
        starts: where each bin begins; the last one is open.
        counts: of each bin.
        digits: behind the point; where there are any, a bin is named by its start alone.

    Example usage::

        >>> bins((0, 8, 16), [0, 3, 1])
        [Bar(label='8–15', number=3), Bar(label='16+', number=1)]
        >>> bins((0.2, 0.25, 0.3), [2, 1, 0], digits=2)
        [Bar(label='0.20', number=2), Bar(label='0.25', number=1)]
    """
    labels = []
    for place, start in enumerate(starts):
        if digits:
            labels.append(f"{start:.{digits}f}")
        elif place + 1 == len(starts):
            labels.append(f"{start:g}+")
        else:
            last = starts[place + 1] - 1
            labels.append(f"{start:g}" if last == start else f"{start:g}–{last:g}")
    filled = [place for place, count in enumerate(counts) if count]
    if not filled:
        return []
    shown = slice(filled[0], filled[-1] + 1)
    return [Bar(label, int(count)) for label, count in list(zip(labels, counts, strict=True))[shown]]


def bar_plot(title: str, unit: str, bars: Sequence[Bar]) -> str:
    """A figure of HTML with a plot in it; a sentence where there is nothing to plot.

    Args:
        title: what is plotted.
        unit: what is counted, and by what, told under the title.
        bars: from top to bottom.
    """
    total = sum(bar.number for bar in bars)
    head = f"<figcaption><b>{escape(title)}</b><span>{escape(unit)}</span></figcaption>"
    if not total:
        return f'<figure class="plot">{head}<p class="none">There are none.</p></figure>'
    most = max(bar.number for bar in bars)
    width, height = _LABELS + _BARS + _NUMBERS, _ROW * len(bars)
    parts = []
    for place, bar in enumerate(bars):
        middle = place * _ROW + _ROW / 2
        length = max(bar.number / most * _BARS, _MIN_BAR) if bar.number else 0
        label, told = escape(bar.label), f"{bar.number:,}"
        parts.append(
            f"<g><title>{label}: {told} ({bar.number / total:.1%})</title>"
            f'<rect class="row" x="0" y="{middle - _ROW / 2:g}" width="{width}" height="{_ROW}"/>'
            f'<text class="label" x="{_LABELS - 8}" y="{middle + 4:g}">{label}</text>'
            f'<rect class="bar" x="{_LABELS}" y="{middle - 6.5:g}" width="{length:.1f}" height="13" rx="2"/>'
            f'<text class="count" x="{_LABELS + length + 6:.1f}" y="{middle + 4:g}">{told}</text></g>'
        )
    alt = "; ".join(f"{bar.label}: {bar.number:,}" for bar in bars)
    return (
        f'<figure class="plot">{head}<svg viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(f"{title}, {unit}: {alt}")}">{"".join(parts)}</svg></figure>'
    )


def share_bar(parts: Sequence[tuple[str, str, int]]) -> str:
    """One bar that shows how a whole is divided, and its legend.

    Args:
        parts: of each its class in the style sheet, its name and its count.
    """
    total = sum(count for *_, count in parts)
    if not total:
        return ""
    rects, begin = [], 0.0
    for name, label, count in parts:
        length = 1000 * count / total
        if count:
            title = f"<title>{escape(label)}: {count:,} ({count / total:.1%})</title>"
            rects.append(f'<rect class="{name}" x="{begin:.2f}" y="0" width="{length:.2f}" height="20">{title}</rect>')
        begin += length
    legend = "".join(
        f'<li><i class="{name}"></i>{escape(label)} <b>{count:,}</b> <span>{count / total:.1%}</span></li>'
        for name, label, count in parts
    )
    alt = ", ".join(f"{label}: {count:,}" for _, label, count in parts)
    return (
        f'<div class="shares"><svg viewBox="0 0 1000 20" preserveAspectRatio="none" role="img" '
        f'aria-label="{escape(alt)}">{"".join(rects)}</svg><ul class="legend">{legend}</ul></div>'
    )
