import os
import subprocess
import sys
from dataclasses import replace

import pytest

from faceveil.transforms.runtime.machine import boot_id, is_running, oom_kills, start_time, this_process
from tests.conftest import as_nobody

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells in /proc")


@LINUX
def test_linux_tells_all_that_identifies_a_process() -> None:
    identity = this_process()
    assert identity.pid == os.getpid()
    assert all(value is not None for value in vars(replace(identity, machine="may be missing")).values())
    assert boot_id() == identity.boot
    assert (oom_kills() or 0) >= 0


@LINUX
def test_the_start_is_read_whatever_a_command_is_called() -> None:
    # The name stands in brackets before it, and may hold brackets and spaces itself.
    code = "open('/proc/self/comm', 'w').write(') R 1 (x'); print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        process.stdout.readline()
        started = start_time(process.pid)
        assert started
        assert int(started) >= int(start_time(os.getpid()) or 0)
        assert is_running(process.pid, started)
        assert not is_running(process.pid, "1")
        process.kill()
    assert not is_running(process.pid, started)


def test_a_process_that_nobody_has_waited_for_has_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdout=subprocess.PIPE)
    assert process.stdout
    process.stdout.read()  # until it is about to end
    while is_running(process.pid, None):
        pass
    process.wait()


def test_what_is_not_known_is_no_other_process() -> None:
    assert is_running(os.getpid(), None)
    with as_nobody():
        assert is_running(1, None), "one of another user is there, too"
