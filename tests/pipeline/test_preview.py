"""What is previewed is what a job does, on a sheet of nothing but pixels."""

from __future__ import annotations

import io
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageChops

from faceveil.pipeline.anonymizer import Anonymizer
from faceveil.pipeline.cli import main
from faceveil.pipeline.terminal_pictures import protocol_of
from tests.conftest import SKIMAGE_DATA

pytestmark = pytest.mark.usefixtures("centerface_int8")
FAST = ["--quality", "fast", "--detect_size", "320"]


def faceveil(*arguments: object) -> int:
    return main(["preview", *map(str, arguments)])


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    shutil.copy(SKIMAGE_DATA / "astronaut.png", "in/eileen.png")
    shutil.copy(SKIMAGE_DATA / "rocket.jpg", "in")
    Path("in/cut.jpg").write_bytes((SKIMAGE_DATA / "rocket.jpg").read_bytes()[:5000])
    return tmp_path


def test_a_photo_is_shown_as_it_would_be_anonymized(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert faceveil("in/eileen.png", "--output", "sheet.png", *FAST) == 0
    said = capsys.readouterr()
    assert re.fullmatch(r"eileen\.png: 1 face, score 0\.\d\d\nsee sheet\.png\n", said.out)
    sheet = Image.open("sheet.png").convert("RGB")
    assert not Image.open("sheet.png").info
    made = Anonymizer(quality="fast", detect_size=320).anonymize((folder / "in" / "eileen.png").read_bytes())
    anonymized = Image.open(io.BytesIO(made)).convert("RGB")
    shown = sheet.crop((14, 14, 14 + anonymized.width, 14 + anonymized.height))
    different = np.asarray(ImageChops.difference(shown, anonymized)).max(axis=2) > 0
    # But for the outline and the score: the same pixels, inside the mask too.
    assert 0.001 < different.mean() < 0.02
    assert not different[100:140, 210:250].any()
    assert sorted(os.listdir()) == ["in", "sheet.png"]


def test_several_photos_are_on_one_sheet_and_failures_are_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert faceveil("in/**", *FAST) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("cut.jpg: would be quarantined: truncated")
    assert said[1].startswith("eileen.png: 1 face")
    assert said[2:] == ["rocket.jpg: no faces", "see faceveil-preview.png"]
    assert Image.open("faceveil-preview.png").width > 3 * 500
    del folder


@pytest.mark.parametrize(
    ("compared", "columns"),
    [("quality", ["fast", "balanced", "thorough"]), ("method", ["blur", "pixelate", "bar", "solid"])],
)
def test_alternatives_are_side_by_side(
    folder: Path, capsys: pytest.CaptureFixture[str], compared: str, columns: list[str]
) -> None:
    Image.open("in/eileen.png").crop((120, 0, 340, 220)).save(folder / "small.png")
    assert faceveil("small.png", "--compare", compared) == 0
    said = capsys.readouterr()
    told = [line.partition(":")[0] for line in said.out.splitlines()[:-1]]
    assert told == (columns if compared == "quality" else ["small.png"])
    sheet = Image.open("faceveil-preview.png")
    assert sheet.width == 14 + len(columns) * (220 + 14)
    if compared == "method":
        assert "synthesize is left out: it needs a secret salt" in said.err
        parts = [sheet.crop((14 + n * 234, 48, 234 + n * 234, 268)).tobytes() for n in range(len(columns))]
        assert len(set(parts)) == len(columns)


def test_of_many_photos_the_same_few_are_taken(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(20):
        Image.new("RGB", (40, 40), (number, 0, 0)).save(folder / "in" / f"{number:02}.png")
    said = []
    for _ in range(2):
        assert faceveil("in/*.png", "--exclude", "eileen*", *FAST) == 0
        said.append(capsys.readouterr())
    assert said[0] == said[1]
    assert len(said[0].out.splitlines()) == 12 + 1
    assert "12 of 20 photos are shown" in said[0].err


def test_a_jobs_configuration_is_taken(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    job = "input: in/*.png\noutput: out\nmethod: solid\nquality: fast\ndirect_num_workers: 2\nnum_shards: 3\n"
    (folder / "job.yaml").write_text(job)
    assert faceveil("--config", "job.yaml") == 0
    assert capsys.readouterr().out.startswith("eileen.png: 1 face")
    black = np.asarray(Image.open("faceveil-preview.png"))[120:150, 225:255]
    assert black.max() == 0
    assert not (folder / "out").exists()


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        ([], 2, "PHOTO: is required"),
        (["gone.jpg"], 5, "gone.jpg"),
        (["in/eileen.png", "--output", "sheet.jpg"], 2, "--output sheet.jpg: must end in .png"),
        (["in/eileen.png", "--output", "in.png/"], 2, "must end in .png"),
        (["in/eileen.png", "--score_threshold", "7"], 2, "--score_threshold 7: must be more than 0"),
        (["in/eileen.png", "--method", "bar", "--strength", "0.5"], 2, "--strength: is for"),
        (["records.tfrecord"], 2, "cannot be previewed"),
    ],
)
def test_refusals(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], status: int, said: str
) -> None:
    from faceveil.transforms.formats.tfrecord import frame

    (folder / "records.tfrecord").write_bytes(frame(b"a"))
    assert faceveil(*arguments) == status
    assert said in capsys.readouterr().err
    assert not list(folder.glob("*.png"))


def test_terminals_are_known_by_what_they_say() -> None:
    assert protocol_of({"TERM": "xterm-ghostty"}, True) == "kitty"
    assert protocol_of({"TERM": "xterm-256color", "KONSOLE_VERSION": "220401"}, True) == "kitty"
    assert protocol_of({"TERM_PROGRAM": "WezTerm", "TERM": "xterm"}, True) == "iterm2"
    assert protocol_of({"LC_TERMINAL": "iTerm2"}, True) == "iterm2"
    assert protocol_of({"TERM": "xterm-kitty", "TMUX": "/tmp/1"}, True) is None  # noqa: S108
    assert protocol_of({}, True) is None
