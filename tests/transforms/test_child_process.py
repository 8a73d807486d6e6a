import os
import subprocess
import sys
from pathlib import Path

import pytest

from faceveil.transforms.child_process import child_environment, module_command, safe_children


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


@pytest.mark.parametrize("before", [None, "1"])
def test_the_environment_is_as_before_afterwards(before: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    if before:
        monkeypatch.setenv("PYTHONSAFEPATH", before)
    with pytest.raises(KeyError), safe_children():
        raise KeyError
    assert os.environ.get("PYTHONSAFEPATH") == before
