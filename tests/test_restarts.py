"""Jobs that are ended from outside, as people and their machines do it, and taken up again by the same command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from faceveil.transforms.formats.layout import LOCK_NAME as LOCK
from tests.conftest import ROOT, audit_of
from tests.containers import in_container
from tests.test_end_to_end import FAST, command, files

pytestmark = pytest.mark.usefixtures("centerface")
PROCESSES = ("--direct_running_mode", "multi_processing", "--direct_num_workers", "2")


@pytest.fixture(scope="module")
def inputs(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos enough for a job that can be interrupted."""
    folder = tmp_path_factory.mktemp("restarts")
    originals = sorted(photos.rglob("*.*"))
    for number in range(48):
        original = originals[number % len(originals)]
        (folder / f"{number:02}{original.suffix}").write_bytes(original.read_bytes())
    return folder


def job(inputs: Path, output: Path, *more: object) -> list[str]:
    return command("run", "--input", f"{inputs}/*", "--output", output, "--num_shards", 8, *FAST, *more)


@pytest.fixture(scope="module")
def unbroken(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    output = tmp_path_factory.mktemp("unbroken") / "out"
    subprocess.run(job(inputs, output), cwd=ROOT, check=True)
    return files(output)


@contextmanager
def started(arguments: Sequence[str], output: Path, shards: int = 1) -> Iterator[subprocess.Popen[str]]:
    """A job that has finished so many shards; whatever is left of it is ended afterwards."""
    process = subprocess.Popen(
        arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        wait_for_shards(process, output, shards)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def wait_for_shards(process: subprocess.Popen[str], output: Path, shards: int) -> None:
    while len(list(audit_of(output).glob("data*"))) < shards:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def processes_of(process: subprocess.Popen[str]) -> list[int]:
    """The processes of its group that run, itself first."""
    listed = subprocess.run(
        ["ps", "-o", "pid=,stat=", "-g", str(process.pid)], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid, state in map(str.split, listed.stdout.splitlines()) if not state.startswith("Z")]


def assert_all_end(process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 20
    while processes_of(process):
        assert time.monotonic() < deadline, processes_of(process)
        time.sleep(0.01)


def lock_of(output: Path) -> dict[str, Any]:
    lock: dict[str, Any] = json.loads((output / LOCK).read_text())
    return lock


@pytest.mark.usefixtures("hangs_up")
@pytest.mark.parametrize(
    ("number", "said", "mode"),
    [
        (signal.SIGINT, "interrupted", ()),
        (signal.SIGTERM, "terminated", ()),
        (signal.SIGTERM, "terminated", PROCESSES),
        (signal.SIGHUP, "hung up", ()),
    ],
    ids=["SIGINT", "SIGTERM", "SIGTERM-processes", "SIGHUP"],
)
def test_who_asks_the_command_to_end_ends_all_of_it_and_frees_the_output(
    inputs: Path, tmp_path: Path, unbroken: dict[str, str], number: signal.Signals, said: str, mode: tuple[str, ...]
) -> None:
    output = tmp_path / "out"
    with started(job(inputs, output, *mode), output) as process:
        process.send_signal(number)
        _, told = process.communicate(timeout=60)
        assert process.returncode == 128 + number
        assert_all_end(process)
    assert told.splitlines()[-1] == f"faceveil: {said}; the same command resumes where this one stopped"
    assert "Traceback" not in told
    # So another machine need not wait until it has been silent for long.
    assert lock_of(output)["pid"] is None
    subprocess.run(job(inputs, output), cwd=ROOT, check=True)
    assert files(output) == unbroken


@pytest.mark.parametrize("mode", [(), PROCESSES], ids=["threads", "processes"])
@pytest.mark.parametrize("victim", ["the one that waits", "the job's"])
def test_no_process_outlives_one_that_was_killed(
    inputs: Path, tmp_path: Path, victim: str, mode: tuple[str, ...]
) -> None:
    output = tmp_path / "out"
    with started(job(inputs, output, *mode), output) as process:
        waiting, working, *_ = processes_of(process)
        os.kill(waiting if victim == "the one that waits" else working, signal.SIGKILL)
        _, told = process.communicate(timeout=60)
        assert_all_end(process)
    if victim == "the job's":
        assert process.returncode == 128 + signal.SIGKILL
        last = told.splitlines()[-1]
        assert last.startswith("faceveil: killed (SIGKILL), as the kernel does when memory runs out; the same command")
        assert "--max_pixels" in last


def test_a_second_interrupt_changes_nothing(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with started(job(inputs, output), output) as process:
        for _ in range(20):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
            time.sleep(0.05)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGINT, told
    assert told.count("interrupted") == 1
    assert "Traceback" not in told
    assert lock_of(output)["pid"] is None


def test_nohup_keeps_a_job_alive_when_its_terminal_goes(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with started(["nohup", *job(inputs, output)], output) as process:
        os.killpg(process.pid, signal.SIGHUP)
        process.communicate(timeout=120)
    assert process.returncode == 0


def test_a_container_that_is_started_again_goes_on_at_once(
    inputs: Path, tmp_path: Path, unbroken: dict[str, str]
) -> None:
    output = tmp_path / "out"
    numbers = set()
    for shards in (1, 3, 5):
        with started(in_container(*job(inputs, output)), output, shards) as process:
            numbers.add((lock_of(output)["host"], lock_of(output)["pid"]))
            process.kill()
    assert len(numbers) == 1, "it is not as if one container were started again"
    ended = subprocess.run(in_container(*job(inputs, output)), cwd=ROOT, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert files(output) == unbroken


def test_of_two_jobs_that_start_at_once_one_is_refused_before_any_work(inputs: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    with started(job(inputs, output), output) as process:
        process.kill()
    pair = [
        subprocess.Popen(job(inputs, output), cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    told = {process.wait(timeout=120): process.communicate()[1] for process in pair}
    assert sorted(told) == [0, 4]
    assert "resuming: " in told[0]
    assert "resuming" not in told[4]
    assert "detector" not in told[4], "it has loaded the model"


def test_a_job_that_is_killed_keeps_most_of_its_work_and_goes_on_without_special_care(
    photos: Path, tmp_path: Path
) -> None:
    """By default, so with as many shards as a small job gets."""
    folder, output = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for number in range(64):
        (folder / f"{number}.jpg").write_bytes((photos / "things" / "coffee.jpg").read_bytes())
    small_job = command("run", "--input", f"{folder}/*", "--output", output, *FAST)
    for shards in range(6, 14):  # until it is killed within a shard, not between two
        with started(small_job, output, shards) as process:
            while process.poll() is None and not list(audit_of(output).glob(".*.attempt")):
                time.sleep(0.001)
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if list(audit_of(output).glob(".*.attempt")):
            break
    else:
        pytest.fail("it was killed between two shards every time")
    resumed = subprocess.run(small_job, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "made in a sandbox" not in resumed.stderr
    shards = json.loads((output / "manifest.json").read_text())["shards"]
    assert len(shards) == 16
    assert max(shard["records"] for shard in shards) <= 64 / 4
