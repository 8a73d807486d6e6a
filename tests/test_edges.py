"""Jobs where a machine's streams, paths and folders are not as usual: they are done, or say in a line why not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.containers import mount_namespace
from tests.test_end_to_end import FAST, command
from tests.test_restarts import started

pytestmark = pytest.mark.usefixtures("centerface")


@pytest.fixture(scope="module")
def inputs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    for name in ("portrait.jpeg", "astronaut.JPG"):
        shutil.copy(photos / "people" / name, folder)
    return folder


def job(inputs: Path, output: object, *more: object) -> list[str]:
    return command("run", "--input", f"{inputs}/*", "--output", output, *FAST, *more)


def in_shell(script: str, arguments: list[str], cwd: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """Runs a script in which ``"$@"`` is the command."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    shell = ["bash", "-c", f"set -o pipefail; {script}", "bash", *arguments]
    return subprocess.run(shell, cwd=cwd, env=environment, capture_output=True, text=True, check=False)


def is_complete(output: Path) -> bool:
    manifest = output / "manifest.json"
    return manifest.exists() and json.loads(manifest.read_text())["totals"]["records"] == 2


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(
            '"$@" > /dev/full', marks=pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
        ),
        '"$@" | true',
        '"$@" >&-',
        '"$@" 2>&-',
        '"$@" <&- >&- 2>&-',
    ],
)
def test_a_job_is_done_whether_or_not_its_report_can_be_written(inputs: Path, tmp_path: Path, script: str) -> None:
    ended = in_shell(script, job(inputs, tmp_path / "out"))
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert is_complete(tmp_path / "out")
    if "full" in script:
        assert "faceveil: standard output cannot be written" in ended.stderr
        assert "2 records: 2 anonymized" in ended.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
def test_what_only_prints_fails_if_it_cannot() -> None:
    ended = in_shell('"$@" > /dev/full', command("models"))
    assert ended.returncode == 5
    assert "Traceback" not in ended.stderr
    for arguments in (["models"], ["run", "--help"]):
        ended = in_shell('"$@" | head -1', command(*arguments))
        assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has no such paths")
def test_an_output_need_not_be_utf8(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / os.fsdecode(b"o\xff")
    ended = subprocess.run(job(inputs, output), cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert f"1 shard and manifest.json in {tmp_path}/o\\xff\n" in ended.stdout
    assert is_complete(output)
    again = subprocess.run(job(inputs, output), cwd=ROOT, capture_output=True, text=True, check=False)
    assert again.returncode == 0
    assert "o\\xff is complete already" in again.stderr


@pytest.mark.parametrize(
    ("script", "variables"),
    [
        ('umask 077; "$@"', {}),
        ('env -u HOME nice -n 19 "$@"', {}),
        ('"$@"', {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}),
        ('mkdir -p gone/deep && cd gone/deep && rm -r ../../gone && "$@"', {}),
        ('trap "" HUP INT TERM PIPE; "$@"', {}),
    ],
)
def test_a_job_is_done_in_odd_surroundings(
    inputs: Path, tmp_path: Path, script: str, variables: dict[str, str]
) -> None:
    ended = in_shell(script, job(inputs, tmp_path / "out"), cwd=tmp_path, **variables)
    assert ended.returncode == 0, ended.stderr
    assert is_complete(tmp_path / "out")


def test_an_output_that_is_removed_while_a_job_runs_is_noticed(inputs: Path, tmp_path: Path) -> None:
    many, output = tmp_path / "in", tmp_path / "out"
    many.mkdir()
    for number in range(40):
        shutil.copy(inputs / "astronaut.JPG", many / f"{number}.jpg")
    arguments = job(many, output, "--num_shards", 10)
    with started(arguments, output, 2) as process:
        output.rename(tmp_path / "removed")  # at once, while the job makes and removes files in it
        _, told = process.communicate(timeout=120)
    assert process.returncode == 5
    # In the middle of a shard, or between two of them.
    assert "cannot be written" in told or "was removed while the job ran" in told
    assert "Traceback" not in told
    assert not (output / "manifest.json").exists()
    subprocess.run(arguments, cwd=ROOT, check=True)
    assert json.loads((output / "manifest.json").read_text())["totals"]["records"] == 40
    assert len(list(output.glob("*.tfrecord"))) == 10


def test_a_disk_that_is_full_ends_the_job_and_the_same_command_goes_on(inputs: Path, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (
        f"mount -t tmpfs -o size=8m tmpfs {disk} && head -c 8290000 /dev/zero > {disk}/others "
        f'&& {{ "$@"; echo "status $?"; }} && rm {disk}/others && "$@" && ls {disk}/out'
    )
    ended = subprocess.run(
        [*mount_namespace(), "sh", "-c", script, "sh", *job(inputs, disk / "out")],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert "status 5\n" in ended.stdout
    assert "manifest.json" in ended.stdout


@pytest.mark.skipif(os.getuid() == 0, reason="the super-user may write everywhere")
def test_an_output_that_may_not_be_written_is_named(inputs: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir(mode=0o500)
    ended = subprocess.run(job(inputs, tmp_path / "out"), cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 5
    assert ended.stderr.splitlines()[-1].startswith(f"faceveil: {tmp_path}/out")
