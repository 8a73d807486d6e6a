"""Native code that crashes or hangs on an image, as users see it: the job goes on without that image.

No codec is known to crash, so one is made to: Python imports ``sitecustomize`` at its start, in the job and
in the processes that it starts, and there the JPEG decoder gets a weakness for two comments.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_end_to_end import FAST, examples, faceveil, files, rows

pytestmark = pytest.mark.usefixtures("centerface")

WEAKNESS = """
import ctypes, time
import simplejpeg

decode = simplejpeg.decode_jpeg

def decode_jpeg(data, *args, **kwargs):
    if b"CRASH" in bytes(data):
        ctypes.string_at(0)
    if b"HANG" in bytes(data):
        time.sleep(3600)
    return decode(data, *args, **kwargs)

simplejpeg.decode_jpeg = decode_jpeg
"""


def with_comment(jpeg: bytes, text: bytes) -> bytes:
    return jpeg[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + jpeg[2:]


def run_weakened(folder: Path, *arguments: object, weakness: str = WEAKNESS) -> subprocess.CompletedProcess[str]:
    """The command, in processes whose JPEG decoder is weak."""
    (folder / "site").mkdir(exist_ok=True)
    (folder / "site" / "sitecustomize.py").write_text(weakness)
    environment = os.environ | {"PYTHONPATH": f"{folder / 'site'}{os.pathsep}{ROOT}"}
    command = [sys.executable, "-m", "faceveil", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture
def inputs(photos: Path, tmp_path: Path) -> Path:
    """Photos, one that crashes the decoder, and one that it hangs on, in different shards."""
    folder = tmp_path / "in"
    folder.mkdir()
    photo = (photos / "people" / "portrait.jpeg").read_bytes()
    for number in range(6):
        (folder / f"{number}.jpg").write_bytes(photo)
    (folder / "crash.jpg").write_bytes(with_comment(photo, b"CRASH"))
    (folder / "hang-2.jpg").write_bytes(with_comment(photo, b"HANG"))
    return folder


def test_a_crash_and_a_hang_cost_one_record_each(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    options = ("--num_shards", 2, "--image_timeout", 10, "--max_quarantined", 1, *FAST)
    run = run_weakened(tmp_path, "run", "--input", f"{inputs}/*", "--output", output, *options)
    assert run.returncode == 0, run.stderr
    # The first of the two ends the process; after that the whole bundle is made in a sandbox.
    assert len(re.findall(r"faceveil: crashed \(SIG(SEGV|ABRT)\); the job resumes", run.stderr)) == 1
    assert "an earlier attempt crashed; from here on records are made in a sandbox" in run.stderr
    found = rows(output)
    assert {key: row["reason"] for key, row in found.items() if row["reason"]} == {
        "crash.jpg": "crashed",
        "hang-2.jpg": "timed_out",
    }
    assert len(found) == 8
    assert sorted(examples(output)) == [f"{number}.jpg" for number in range(6)]
    assert not [name for name in files(output) if "attempt" in name or "lock" in name]
    # With a sound decoder, trying again gives what a run without a fault gives: the careful way changes no byte.
    job = ("run", "--input", f"{inputs}/*", "--num_shards", 2, *FAST, "--output")
    assert faceveil(*job, output, "--retry_quarantined") == 0
    assert faceveil(*job, tmp_path / "fresh") == 0
    assert files(output) == files(tmp_path / "fresh")


@pytest.fixture
def several(photos: Path, tmp_path: Path) -> Path:
    """Photos of which two crash the decoder, in two of four shards."""
    folder = tmp_path / "in"
    folder.mkdir()
    photo = (photos / "people" / "portrait.jpeg").read_bytes()
    for number in range(8):
        (folder / f"{number}.jpg").write_bytes(photo)
    for number in (0, 4):
        (folder / f"crash-{number}.jpg").write_bytes(with_comment(photo, b"CRASH"))
    return folder


def test_to_overwrite_and_to_retry_count_for_the_first_start_only(several: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    job = ("run", "--input", f"{several}/*", "--output", output, "--num_shards", 4, "--max_quarantined", 1, *FAST)
    assert faceveil(*job, "--method", "bar") == 0
    for more, most_crashes in ((("--overwrite",), 2), (("--retry_quarantined",), 1)):
        run = run_weakened(tmp_path, *job, *more)
        assert run.returncode == 0, run.stderr
        # Each shard crashes once; to begin anew after each crash would add all that were made before.
        assert 1 <= run.stderr.count("faceveil: crashed (SIGSEGV); the job resumes") <= most_crashes
        assert sorted(key for key, row in rows(output).items() if row["reason"] == "crashed") == [
            f"crash-{number}.jpg" for number in (0, 4)
        ]
        assert len(rows(output)) == 10
        assert {row["method"] for row in rows(output).values()} == {"blur"}


def test_a_worker_of_several_that_crashes_costs_one_record(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    (inputs / "hang-2.jpg").unlink()
    processes = ("--direct_running_mode", "multi_processing", "--direct_num_workers", 2)
    options = ("--num_shards", 4, "--max_quarantined", 1, *processes, *FAST)
    run = run_weakened(tmp_path, "run", "--input", f"{inputs}/*", "--output", output, *options)
    assert run.returncode == 0, run.stderr
    assert "faceveil: a worker process has died (SIGSEGV)" in run.stderr
    assert "Traceback" not in run.stderr
    assert {key: row["reason"] for key, row in rows(output).items() if row["reason"]} == {"crash.jpg": "crashed"}
    assert len(rows(output)) == 7


def test_what_ends_its_process_by_itself_is_a_crash(inputs: Path, tmp_path: Path) -> None:
    (inputs / "hang-2.jpg").unlink()
    output = tmp_path / "out"
    ending = WEAKNESS.replace("ctypes.string_at(0)", "__import__('os')._exit(127)")
    options = ("--num_shards", 2, "--max_quarantined", 1, *FAST)
    run = run_weakened(tmp_path, "run", "--input", f"{inputs}/*", "--output", output, *options, weakness=ending)
    assert run.returncode == 0, run.stderr
    assert "faceveil: crashed (exit status 127); the job resumes" in run.stderr
    assert {key: row["reason"] for key, row in rows(output).items() if row["reason"]} == {"crash.jpg": "crashed"}


def test_a_job_on_hold_is_not_taken_for_a_hanging_one(photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "faceveil", "run", "--input", f"{photos}/**", "--output", str(tmp_path / "out")]
    process = subprocess.Popen([*command, *FAST, "--image_timeout", "2"], cwd=ROOT, start_new_session=True)
    while not list(tmp_path.glob("out.audit/.*.attempt")):
        assert process.poll() is None
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGSTOP)
    time.sleep(4)
    os.killpg(process.pid, signal.SIGCONT)
    assert process.wait(timeout=60) == 0
