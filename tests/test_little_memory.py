"""Jobs with too little memory, by ``ulimit``: no photo is quarantined for it, and with more of it the job goes on."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import skimage.data
from PIL import Image

from tests.conftest import ROOT, audit_of
from tests.test_end_to_end import command, files, rows

pytestmark = [
    pytest.mark.usefixtures("centerface"),
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux bounds the address space"),
]


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("large")
    photo = Image.fromarray(skimage.data.astronaut())
    for number, (ending, size) in enumerate([("jpg", 600), ("jpg", 4500), ("webp", 2500), ("jpg", 4500)]):
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
def kilobytes_taken(large: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, int]:
    """The address space of a job that is about to make its first shard, and what of it is in memory."""
    output = tmp_path_factory.mktemp("begun") / "out"
    process = subprocess.Popen(job(large, output), cwd=ROOT, start_new_session=True)
    while not list(audit_of(output).glob(".*.attempt")):
        assert process.poll() is None
        time.sleep(0.01)
    [child] = map(int, Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split())
    status = Path(f"/proc/{child}/status").read_text()
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return {name: int(size) for name, size in re.findall(r"(VmSize|VmRSS):\s+(\d+) kB", status)}


@pytest.mark.parametrize("spare", [50_000, 400_000])
def test_good_photos_come_out_or_the_job_says_that_memory_ran_out(
    large: Path, tmp_path: Path, whole: dict[str, str], kilobytes_taken: dict[str, int], spare: int
) -> None:
    output = tmp_path / "out"
    bounded = ["sh", "-c", f'ulimit -v {kilobytes_taken["VmSize"] + spare} && exec "$@"', "sh", *job(large, output)]
    assert_good_or_out_of_memory(bounded, output)
    subprocess.run(job(large, output), cwd=ROOT, check=True)
    assert {row["reason"] for row in rows(output).values()} == {None}
    assert files(output) == whole


def assert_good_or_out_of_memory(bounded: list[str], output: Path) -> None:
    ended = subprocess.run(bounded, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode in (0, 5), ended.stderr
    assert "quarantined 0" not in ended.stderr
    if ended.returncode == 5:
        last = ended.stderr.splitlines()[-1]
        assert "memory ran out" in last or "ended by" in last
        assert "the same command resumes where this one stopped. With too little memory" in last
        assert not (output / "manifest.json").exists()


@pytest.fixture
def memory_group() -> Iterator[Path]:
    """A control group whose processes get no more memory than its file ``limit`` says."""
    for root, name in (("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")):
        group = Path(root) / f"faceveil-test-{os.getpid()}"
        try:
            group.mkdir()
        except OSError:
            continue
        if (group / name).exists() and os.access(group / name, os.W_OK):
            yield group / name
            group.rmdir()
            return
        group.rmdir()
    pytest.skip("needs control groups that this user may make, with a limit for memory")


@pytest.mark.parametrize("spare", [200_000])
def test_a_job_that_the_kernel_kills_for_want_of_memory_goes_on_with_less_at_once(
    large: Path, tmp_path: Path, whole: dict[str, str], kilobytes_taken: dict[str, int], memory_group: Path, spare: int
) -> None:
    output = tmp_path / "out"
    memory_group.write_text(str((kilobytes_taken["VmRSS"] + spare) * 1024))
    joined = f'echo $$ > {memory_group.parent}/cgroup.procs && exec "$@"'
    assert_good_or_out_of_memory(["sh", "-c", joined, "sh", *job(large, output)], output)
    subprocess.run(job(large, output), cwd=ROOT, check=True)
    assert {row["reason"] for row in rows(output).values()} == {None}
    assert files(output) == whole
