import contextlib
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faceveil.pipeline.lock import NAME, hold_lock, is_live, read_lock, remove_stale_lock
from faceveil.transforms.errors import OutputError

JOB = {"job": {"digest": "d"}}


def foreign(**changed: object) -> dict[str, object]:
    return {"host": "elsewhere", "pid": 1, "time": time.time(), "job": JOB, **changed}


def test_is_there_while_held_and_gone_after(tmp_path: Path) -> None:
    directory = str(tmp_path / "out")
    with hold_lock(directory, JOB):
        lock = read_lock(directory)
        assert lock
        assert is_live(lock)
        assert lock["job"] == JOB
    assert read_lock(directory) is None


def test_is_left_without_an_owner_when_the_job_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError), hold_lock(str(tmp_path), JOB):
        raise KeyError
    lock = read_lock(str(tmp_path))
    assert lock
    assert not is_live(lock)
    assert lock["job"] == JOB
    with hold_lock(str(tmp_path), JOB):
        pass


def test_a_second_job_is_refused(tmp_path: Path) -> None:
    with (
        hold_lock(str(tmp_path), JOB),
        pytest.raises(OutputError, match=f"process {os.getpid()} on {socket.gethostname()}"),
        hold_lock(str(tmp_path), JOB),
    ):
        pass


def test_of_another_machine_it_is_live_until_it_has_been_silent_for_long() -> None:
    assert is_live(foreign())
    assert not is_live(foreign(time=time.time() - 600))
    assert not is_live(foreign(pid=None))


def test_of_this_machine_it_is_live_as_long_as_its_process(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    lock = foreign(host=socket.gethostname(), pid=process.pid)
    assert is_live(lock)
    process.kill()
    process.wait()
    assert not is_live(lock)
    (tmp_path / NAME).write_text(json.dumps(lock))
    with hold_lock(str(tmp_path), JOB):
        held = read_lock(str(tmp_path))
        assert held
        assert held["pid"] == os.getpid()


def test_a_half_written_lock_counts_as_live(tmp_path: Path) -> None:
    (tmp_path / NAME).write_text("{")
    lock = read_lock(str(tmp_path))
    assert lock
    with pytest.raises(OutputError), hold_lock(str(tmp_path), JOB):
        pass


def test_names_the_job_that_goes_on_without_this_command(tmp_path: Path) -> None:
    directory = str(tmp_path / "out")
    remote = {"project": "p", "region": "r", "name": "n", "id": "i"}
    with contextlib.suppress(KeyboardInterrupt), hold_lock(directory, JOB) as note_remote:
        note_remote(remote)
        lock = read_lock(directory)
        assert lock
        assert lock["remote"] == remote
        remove_stale_lock(directory)
        raise KeyboardInterrupt
    lock = read_lock(directory)
    assert lock
    assert lock["remote"] == remote
    assert not is_live(lock)
    remove_stale_lock(directory)
    assert read_lock(directory) is None
