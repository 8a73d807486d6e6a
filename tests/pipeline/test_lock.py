import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest

from faceveil.pipeline.lock import hold_lock, is_live, read_lock, refuse_live, remove_stale_lock
from faceveil.transforms.errors import AccessError, OutputError
from faceveil.transforms.formats.layout import LOCK_NAME
from faceveil.transforms.runtime.machine import start_time, this_process
from tests.conftest import ROOT
from tests.containers import in_container

JOB = {"job": {"digest": "d"}}
ELSEWHERE = "gs://bucket/out"  # an output of which this machine's kernel knows nothing
HOLDER = """
import sys, time
from faceveil.pipeline.lock import hold_lock
with hold_lock(sys.argv[1]) as lock:
    lock.note_job({"job": {"digest": "d"}})
    print("held", flush=True)
    time.sleep(60)
"""


def ours(**changed: object) -> dict[str, object]:
    return {**asdict(this_process()), "time": time.time(), "job": JOB, **changed}


def foreign(**changed: object) -> dict[str, object]:
    """The lock of a job on another machine."""
    return ours(host="elsewhere", machine="another", boot="another", pid=1, **changed)


@contextlib.contextmanager
def holding(directory: Path, wrap: Callable[..., list[str]] = lambda *command: list(command)) -> Iterator[int]:
    """Another process holds the lock; the number of the one to end."""
    command = wrap(sys.executable, "-c", HOLDER, str(directory))
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout
    assert process.stderr
    assert process.stdout.readline() == "held\n", process.stderr.read()
    try:
        yield process.pid
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_is_there_while_held_and_gone_after(tmp_path: Path) -> None:
    directory = str(tmp_path / "out")
    with hold_lock(directory) as held:
        held.note_job(JOB)
        lock = read_lock(directory)
        assert lock
        assert is_live(lock, directory)
        assert lock["job"] == JOB
    assert read_lock(directory) is None


def test_says_again_and_again_that_its_job_is_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("faceveil.pipeline.lock._BEAT_SECONDS", 0.02)
    with hold_lock(str(tmp_path)) as held:
        held.note_job(JOB)
        heard: set[float] = set()
        while len(heard) < 4:
            lock = read_lock(str(tmp_path))
            assert lock
            assert lock["job"] == JOB
            heard.add(lock["time"])
        held.leave()
    assert read_lock(str(tmp_path)) is not None, "a lock that was left says whose the output is"


def test_is_left_without_an_owner_when_the_job_fails(tmp_path: Path) -> None:
    with contextlib.suppress(KeyError), hold_lock(str(tmp_path)) as held:
        held.note_job(JOB)
        raise KeyError
    lock = read_lock(str(tmp_path))
    assert lock
    assert not is_live(lock, str(tmp_path))
    assert lock["job"] == JOB
    with hold_lock(str(tmp_path)) as held:
        assert held.before
        assert held.before["job"] == JOB


def test_nothing_is_left_of_a_job_that_fails_before_it_has_begun(tmp_path: Path) -> None:
    with pytest.raises(KeyError), hold_lock(str(tmp_path / "new" / "out")):
        raise KeyError
    assert not list(tmp_path.iterdir())
    with contextlib.suppress(KeyError), hold_lock(str(tmp_path)) as held:
        held.note_job(JOB)
        raise KeyError
    with pytest.raises(KeyError), hold_lock(str(tmp_path)):
        raise KeyError
    lock = read_lock(str(tmp_path))
    assert lock
    assert lock["job"] == JOB


def test_a_second_job_is_refused(tmp_path: Path) -> None:
    with (
        hold_lock(str(tmp_path)),
        pytest.raises(OutputError, match=f"process {os.getpid()} on {socket.gethostname()}"),
        hold_lock(str(tmp_path)),
    ):
        pass


def test_of_jobs_that_start_at_once_one_gets_it(tmp_path: Path) -> None:
    (tmp_path / LOCK_NAME).write_text(json.dumps(ours(pid=None)))
    script = HOLDER.replace("print", "time.sleep(2); print")
    command = [sys.executable, "-c", script, str(tmp_path)]
    processes = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)
    ]
    time.sleep(0)
    said = []
    for process in processes:
        assert process.stdout
        said.append(process.stdout.readline())
    assert sorted(said) == ["", "", "", "held\n"]
    for process in processes:
        process.kill()
        _, refused = process.communicate()
        assert "OutputError" in refused or not refused


def test_of_another_machine_it_is_live_until_it_has_been_silent_for_long() -> None:
    assert is_live(foreign(), ELSEWHERE)
    assert not is_live(foreign(time=time.time() - 600), ELSEWHERE)
    assert not is_live({**foreign(), "pid": None}, ELSEWHERE)


@pytest.mark.parametrize("directory", ["out", ELSEWHERE])
def test_of_this_machine_it_is_live_as_long_as_its_process(tmp_path: Path, directory: str) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    lock = ours(pid=process.pid, started=start_time(process.pid))
    # However long nothing was heard of it: it may have been stopped.
    assert is_live(lock, directory)
    assert is_live({**lock, "time": 0.0}, directory)
    process.kill()
    process.wait()
    assert not is_live(lock, directory)
    (tmp_path / LOCK_NAME).write_text(json.dumps(lock))
    with hold_lock(str(tmp_path)):
        held = read_lock(str(tmp_path))
        assert held
        assert held["pid"] == os.getpid()


@pytest.mark.skipif(this_process().boot is None, reason="this system does not tell when processes have started")
def test_a_process_that_has_the_number_of_one_that_died_holds_nothing() -> None:
    assert is_live(ours(), ELSEWHERE)
    assert not is_live(ours(started="1"), ELSEWHERE)
    assert not is_live(ours(boot="the one before"), ELSEWHERE)


@pytest.mark.skipif(this_process().boot is None, reason="this system does not tell one container from another")
def test_a_container_that_was_started_again_holds_nothing_in_a_bucket() -> None:
    again = {"pid_namespace": "pid:[1]", "uts_namespace": "uts:[1]"}
    assert not is_live(ours(**again), ELSEWHERE)
    # Another container of this machine, or one that has the machine's own name, may be alive.
    assert is_live(ours(host="another", **again), ELSEWHERE)
    assert is_live(ours(pid_namespace="pid:[1]"), ELSEWHERE)


def test_where_processes_are_not_told_apart_a_number_that_is_gone_frees_it() -> None:
    unknown = {"machine": None, "boot": None, "pid_namespace": None, "uts_namespace": None, "started": None}
    process = subprocess.Popen([sys.executable, "-c", ""])
    assert is_live(ours(**unknown), ELSEWHERE)
    process.wait()
    assert not is_live(ours(**unknown, pid=process.pid), ELSEWHERE)
    assert not is_live(ours(**unknown, time=0.0), ELSEWHERE)


@pytest.mark.parametrize("shares_name", [False, True])
def test_a_container_that_was_killed_frees_it_at_once_and_one_that_lives_does_not(
    tmp_path: Path, shares_name: bool
) -> None:
    def wrap(*command: object) -> list[str]:
        return in_container(*command, shares_name=shares_name)

    numbers = []
    for _ in range(2):  # same name, same number: as a container that is started again
        with holding(tmp_path, wrap):
            lock = read_lock(str(tmp_path))
            assert lock
            numbers.append((lock["host"], lock["pid"]))
            assert is_live(lock, str(tmp_path))
            other = subprocess.run(
                wrap(sys.executable, "-c", HOLDER, str(tmp_path)), cwd=ROOT, capture_output=True, text=True
            )
            assert "is writing to it" in other.stderr
        assert not is_live(lock, str(tmp_path))
    assert numbers[0] == numbers[1]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "null", '{"pid": "x"}', '{"host": "h", "pid": -1, "time": 0, "job": {}}']
)
def test_what_is_no_lock_counts_as_live_only_while_it_may_be_half_written(tmp_path: Path, content: str) -> None:
    path = tmp_path / LOCK_NAME
    path.write_text(content)
    with pytest.raises(OutputError), hold_lock(str(tmp_path)):
        pass
    os.utime(path, (0, 0))
    with hold_lock(str(tmp_path)) as held:
        assert held.before
        assert held.before["job"] == {}


def test_it_is_noticed_when_the_lock_is_gone_or_another_s(tmp_path: Path) -> None:
    directory = str(tmp_path / "out")
    with contextlib.suppress(KeyError), hold_lock(directory) as held:
        held.note_job(JOB)
        held.check()
        (tmp_path / "out" / LOCK_NAME).unlink()
        held.beat()
        with pytest.raises(AccessError, match="was removed while the job ran"):
            held.check()
        raise KeyError
    left = read_lock(directory)
    assert left
    assert (left["pid"], left["job"]) == (None, JOB)
    other = json.dumps(foreign())
    with contextlib.suppress(KeyError), hold_lock(directory) as held:
        held.note_job(JOB)
        (tmp_path / "out" / LOCK_NAME).write_text(other)
        held.beat()
        with pytest.raises(OutputError, match="another job has taken over"):
            held.check()
        raise KeyError
    assert (tmp_path / "out" / LOCK_NAME).read_text() == other


def test_names_the_job_that_goes_on_without_this_command(tmp_path: Path) -> None:
    directory = str(tmp_path / "out")
    remote = {"project": "p", "region": "r", "name": "n", "id": "i"}
    with contextlib.suppress(KeyboardInterrupt), hold_lock(directory) as held:
        held.note_job(JOB)
        held.note_remote(remote)
        lock = read_lock(directory)
        assert lock
        assert lock["remote"] == remote
        remove_stale_lock(directory)
        raise KeyboardInterrupt
    lock = read_lock(directory)
    assert lock
    assert lock["remote"] == remote
    assert not is_live(lock, directory)
    remove_stale_lock(directory)
    assert read_lock(directory) is None


def test_a_refusal_says_who_writes_there_and_when_that_was_seen(tmp_path: Path) -> None:
    with hold_lock(str(tmp_path)):
        lock = read_lock(str(tmp_path))
        assert lock
        (tmp_path / LOCK_NAME).write_text(json.dumps({**lock, "time": time.time() + 5}))  # its clock is ahead
        with pytest.raises(OutputError, match=rf"process {os.getpid()} on .* is writing to it, seen 0 s ago"):
            refuse_live(str(tmp_path))
