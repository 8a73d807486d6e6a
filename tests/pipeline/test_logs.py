"""What the command says, and how, by `--quiet`, `--log_format` and `--traceback`: read from its two streams."""

import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.conftest import noise_image

BROKEN = """
import sys
import faceveil.pipeline.launch
from faceveil.pipeline import cli

def broken(*_):
    raise KeyError("no such thing")

faceveil.pipeline.launch.prepare = broken
sys.exit(cli.main(sys.argv[1:]))
"""


@pytest.fixture
def job(tmp_path: Path) -> list[str]:
    """A small one without a detector: a photo with a box, and one that is none."""
    (tmp_path / "in").mkdir()
    Image.fromarray(noise_image(48, 64)).save(tmp_path / "in" / "photo.jpg")
    (tmp_path / "in" / "cut.jpg").write_bytes((tmp_path / "in" / "photo.jpg").read_bytes()[:900])
    (tmp_path / "boxes.csv").write_text("key,xmin,ymin,xmax,ymax\nphoto.jpg,8,8,24,24\ncut.jpg,,,,\n")
    boxes = ["--boxes", str(tmp_path / "boxes.csv"), "--boxes_mode", "replace", "--max_quarantined", "1"]
    return ["run", "--input", str(tmp_path / "in" / "*"), *boxes, "--output", str(tmp_path / "out")]


def run(*arguments: str, script: str | None = None) -> subprocess.CompletedProcess[str]:
    start = ["-c", script] if script else ["-m", "faceveil"]
    return subprocess.run([sys.executable, *start, *arguments], capture_output=True, text=True, check=False)


def as_json(lines: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


def test_each_message_and_the_result_are_lines_of_json(job: list[str], tmp_path: Path) -> None:
    ended = run(*job, "--log_format", "json")
    assert ended.returncode == 0
    [result] = as_json(ended.stdout)
    assert (result["output"], result["made"]) == (str(tmp_path / "out"), 2)
    assert result["totals"] == json.loads((tmp_path / "out" / "manifest.json").read_bytes())["totals"]
    assert result["totals"]["quarantined"] == 1
    said = as_json(ended.stderr)
    assert {each["severity"] for each in said} == {"INFO", "WARNING"}
    assert [each["message"] for each in said if each["severity"] == "WARNING" and "cut.jpg" in each["message"]]
    assert all(each["logger"].startswith("faceveil") for each in said)
    ages = [datetime.now(UTC) - datetime.fromisoformat(each["time"]) for each in said]
    assert all(timedelta(0) <= age < timedelta(hours=1) for age in ages)
    *_, progress = [each for each in said if "records" in each]
    assert {name: progress[name] for name in ("records", "images", "faces", "quarantined")} == {
        **{"records": 2, "images": 2},
        **{"faces": 1, "quarantined": 1},
    }


def test_errors_are_json_with_their_type_and_status(job: list[str]) -> None:
    ended = run(*job, "--log_format=json", "--method", "foo")
    [error] = as_json(ended.stderr)
    assert ended.returncode == error["exit_status"] == 2
    assert (error["severity"], error["error"]) == ("ERROR", "OptionError")
    assert error["message"].startswith("--method foo: must be one of")
    assert "traceback" not in error
    broken = run(*job, "--log_format", "json", script=BROKEN)
    *_, bug = as_json(broken.stderr)
    assert (broken.returncode, bug["severity"]) == (1, "CRITICAL")
    assert bug["message"] == "a bug in faceveil: KeyError: 'no such thing'"
    assert "in broken" in bug["traceback"]


def test_quiet_leaves_warnings_and_errors(job: list[str]) -> None:
    ended = run(*job, "--quiet")
    assert (ended.returncode, ended.stdout) == (0, "")
    assert all(line.startswith("WARNING ") for line in ended.stderr.splitlines())
    refused = run(*job, "--quiet", "--method", "pixelate")
    assert (refused.returncode, refused.stdout) == (4, "")
    assert refused.stderr.startswith("faceveil: ")
    assert "Traceback" not in refused.stderr


def test_where_an_error_came_from_is_told_if_asked(job: list[str]) -> None:
    ended = run(*job, "--traceback", "--method", "foo")
    assert ended.returncode == 2
    assert "Traceback (most recent call last):" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("faceveil: --method foo: must be one of")


def test_what_json_cannot_hold_is_spelt_out() -> None:
    from faceveil.pipeline.console import json_line

    told = json.loads(json_line("INFO", "faceveil", "a\udcff\nü", 1.0, {"rate": 0.5}))
    assert (told["message"], told["rate"]) == ("a\\udcff\nü", 0.5)
