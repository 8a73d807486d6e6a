"""Whole jobs whose faces one detector proposes and another verifies."""

import json
import subprocess
from pathlib import Path

from tests.conftest import ROOT
from tests.test_end_to_end import command, faceveil, files, rows

PAIR = ("--model", "yunet-s", "--verifier", "centerface-covered-int8")


def test_both_models_are_told_and_decide_about_the_output(photos: Path, tmp_path: Path) -> None:
    job = ("run", "--input", f"{photos}/**", "--num_shards", 3)
    assert faceveil(*job, *PAIR, "--output", tmp_path / "out") == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["model"]["name"] == "yunet-s+centerface-covered-int8"
    assert manifest["job"]["verifies"]
    assert (manifest["totals"]["anonymized"], manifest["totals"]["no_faces"]) == (3, 3)
    [face] = rows(tmp_path / "out")["people/space/astronaut.png"]["faces"]
    assert all(abs(face[side] - at) < 8 for side, at in (("x0", 178), ("y0", 63), ("x1", 268), ("y1", 176)))
    before = files(tmp_path / "out")
    # The same detectors side by side, or one alone, make another output.
    assert faceveil(*job, "--model", *PAIR[1::2], "--output", tmp_path / "out") == 4
    assert faceveil(*job, *PAIR[:2], "--output", tmp_path / "out") == 4
    assert files(tmp_path / "out") == before
    assert faceveil(*job, *PAIR, "--output", tmp_path / "out") == 0


def test_the_same_bytes_come_out_of_several_processes(photos: Path, tmp_path: Path) -> None:
    job = ("run", "--input", f"{photos}/**", "--num_shards", 3, *PAIR)
    more = ("--direct_num_workers=2", "--direct_running_mode=multi_processing")
    assert faceveil(*job, "--output", tmp_path / "one") == 0
    subprocess.run(command(*job, "--output", tmp_path / "two", *more), check=True, cwd=ROOT)
    assert files(tmp_path / "one") == files(tmp_path / "two")
