"""Jobs with too little memory, by ``ulimit``: no photo is quarantined for it, and with more of it the job goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import skimage.data
from PIL import Image

from tests.conftest import ROOT
from tests.test_end_to_end import command, files, rows

pytestmark = [
    pytest.mark.usefixtures("centerface"),
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the address space"),
]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    photo = Image.fromarray(skimage.data.astronaut())
    for number, (ending, size) in enumerate(
        [("jpg", 600), ("jpg", 4500), ("webp", 4500), ("png", 2500), ("jpg", 4500)]
    ):
        photo.resize((size, size)).save(folder / f"{number}.{ending}")
    return folder


def job(large: Path, output: Path) -> list[str]:
    return command("run", "--input", f"{large}/*", "--output", output, "--num_shards", 2, "--detect_size", 320)


@pytest.fixture(scope="module")
def whole(large: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The files of a job that has all the memory that it wants."""
    output = tmp_path_factory.mktemp("whole") / "out"
    subprocess.run(job(large, output), cwd=ROOT, check=True)
    return files(output)


@pytest.fixture(scope="module")
def kilobytes_taken(large: Path, tmp_path_factory: pytest.TempPathFactory) -> int:
    """The address space of a job that is about to make its first shard."""
    output = tmp_path_factory.mktemp("begun") / "out"
    process = subprocess.Popen(job(large, output), cwd=ROOT, start_new_session=True)
    while not list(output.glob("records/.*.attempt")):
        assert process.poll() is None
        time.sleep(0.01)
    [child] = map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
    status = Path(f"/proc/{child}/status").read_text()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    size = re.search(r"VmSize:\s+(\d+) kB", status)
    assert size
    return int(size[1])


@pytest.mark.parametrize("spare", [50_000, 400_000])
def test_good_photos_come_out_or_the_job_says_that_memory_ran_out(
    large: Path, tmp_path: Path, whole: dict[str, str], kilobytes_taken: int, spare: int
) -> None:
    output = tmp_path / "out"
    bounded = ["sh", "-c", f'ulimit -v {kilobytes_taken + spare} && exec "$@"', "sh", *job(large, output)]
    ended = subprocess.run(bounded, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode in (0, 5), ended.stderr
    assert "quarantined 0" not in ended.stderr
    if ended.returncode == 5:
        last = ended.stderr.splitlines()[-1]
        assert "memory ran out" in last or "ended by" in last
        assert "the same command goes on where this one stopped. With too little memory" in last
        assert not (output / "manifest.json").exists()
    subprocess.run(job(large, output), cwd=ROOT, check=True)
    assert {row["reason"] for row in rows(output).values()} == {None}
    assert files(output) == whole
