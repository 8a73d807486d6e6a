import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from faceveil.transforms.runtime.child_process import child_environment, module_command, safe_children
from faceveil.transforms.runtime.machine import is_running
from tests.conftest import ROOT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with files that are named like modules of Python and of ours."""
    for name in ("json", "random", "faceveil", "tool"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('a module of the working folder was imported')")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.usefixtures("folder")
def test_a_child_takes_no_module_from_the_working_folder() -> None:
    ended = subprocess.run(module_command("json.tool", "--help"), env=child_environment(), capture_output=True)
    assert ended.returncode == 0
    ended = subprocess.run(module_command("faceveil", "--version"), env=child_environment(), capture_output=True)
    assert ended.returncode == 0


@pytest.mark.usefixtures("folder")
def test_nor_do_children_that_others_start_meanwhile() -> None:
    command = [sys.executable, "-m", "json.tool", "--help"]
    assert subprocess.run(command, capture_output=True).returncode == 1
    with safe_children():
        assert subprocess.run(command, capture_output=True).returncode == 0
    assert subprocess.run(command, capture_output=True).returncode == 1


_PARENT = """
import subprocess, sys, time
from faceveil.transforms.runtime.child_process import child_environment, module_command, shell_command
environment = child_environment()
commands = {"exec": module_command("sleeper"), "shell": shell_command("sleeper")}
child = subprocess.Popen(commands[sys.argv[1]], shell=sys.argv[1] == "shell", env=environment)
time.sleep(600)
"""


@pytest.mark.parametrize("way", ["exec", "shell"])
def test_a_child_ends_with_its_parent_however_that_dies(way: str, tmp_path: Path) -> None:
    (tmp_path / "sleeper.py").write_text("import os, time; print(os.getpid(), flush=True); time.sleep(600)")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    parent = subprocess.Popen([sys.executable, "-c", _PARENT, way], env=environment, stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    child = int(parent.stdout.readline())
    assert is_running(child, None)
    parent.kill()
    parent.wait()
    while is_running(child, None):
        time.sleep(0.01)
    parent.stdout.close()


def test_a_child_whose_parent_has_ended_before_it_began_ends_at_once() -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    code = (
        "from faceveil.transforms.runtime.child_process import end_with_parent\n"
        f"end_with_parent({gone.pid}); print('on')"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert (ended.returncode, ended.stdout) == (-signal.SIGKILL, "")


@pytest.mark.parametrize("before", [None, "1"])
def test_the_environment_is_as_before_afterwards(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    if before:
        monkeypatch.setenv("PYTHONSAFEPATH", before)
    with pytest.raises(KeyError), safe_children():
        raise KeyError
    assert os.environ.get("PYTHONSAFEPATH") == before
