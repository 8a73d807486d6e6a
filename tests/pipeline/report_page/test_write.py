"""The page that a job leaves: beside its audit trail, of its last state, never in its output, no reason to fail."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from faceveil.pipeline.cli import main
from faceveil.pipeline.report_page.page import Run
from faceveil.pipeline.report_page.write import MAX_PAGE_BYTES, make_page, remove_page
from faceveil.pipeline.written_output import open_output
from tests.conftest import SKIMAGE_DATA, audit_of, copy_output, files_of_output
from tests.made_outputs import made_large_output, made_output, made_record

BOXES = "key,xmin,ymin,xmax,ymax\neileen.png,190,60,270,185\nrocket.jpg,,,,\ncut.jpg,,,,\n"
"""With them no detector is loaded, which would take most of the time."""


def faceveil(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def job(folder: Path, *more: object) -> int:
    named = "--input", f"{folder / 'in'}/**", "--output", folder / "out", "--max_quarantined", 1
    (folder / "boxes.csv").write_text(BOXES)
    return faceveil("run", *named, "--boxes", folder / "boxes.csv", "--boxes_mode", "replace", *more)


def page_of(output: Path) -> str:
    return (audit_of(output) / "_report.html").read_text()


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    (folder / "in").mkdir()
    shutil.copy(SKIMAGE_DATA / "astronaut.png", folder / "in" / "eileen.png")
    shutil.copy(SKIMAGE_DATA / "rocket.jpg", folder / "in")
    (folder / "in" / "cut.jpg").write_bytes((SKIMAGE_DATA / "rocket.jpg").read_bytes()[:5000])
    assert job(folder, "--num_shards", 2) == 0
    return folder


def test_a_job_leaves_a_page_beside_its_audit_trail(done: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = page_of(done / "out")
    assert "eileen.png" in page
    assert "cut.jpg" in page
    assert "3 records made in" in page
    assert page.count("data:image/jpeg") == 1
    assert {path.suffix for path in (done / "out").rglob("*")} == {".tfrecord", ".json"}
    # Where it is complete, nothing is done to it.
    before = (audit_of(done / "out") / "_report.html").stat().st_mtime_ns
    capsys.readouterr()
    assert job(done, "--num_shards", 2) == 0
    assert f"see {done}/out.audit/_report.html" in capsys.readouterr().out
    assert (audit_of(done / "out") / "_report.html").stat().st_mtime_ns == before


def test_it_tells_the_last_state(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done / "in", tmp_path / "in")
    copy_output(done / "out", tmp_path / "out")
    stale = audit_of(tmp_path / "out") / "_report.html"
    stale.write_text(stale.read_text().replace("eileen.png", "from before"))
    shutil.copy(SKIMAGE_DATA / "rocket.jpg", tmp_path / "in" / "cut.jpg")
    os.utime(tmp_path / "in" / "eileen.png", ns=((done / "in" / "eileen.png").stat().st_mtime_ns,) * 2)
    os.utime(tmp_path / "in" / "rocket.jpg", ns=((done / "in" / "rocket.jpg").stat().st_mtime_ns,) * 2)
    assert job(tmp_path, "--num_shards", 2, "--retry_quarantined") == 0
    page = page_of(tmp_path / "out")
    assert "from before" not in page
    assert "Nothing: every input was anonymized" in page
    # Anew with other settings.
    assert job(tmp_path, "--num_shards", 1, "--method", "pixelate", "--overwrite") == 0
    assert "pixelate" in page_of(tmp_path / "out")


def test_no_page_is_no_failure_but_told(done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy_output(done / "out", tmp_path / "out")
    page = audit_of(tmp_path / "out") / "_report.html"
    page.unlink()
    page.mkdir()  # nothing can be written there
    shutil.copytree(done / "in", tmp_path / "in")
    assert job(tmp_path, "--num_shards", 2, "--overwrite") == 0
    assert files_of_output(tmp_path / "out").keys() == files_of_output(done / "out").keys()
    said = capsys.readouterr()
    assert "see " not in said.out
    page.rmdir()
    # The next one makes up for it, and a file of a user's own is left alone.
    assert job(tmp_path, "--num_shards", 2) == 0
    assert "eileen.png" in page.read_text()
    page.write_text("<html>mine</html>")
    assert job(tmp_path, "--num_shards", 2, "--overwrite") == 0
    assert page.read_text() == "<html>mine</html>"
    assert faceveil("report", tmp_path / "out") == 5
    assert "is no report of faceveil, so it is not replaced" in capsys.readouterr().err


def test_equal_outputs_have_equal_pages_but_for_times(done: Path, tmp_path: Path) -> None:
    shutil.copytree(done / "in", tmp_path / "in", copy_function=shutil.copy2)
    assert job(tmp_path, "--num_shards", 2) == 0
    plain = [
        re.sub(r"<meta name=.faceveil-run.*?>|\d{4}-\d\d-\d\d.*?/s", "", page_of(f / "out")) for f in (done, tmp_path)
    ]
    assert plain[0] == plain[1]


def test_a_page_of_a_trail_in_the_output_is_written_elsewhere_or_not_at_all(
    done: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(done / "in", tmp_path / "in")
    trail = tmp_path / "out" / "trail"
    assert job(tmp_path, "--records_output", trail) == 0
    assert not list(tmp_path.rglob("*.html"))
    assert faceveil("report", tmp_path / "out", "--records_output", trail) == 2
    assert "lies in the output, which is for publication" in capsys.readouterr().err
    assert faceveil("report", tmp_path / "out", "--records_output", trail, "--output", tmp_path / "page.html") == 0
    assert "eileen.png" in (tmp_path / "page.html").read_text()


def test_it_is_small_whatever_the_data_set(tmp_path: Path) -> None:
    made_large_output(tmp_path / "out", shards=20, per_shard=300)
    output = open_output(str(tmp_path / "out"))
    page = make_page(output, None)
    assert len(page) < 1_000_000 < MAX_PAGE_BYTES
    assert make_page(output, None) == page


def test_long_texts_are_cut(tmp_path: Path) -> None:
    ignored = {f".{n}": {"files": 1, "reasons": {"x" * 9999: 1}, "examples": ["y" * 9999]} for n in range(2000)}
    job: dict[str, Any] = {
        "image_feature": ["feature" * 20] * 5000,
        "num_shards": {f"split{n}": 1 for n in range(9999)},
    }
    made_output(tmp_path / "out", [[made_record("a.png", 1)]], ignored=ignored, **job)
    assert len(make_page(open_output(str(tmp_path / "out")), None)) < 500_000


def test_writing_it_again_keeps_what_it_says_of_the_run(tmp_path: Path) -> None:
    made_output(tmp_path / "out", [[made_record("a.png", 1)]])
    output = open_output(str(tmp_path / "out"))
    page = audit_of(tmp_path / "out") / "_report.html"
    page.write_bytes(make_page(output, Run("2026-12-01 09:04 UTC", 75.0, 9)))
    before = page.read_bytes()
    assert faceveil("report", tmp_path / "out") == 0
    assert page.read_bytes() == before
    remove_page(str(audit_of(tmp_path / "out")))
    assert faceveil("report", tmp_path / "out", "--output", tmp_path / "elsewhere.html") == 0
    assert "records made in" not in (tmp_path / "elsewhere.html").read_text()
    assert not page.exists()


def test_a_damaged_trail_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_output(tmp_path / "out", [[made_record("a.png", 1)]])
    trail = next(audit_of(tmp_path / "out").glob("*.parquet"))
    trail.write_bytes(trail.read_bytes()[:-20])
    assert faceveil("report", tmp_path / "out") == 5
    assert "is no records file of faceveil" in capsys.readouterr().err
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    (tmp_path / "out" / "manifest.json").write_text(json.dumps(manifest | {"schema": 7}))
    assert faceveil("report", tmp_path / "out") == 4
