import sys
from pathlib import Path

import pytest

from benchmarks.measure import Command, run

_WORK = """
import pathlib, sys, time
for number in range(10):
    time.sleep(0.06)
    pathlib.Path(sys.argv[1], f"{number}.done").touch()
time.sleep(1)  # what is done as a command ends may be seen by nobody
"""


def _done(folder: Path) -> int:
    return len(list(folder.glob("*.done")))


def test_a_command_is_watched_from_its_first_image_on(tmp_path: Path) -> None:
    slow_start = "import time; time.sleep(0.7)\n" + _WORK
    measured = run(Command("x", [sys.executable, "-c", slow_start, str(tmp_path)], _done), tmp_path)
    assert measured.images == 10
    assert measured.first_image_seconds > 0.7
    assert measured.images_per_second > 0
    assert measured.peak_bytes > 10**6


def test_a_command_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)x: exit status 3.*no photos"):
        run(Command("x", [sys.executable, "-c", "print('no photos'); raise SystemExit(3)"], _done), tmp_path)
