"""Annotated boxes that do not fit: refused before any work, or another job than that which wrote the output."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from faceveil.pipeline.option_values import OptionError
from faceveil.pipeline.options import JobOptions
from tests.conftest import SKIMAGE_DATA, audit_of
from tests.test_boxes import LABELLED, REPLACE, png, said_by, write_boxes, write_labelled
from tests.test_end_to_end import FAST, faceveil, files, rows

pytestmark = pytest.mark.usefixtures("centerface")


@pytest.fixture(scope="module")
def astronaut() -> np.ndarray:
    return np.asarray(Image.open(SKIMAGE_DATA / "astronaut.png"))


@pytest.fixture(scope="module")
def records(astronaut: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_labelled(tmp_path_factory.mktemp("boxes") / "x.tfrecord", astronaut)


def test_other_boxes_are_another_job_and_the_same_elsewhere_are_not(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = ("chelsea.jpg", "coffee.jpg", "rocket.jpg")
    table = write_boxes(tmp_path / "x.csv", {key: [((5, 5, 50, 60), "a", 0)] for key in keys})
    job = ("--input", photos / "things", "--output", tmp_path / "out", "--method", "solid")
    assert faceveil("run", *job, "--boxes", table, *REPLACE) == 0
    before = files(tmp_path / "out")
    same = write_boxes(tmp_path / "y.parquet", {key: [((5, 5, 50, 60), "b", 0)] for key in reversed(keys)})
    assert "is complete already" in said_by(capsys, *job, "--boxes", same, *REPLACE, status=0)
    other = write_boxes(tmp_path / "z.csv", {key: [((5, 5, 50, 61), "a", 0)] for key in keys})
    assert "boxes: {'sha256': " in said_by(capsys, *job, "--boxes", other, *REPLACE, status=4)
    assert "boxes_mode: replace there, add here" in said_by(capsys, *job, "--boxes", table, status=4)
    assert "boxes_mode: replace there, None here" in said_by(capsys, *job, status=4)
    assert files(tmp_path / "out") == before
    plain = tmp_path / "plain"
    without = ("--input", photos / "things", "--output", plain, "--method", "solid", *FAST)
    assert faceveil("run", *without) == 0
    assert "box" not in " ".join(json.loads((plain / "manifest.json").read_text())["job"])
    assert "given_faces" not in (plain / "manifest.json").read_text()
    assert "given_faces" not in pq.read_schema(next(audit_of(plain).glob("*.parquet"))).names
    assert "boxes: None there, {" in said_by(capsys, *without, "--boxes", table, status=4)


def test_quarantined_records_are_tried_again_and_the_others_keep_their_faces(
    astronaut: np.ndarray, tmp_path: Path
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.png").write_bytes(png(astronaut))
    (folder / "b.png").write_bytes(b"")
    table = write_boxes(tmp_path / "x.csv", {"a.png": [LABELLED[0]], "b.png": [LABELLED[0]]})
    job = ("run", "--input", folder, "--output", tmp_path / "out", "--boxes", table, "--num_shards", 1, *FAST)
    assert faceveil(*job) == 3
    before = rows(tmp_path / "out")["a.png"]
    (folder / "b.png").write_bytes(png(astronaut))
    assert faceveil(*job, "--retry_quarantined") == 0
    trail = rows(tmp_path / "out")
    assert trail["a.png"] == before
    assert [face["keypoints"] is None for face in before["faces"]] == [True, False]
    assert trail["b.png"]["given_faces"] == 1
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["totals"]["given_faces"] == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--boxes_mode", "add"), "--boxes_mode: is for the boxes of --boxes, which names none"),
        (("--boxes_mode", "replace"), "--boxes_mode: is for the boxes of --boxes, which names none"),
        (("--box_classes", "plate"), "--box_classes: is for the boxes of --boxes, which names none"),
        (("--boxes", "/data/boxes.tsv"), "--boxes /data/boxes.tsv: must be a file that ends in .csv, .parquet, .json"),
        (("--boxes", "gs://bucket/boxes"), "--boxes gs://bucket/boxes: must be a file that ends in .csv, .parquet"),
        (
            ("--boxes", "plate/bbox"),
            "--boxes plate/bbox/xmin: is no feature of all 2 records; did you mean plates/bbox/xmin?",
        ),
        (
            ("--boxes", "boxes.tsv"),
            "If boxes are in a file, name one that ends in .csv, .parquet or .json",
        ),
        (
            ("--boxes", "plates/bbox", "--box_classes", "plat"),
            "--box_classes plat: no box of all 2 records is of this class; did you mean plate? There are: 1, 2, 3,",
        ),
        (
            ("--boxes", "plates/bbox", *REPLACE, "--quality", "thorough"),
            "--quality: no detector runs with --boxes_mode",
        ),
        (
            ("--boxes", "plates/bbox", *REPLACE, "--model", "centerface"),
            "--model: no detector runs with --boxes_mode r",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused_before_any_work(
    options: tuple[str, ...], said: str, records: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in said_by(capsys, "--input", records, "--output", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


def test_synthesize_needs_a_detector(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FACEVEIL_SALT", "0123456789abcdef0123456789abcdef")
    with pytest.raises(OptionError, match="--method synthesize: draws what a detector has found"):
        JobOptions(input=(str(records),), output="x", boxes="a/b", boxes_mode="replace", method="synthesize")


@pytest.mark.parametrize(
    ("name", "content", "options", "said", "status"),
    [
        ("gone.csv", None, (), "gone.csv: cannot be read: No such file or directory", 5),
        ("x.csv", "key,xmin\na,1\n", (), "x.csv: needs a column ymin, once; it has key, xmin", 2),
        ("x.parquet", "no", (), "x.parquet: cannot be read as such a file", 2),
        ("x.json", "{}", (), "x.json: is no COCO JSON of images and annotations: 'images' is missing", 2),
        (
            "x.csv",
            "key,xmin,ymin,xmax,ymax\nthings/coffee.jpg,1,2,3,4\n",
            (),
            "x.csv: names none of the inputs. Its first key is things/coffee.jpg, the inputs have chelsea.jpg;",
            2,
        ),
        (
            "x.csv",
            "key,xmin,ymin,xmax,ymax,label\ncoffee.jpg,1,2,3,4,plate\n",
            ("--box_classes", "plates"),
            "x.csv: no box is of class plates; did you mean plate? There are: plate",
            2,
        ),
    ],
)
def test_a_file_that_is_none_or_speaks_of_others_is_refused_before_any_work(
    name: str,
    content: str | None,
    options: tuple[str, ...],
    said: str,
    status: int,
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    job = ("--input", photos / "things", "--output", tmp_path / "out", "--boxes", tmp_path / name, *options)
    assert f"faceveil: --boxes {tmp_path}{os.sep}" in (told := said_by(capsys, *job, status=status))
    assert said in told
    assert not (tmp_path / "out").exists()


def test_image_files_have_no_features(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = ("--input", photos / "things", "--output", tmp_path / "out", "--boxes", "image/object/bbox")
    assert "--boxes image/object/bbox: image files have no features; name one that ends in" in said_by(capsys, *job)
