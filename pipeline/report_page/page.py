"""The page as HTML: one file that loads nothing, runs no script, and shows data as text only."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from faceveil.pipeline.report import clock
from faceveil.pipeline.report_page.figures import HEIGHTS, KINDS, SCORES, SIDES, Figures
from faceveil.pipeline.report_page.gallery import Sample
from faceveil.pipeline.report_page.plots import Bar, bar_plot, bins, share_bar
from faceveil.pipeline.report_page.style import filter_rules, style_sheet
from faceveil.transforms.anonymizers.geometry import MaskGeometry
from faceveil.transforms.inputs.ignored import printable

_MAX_TEXT = 300
_MAX_SPLITS = 100
_MAX_LISTED = 200
_FACES_PER_IMAGE = (0, 1, 2, 3, 4, 5, 6, 11, 21, 51, 101)
_TOTALS = {
    "records": "records",
    "anonymized": "anonymized",
    "no_faces": "without faces",
    "quarantined": "quarantined",
    "faces": "faces masked",
    "given_faces": "of them annotated",
    "fallback_faces": "by the fallback method",
    "reencoded": "encoded again",
    "copied": "files copied",
    "ignored": "files ignored",
}
"""What of the manifest's totals is told under which name; from the sixth on only where there are any."""
_ALWAYS = 5
_WHY = {
    "unreadable_file": "the file could not be read",
    "empty": "there are no bytes",
    "not_an_image": "no known image format",
    "too_large": "more pixels or bytes than is allowed",
    "truncated": "the image ends before its pixels do",
    "corrupt_image": "the pixels cannot be decoded",
    "unsupported_image": "a kind of image that cannot be written back as it is",
    "multiple_frames": "more than one picture in a file",
    "corrupt_record": "the file of records is damaged from here on",
    "invalid_example": "no tf.train.Example",
    "missing_image": "the record has no image",
    "embedded_image": "another feature may hold an image that nobody looked at",
    "missing_boxes": "there are no annotated boxes of it",
    "invalid_boxes": "its annotated boxes do not fit the image",
    "label_map": "faces in what looks like a map of labels",
    "detection_failed": "the detector failed",
    "anonymization_failed": "masking or encoding failed",
    "timed_out": "it took too long",
    "crashed": "the work on it ended its process",
}
_UNTOLD = {"versions", "digest", "settings_digest", "inputs_digest", "salt_fingerprint"}


@dataclass(frozen=True)
class Run:
    """How long the run of a job took that has finished it.

    Attributes:
        ended: the time, as the page tells it.
        seconds: None if unknown.
        made: records that it has made; None if unknown.
    """

    ended: str
    seconds: float | None = None
    made: int | None = None

    @property
    def in_words(self) -> str:
        """As the page tells it."""
        if self.seconds is None:
            return self.ended
        made = "" if self.made is None else f"{self.made:,} records made in "
        rate = f", {self.made / self.seconds:.1f} records/s" if self.made and self.seconds else ""
        return f"{self.ended}; {made or 'took '}{clock(self.seconds)}{rate}"


@dataclass(frozen=True)
class PageContent:
    """All that the page tells.

    Attributes:
        name: the output's.
        manifest: its manifest.
        ignored: what the audit trail says of ignored files; of old ones, what the manifest says.
        figures: of all shards.
        samples: for the gallery.
        geometry: of the masks.
        run: the one that has finished the job, if it is known.
    """

    name: str
    manifest: Mapping[str, Any]
    ignored: Mapping[str, Any]
    figures: Figures
    samples: Sequence[Sample]
    geometry: MaskGeometry
    run: Run | None


def render_page(content: PageContent) -> str:
    """The page. It is the same for equal contents."""
    reasons = sorted(content.manifest.get("quarantined_for", {}))
    kinds_alone = filter_rules("kind", len(KINDS), ".gallery figure")
    reasons_alone = filter_rules("reason", len(reasons), "table tbody tr")
    style = style_sheet(f"{kinds_alone}{reasons_alone}#outlines:not(:checked)~.gallery .masks{{display:none}}")
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; img-src data:; style-src 'sha256-{allowed}'; base-uri 'none'; form-action 'none'"
    job, model = content.manifest["job"], content.manifest["model"]
    told = [f"faceveil {job.get('versions', {}).get('faceveil', '')}", job.get("method", "")]
    told += [model.get("name") or "no detector", *([content.run.in_words] if content.run else [])]
    body = (
        f'<h1>{text(content.name)}</h1><p class="lead">{" · ".join(map(text, told))}</p>'
        '<p class="private">This page names inputs and says where faces are. Like the audit trail that it lies beside, '
        "it is not for publication.</p>",
        _section("", _totals(content.manifest)),
        _section("Faces and images", _plots(content)),
        _section("Samples", _gallery(content)),
        _section("Quarantined", _quarantined(content, reasons)),
        _section("Ignored files", _ignored(content.ignored)),
        _section("Settings", _settings(content.manifest)),
    )
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="referrer" content="no-referrer">'
        '<meta name="robots" content="noindex"><meta name="color-scheme" content="light dark">'
        f"<title>{text(content.name)}: what faceveil did</title><style>{style}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def text(value: object, most: int = _MAX_TEXT) -> str:
    """Anything that comes from data, as text that a page shows and never obeys; what is long is cut.

    Example usage::

        >>> text("<b>\\u202e&"), text("x" * 9, most=4)
        ('&lt;b&gt;\\\\u202e&amp;', 'xxxx…')
    """
    told = str(value)
    told = told if len(told) <= most else f"{told[:most]}…"
    return escape(printable(told))


def _section(title: str, content: str) -> str:
    heading = f"<h2>{title}</h2>" if title else ""
    return f"<section>{heading}{content}</section>" if content else ""


def _totals(manifest: Mapping[str, Any]) -> str:
    totals = manifest["totals"]
    shown = [
        (words, totals[name])
        for place, (name, words) in enumerate(_TOTALS.items())
        if name in totals and (place < _ALWAYS or totals[name])
    ]
    tiles = "".join(f"<div><dt>{words}</dt><dd>{count:,}</dd></div>" for words, count in shown)
    shares = share_bar(
        [
            ("done", "anonymized", totals["anonymized"]),
            ("faceless", "without faces", totals["no_faces"]),
            ("refused", "quarantined", totals["quarantined"]),
        ]
    )
    return f'<dl class="tiles">{tiles}</dl>{shares}{_splits(manifest)}'


def _splits(manifest: Mapping[str, Any]) -> str:
    splits = manifest.get("splits", {})
    if len(splits) < 2:
        return ""
    names = ("records", "anonymized", "no_faces", "quarantined", "faces")
    rows = [(split, *(f"{totals[name]:,}" for name in names)) for split, totals in sorted(splits.items())[:_MAX_SPLITS]]
    return _table(("split", *(_TOTALS[name] for name in names)), rows, numbers=range(1, 6))


def _plots(content: PageContent) -> str:
    figures = content.figures
    plots = (
        bar_plot("Faces per image", "images, by number of faces", _faces_per_image(content.manifest)),
        bar_plot("Height of faces", "faces, by px", bins(HEIGHTS, figures.heights.tolist())),
        bar_plot(
            "Scores of faces", f"faces, by score from{_threshold(content)}", bins(SCORES, figures.scores.tolist(), 2)
        ),
        bar_plot("Longer side of images", "images, by px", bins(SIDES, figures.sides.tolist())),
    )
    return f'<div class="plots">{"".join(plots)}</div>'


def _threshold(content: PageContent) -> str:
    threshold = content.manifest["job"].get("score_threshold")
    return f" (threshold {threshold:g})" if isinstance(threshold, (int, float)) else ""


def _faces_per_image(manifest: Mapping[str, Any]) -> list[Bar]:
    counts = [0] * len(_FACES_PER_IMAGE)
    for faces, images in manifest.get("faces_per_image", {}).items():
        place = sum(start <= int(faces) for start in _FACES_PER_IMAGE) - 1
        counts[place] += images
    return bins(_FACES_PER_IMAGE, counts)


def _gallery(content: PageContent) -> str:
    if not content.samples:
        return ""
    kinds = sorted({sample.kind for sample in content.samples})
    choices = [(number, KINDS[number].title) for number in kinds]
    figures = "".join(_figure(sample, content.geometry) for sample in content.samples)
    return (
        '<p class="soft">Anonymized images, as they lie in the output, that are worth a look. Outlines are where masks '
        "are, or the faces that a method covers in part.</p>"
        f"{_radio_buttons('kind', 'All', choices)}"
        '<input class="pick" type="checkbox" id="outlines" checked><label for="outlines">Outlines</label>'
        f'<div class="gallery">{figures}</div>'
    )


def _radio_buttons(group: str, every: str, choices: Iterable[tuple[int, str]]) -> str:
    """Buttons of which one is chosen; the rules of ``filter_rules`` do the rest."""
    shown = [("All", every, " checked"), *((str(number), title, "") for number, title in choices)]
    return "".join(
        f'<input class="pick" type="radio" name="{group}" id="{group}{number}"{checked}>'
        f'<label for="{group}{number}">{text(title)}</label>'
        for number, title, checked in shown
    )


def _figure(sample: Sample, geometry: MaskGeometry) -> str:
    width, height = sample.picture_size
    picture = base64.b64encode(sample.jpeg).decode()
    kind = KINDS[sample.kind]
    faces = f"{sample.faces:,} {'face' if sample.faces == 1 else 'faces'}"
    if kind.closely:
        fact = f"score {sample.score:.2f}, {sample.face_height:.0f} px high; one of {faces}"
    else:
        fact = f"{faces}; the largest takes {sample.largest_share:.0%}" if sample.largest_share > 0.1 else faces
    size = f'width="{width}" height="{height}"'
    return (
        f'<figure class="kind{sample.kind}"><div class="frame"><svg viewBox="0 0 {width} {height}" role="img" '
        # The inner one cuts off what lies beyond the picture.
        f'aria-label="{text(sample.key)}"><svg {size}><image href="data:image/jpeg;base64,{picture}" {size}/>'
        f'<g class="masks">{"".join(_outlines(sample, geometry))}</g></svg></svg></div>'
        f'<figcaption><b>{kind.title}</b><span>{fact}</span><span class="key">{text(sample.key, 120)}</span>'
        f"<span>{sample.size[0]} × {sample.size[1]} px</span></figcaption></figure>"
    )


def _outlines(sample: Sample, geometry: MaskGeometry) -> Iterator[str]:
    is_ellipse = geometry.shape == "ellipse" and geometry.coverage == 1
    for left, top, right, bottom, score in sample.outlines:
        width, height = right - left, bottom - top
        if is_ellipse:
            shape = (
                f'<ellipse class="%s" cx="{left + width / 2:.1f}" cy="{top + height / 2:.1f}" rx="{width / 2:.1f}" '
                f'ry="{height / 2:.1f}"/>'
            )
        else:
            shape = f'<rect class="%s" x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}"/>'
        yield f"<g><title>score {score:.2f}</title>{shape % 'under'}{shape % 'outline'}</g>"


def _quarantined(content: PageContent, reasons: Sequence[str]) -> str:
    counts = content.manifest.get("quarantined_for", {})
    if not counts:
        return '<p class="soft">Nothing: every input was anonymized, or has no face that was found.</p>'
    told = [
        (reason, _WHY.get(reason, ""), f"{counts[reason]:,}")
        for reason in sorted(counts, key=lambda r: (-counts[r], r))
    ]
    table = _table(("reason", "what it means", "records"), told, numbers=[2])
    named = sorted(each for inputs in content.figures.quarantined.values() for each in inputs)[:_MAX_LISTED]
    if not named:
        return table
    rows = "".join(
        f'<tr class="reason{reasons.index(each.reason)}"><td class="key">{text(each.key)}</td>'
        f"<td>{text(each.reason)}</td><td>{text(each.detail)}</td></tr>"
        for each in named
        if each.reason in reasons
    )
    total = sum(counts.values())
    more = "" if len(named) >= total else f", {len(named)} of {total:,}; the audit trail has all of them"
    return (
        f"{table}<h3>By name{more}</h3>{_radio_buttons('reason', 'All', enumerate(reasons))}"
        '<table class="stack"><thead><tr><th>input</th><th>reason</th><th>detail</th></tr></thead>'
        f"<tbody>{rows}</tbody></table>"
    )


def _ignored(ignored: Mapping[str, Any]) -> str:
    rows = [
        (ending, reason, f"{files:,}", ", ".join(told.get("examples", ())))
        for ending, told in sorted(ignored.items(), key=lambda each: (-each[1]["files"], each[0]))
        for reason, files in sorted(told["reasons"].items())
    ]
    return _table(("ending", "why", "files", "such as"), rows[:_MAX_LISTED], numbers=[2], keys=[3]) if rows else ""


def _settings(manifest: Mapping[str, Any]) -> str:
    job, model = manifest["job"], manifest["model"]
    told = {
        "detector": model.get("name") or "none",
        **{name: _value(value) for name, value in job.items() if name not in _UNTOLD and value not in (None, [], "")},
    }
    identities = {
        "detector's sha256": model.get("sha256"),
        **{name: job.get(name) for name in ("digest", "settings_digest", "inputs_digest")},
        "versions": ", ".join(f"{name} {version}" for name, version in job.get("versions", {}).items() if version),
    }
    shards = manifest.get("shards", [])
    told["shards"] = f"{len(shards):,}, {sum(shard['bytes'] for shard in shards) / 1e6:,.1f} MB"
    more = _table((), [(name, value) for name, value in identities.items() if value], css="settings")
    return f"{_table((), list(told.items()), css='settings')}<details><summary>Versions</summary>{more}</details>"


def _value(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    if isinstance(value, dict):
        return ", ".join(f"{name}: {_value(each)}" for name, each in value.items())
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def _table(
    header: Sequence[str],
    rows: Sequence[Sequence[object]],
    numbers: Iterable[int] = (),
    keys: Iterable[int] = (),
    css: str = "",
) -> str:
    """A table of data.

    Args:
        header: none where it is empty.
        rows: whose cells are shown as text.
        numbers: the columns of numbers.
        keys: the columns of names of files.
        css: the table's class.
    """
    classes = {**dict.fromkeys(numbers, ' class="number"'), **dict.fromkeys(keys, ' class="key"')}

    def line(cells: Sequence[object], tag: str) -> str:
        shown = (f"<{tag}{classes.get(n, '')}>{text(cell)}</{tag}>" for n, cell in enumerate(cells))
        return f"<tr>{''.join(shown)}</tr>"

    opened = f"<thead>{line(header, 'th')}</thead>" if header else ""
    body = "".join(line(row, "td") for row in rows)
    table = f'<table class="{css}">{opened}<tbody>{body}</tbody></table>'
    return f'<div class="wide">{table}</div>'
