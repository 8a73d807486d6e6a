import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from faceveil.transforms.detectors.models import KNOWN_MODELS
from faceveil.transforms.errors import ModelError
from faceveil.transforms.models.cache import built_model, cache_folder, find_built
from faceveil.transforms.models.saved_model import model_digest
from tests.containers import mount_namespace

BUILD = KNOWN_MODELS["centerface"].build


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("FACEVEIL_CACHE", str(folder))
    return folder


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACEVEIL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/faceveil")
    monkeypatch.setenv("FACEVEIL_CACHE", "/own")
    assert cache_folder() == Path("/own")
    monkeypatch.delenv("FACEVEIL_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "faceveil"


def test_two_that_build_at_once_get_one_model(cache: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(built_model, [BUILD] * 2)
    assert first == second == find_built(BUILD) == cache / "centerface-09189dea" / "saved_model"
    assert model_digest(first) == KNOWN_MODELS["centerface"].sha256
    assert [entry.name for entry in first.parent.iterdir()] == ["saved_model"]


def test_a_builder_that_fails_says_why_and_leaves_nothing(cache: Path) -> None:
    with pytest.raises(ModelError, match=r"cannot build the SavedModel of centerface .*No such file"):
        built_model(replace(BUILD, arguments=("gone.onnx",)))
    assert list((cache / "centerface-09189dea").iterdir()) == []


def test_a_folder_in_the_way_is_named(cache: Path) -> None:
    (cache / BUILD.place / "something").mkdir(parents=True)
    with pytest.raises(ModelError, match=rf"cannot put centerface into {cache}.*; remove that folder"):
        built_model(BUILD)


def test_without_a_cache_a_model_lasts_as_long_as_its_process(tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # permissions would not stop the super-user
    script = """
import logging, pathlib
from faceveil.transforms.detectors.models import known_model
from faceveil.transforms.models.saved_model import model_digest
logging.basicConfig()
built = known_model("centerface")
assert built == known_model("centerface")
print(model_digest(built), built)
"""
    environment = {"FACEVEIL_CACHE": str(tmp_path / "file" / "below"), "TMPDIR": str(tmp_path)}
    ended = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    digest, folder = ended.stdout.split()
    assert digest == KNOWN_MODELS["centerface"].sha256
    [line] = [line for line in ended.stderr.splitlines() if "faceveil" in line]
    assert "centerface is built in a temporary folder, since the cache cannot be written" in line
    assert folder.startswith(str(tmp_path))
    assert not list(tmp_path.glob("faceveil-*"))


@pytest.mark.parametrize("full", [False, True], ids=["nobody's home", "full disk"])
def test_where_the_cache_cannot_hold_a_model_a_temporary_folder_does(tmp_path: Path, full: bool) -> None:
    script = "from faceveil.transforms.detectors.models import known_model; print(known_model('centerface'))"
    command = [sys.executable, "-c", script]
    cache = "~no-such-user/cache"
    if full:
        cache = str(tmp_path / "small")
        (tmp_path / "small").mkdir()
        mounted = f'mount -t tmpfs -o size=64k tmpfs {cache} && exec "$@"'
        command = [*mount_namespace(), "sh", "-c", mounted, "sh", *command]
    environment = os.environ | {"FACEVEIL_CACHE": cache, "TMPDIR": str(tmp_path)}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert "is built in a temporary folder" in ended.stderr
    assert ended.stdout.startswith(str(tmp_path / "faceveil-model-"))


def test_without_any_place_to_write_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("FACEVEIL_CACHE", str(tmp_path / "file" / "below"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(ModelError, match=r"centerface: neither the cache .* nor a temporary folder can be written"):
        built_model(BUILD)


def test_a_user_without_a_home_needs_none() -> None:
    """As in containers that run as a number which no name belongs to."""
    script = """
import os, pwd
from faceveil.transforms.models.cache import cache_folder
os.setuid(12345)
try:
    cache_folder()
except OSError as error:
    print(error)
"""
    if os.getuid():
        pytest.skip("only the super-user can become another one")
    ended = subprocess.run([sys.executable, "-c", script], env={}, capture_output=True, text=True, check=True)
    assert ended.stdout == "this user has no home folder\n"
