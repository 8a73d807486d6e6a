"""What cannot work is said in one line, with the right exit status and, where possible, before any work."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.test_end_to_end import FAST, faceveil

pytestmark = pytest.mark.usefixtures("centerface")


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--input", "nothing/*.jpg"], 5, "nothing"),
        (["--input", "{photos}/**", "--model", "nowhere"], 5, "nowhere"),
        (["--input", "{photos}/**", "--coverage", "7"], 2, "--coverage 7"),
        (["--input", "{photos}/**", "--colour", "red"], 2, "--colour: unrecognized argument"),
        (["--input", "{photos}/**", "--config", "none.yaml"], 2, "none.yaml"),
        ([], 2, "--input: is required"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(
    photos: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    message: str,
) -> None:
    given = [argument.format(photos=photos) for argument in arguments]
    assert faceveil("run", *given, "--output", tmp_path / "out") == status
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_an_output_that_cannot_be_written(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert faceveil("run", "--input", f"{photos}/**", "--output", tmp_path / "file" / "out") == 5
    assert str(tmp_path / "file") in capsys.readouterr().err


def test_what_a_worker_cannot_write_is_said_in_one_line(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    records = tmp_path / "file" / "records"
    job = ("run", "--input", f"{photos}/people/*", "--output", tmp_path / "out", "--records_output", records, *FAST)
    assert faceveil(*job) == 5
    said = capsys.readouterr().err
    assert re.search(r"^faceveil: .*/file/records.*: cannot be written: .*Not a directory: '.*'$", said, re.MULTILINE)
    assert "Traceback" not in said
