"""The page's figures, counted again row by row, and the same however rows are spread over shards."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from faceveil.pipeline.report_page.figures import HEIGHTS, KINDS, SCORES, SIDES, Figures, gather_figures
from faceveil.pipeline.written_output import open_output
from tests.conftest import audit_of
from tests.made_outputs import MadeRecord, made_failure, made_large_output, made_output, made_record

RECORDS = [made_record(f"{n:02}.png", n, faces=n % 5) for n in range(30)]
RECORDS += [made_failure(f"bad-{n:02}", "truncated" if n % 2 else "empty", f"at {n}") for n in range(8)]


def figures_of(folder: Path, shards: list[list[MadeRecord]]) -> Figures:
    made_output(folder, shards)
    return gather_figures(open_output(str(folder)))


def test_histograms_are_those_of_the_rows(tmp_path: Path) -> None:
    figures = figures_of(tmp_path / "out", [RECORDS[:20], RECORDS[20:]])
    rows = pq.read_table(audit_of(tmp_path / "out")).to_pylist()
    faces = [face for row in rows for face in row["faces"]]
    heights, _ = np.histogram([face["y1"] - face["y0"] for face in faces], [*HEIGHTS, np.inf])
    scores, _ = np.histogram([face["score"] for face in faces], [*SCORES, 2])
    sides, _ = np.histogram([max(row["width"], row["height"]) for row in rows if row["width"]], [*SIDES, np.inf])
    assert (figures.heights == heights).all()
    assert (figures.scores == scores).all()
    assert (figures.sides == sides).all()
    assert figures.heights.sum() == sum(n % 5 for n in range(30))
    assert {reason: [each.key for each in inputs] for reason, inputs in figures.quarantined.items()} == {
        reason: [f"bad-{n:02}" for n in range(8) if (n % 2 == 1) == (reason == "truncated")]
        for reason in ("truncated", "empty")
    }


def test_what_is_telling_is_found_among_all_shards(tmp_path: Path) -> None:
    figures = figures_of(tmp_path / "out", [RECORDS[n::4] for n in range(4)])
    written = [record.row for record in RECORDS if record.image and len(record.row.faces)]
    most, lowest, smallest, largest = (candidates[0] for candidates in figures.candidates)
    assert -most.rank == max(len(row.faces) for row in written)
    assert lowest.rank == pytest.approx(min(row.faces.scores.min() for row in written))
    heights = {row.key: row.faces.boxes[:, 3] - row.faces.boxes[:, 1] for row in written}
    assert smallest.key == min(heights, key=lambda key: heights[key].min())
    assert smallest.face == heights[smallest.key].argmin()
    assert largest.key == max(heights, key=lambda key: heights[key].max())  # all images are of one size, faces square
    # Each image is once among the candidates of a kind.
    for candidates in figures.candidates:
        assert len({candidate.key for candidate in candidates}) == len(candidates) > 20


def test_shards_make_no_difference(tmp_path: Path) -> None:
    one = figures_of(tmp_path / "one", [RECORDS])
    many = figures_of(tmp_path / "many", [RECORDS[n::7] for n in range(7)])
    assert (one.heights == many.heights).all()
    for kind in range(len(KINDS)):
        assert [c[:2] for c in one.candidates[kind]] == [c[:2] for c in many.candidates[kind]]


def test_an_output_without_a_face_or_a_row_has_figures(tmp_path: Path) -> None:
    figures = figures_of(tmp_path / "out", [[], [made_record("a.png", 1, faces=0)], [made_failure("b", "empty")]])
    assert figures.heights.sum() == figures.scores.sum() == 0
    assert figures.sides.sum() == 1
    assert not any(figures.candidates)


def test_they_do_not_grow_with_the_data_set(tmp_path: Path) -> None:
    made_large_output(tmp_path / "out", shards=12, per_shard=1200)
    figures = gather_figures(open_output(str(tmp_path / "out")))
    assert all(len(inputs) == 25 for inputs in figures.quarantined.values())
    assert all(len(candidates) == 24 for candidates in figures.candidates)
