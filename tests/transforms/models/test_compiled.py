"""Models as they were compiled: they compute the same to the bit, and whatever happens to what is kept, they load."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from faceveil.transforms.arrays import RGB
from faceveil.transforms.detectors.candidates import Candidates
from faceveil.transforms.detectors.engine import load_saved_model
from faceveil.transforms.detectors.models import known_model
from faceveil.transforms.models.compiled import Compiled, KeptModel
from faceveil.transforms.models.engines import Precision
from tests.conftest import SKIMAGE_DATA


@pytest.fixture(scope="module")
def pictures() -> list[RGB]:
    """A photo with a face in two sizes, as batches of one."""
    photo = Image.open(SKIMAGE_DATA / "astronaut.png").convert("RGB")
    return [np.asarray(photo.resize(size))[None] for size in ((512, 512), (320, 256))]


@pytest.fixture(scope="module", params=["yunet-s", "centerface-covered-int8"])
def path(request: pytest.FixtureRequest) -> str:
    """A SavedModel in the cache that all tests share."""
    return str(known_model(request.param))


@pytest.fixture
def kept(path: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Compiled]:
    """What is kept from here on, in a cache that is empty at first."""
    del path  # which comes first: it is built in the other cache
    monkeypatch.setenv("FACEVEIL_CACHE", str(tmp_path / "cache"))
    noted: list[Compiled] = []
    keep = KeptModel.keep

    def note(self: KeptModel, compiled: Compiled) -> None:
        noted.append(compiled)
        keep(self, compiled)

    monkeypatch.setattr(KeptModel, "keep", note)
    return noted


def found(path: str, pictures: list[RGB], precision: Precision = "auto", threads: int = 1) -> list[Candidates]:
    model = load_saved_model(path, "openvino", precision, threads)
    return [candidates for picture in pictures for candidates in model.run(picture, 0.1)]


def are_equal(first: list[Candidates], second: list[Candidates]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(np.array_equal(getattr(a, n), getattr(b, n)) for a, b in pairs for n in ("boxes", "scores", "keypoints"))


@pytest.mark.parametrize("precision", ["auto", "float32"])
def test_a_kept_model_computes_the_same_to_the_bit(
    path: str, precision: Precision, kept: list[Compiled], tmp_path: Path, pictures: list[RGB]
) -> None:
    fresh = found(path, pictures, precision)
    assert sum(len(candidates.scores) for candidates in fresh) >= 2
    assert are_equal(found(path, pictures, precision, threads=2), fresh)
    assert len(kept) == 1  # the second time there was no need
    [file] = (tmp_path / "cache" / "compiled").iterdir()
    assert file.stat().st_mode & 0o777 == 0o666 & ~umask()
    assert len(found(path, pictures, "float32")) == 2
    assert len(list(file.parent.iterdir())) == len(kept) <= 2  # each precision is kept by itself


def cut(data: bytes) -> bytes:
    return data[:-1000]


def flipped(data: bytes) -> bytes:
    return data[:999] + bytes([data[999] ^ 1]) + data[1000:]


@pytest.mark.parametrize("path", ["yunet-s"], indirect=True)
@pytest.mark.parametrize("damaged", [lambda _: b"", cut, flipped])
def test_what_is_damaged_is_made_anew(
    damaged: Callable[[bytes], bytes], path: str, kept: list[Compiled], tmp_path: Path, pictures: list[RGB]
) -> None:
    fresh = found(path, pictures)
    [file] = (tmp_path / "cache" / "compiled").iterdir()
    file.write_bytes(damaged(file.read_bytes()))
    assert are_equal(found(path, pictures), fresh)
    assert len(kept) == 2
    assert are_equal(found(path, pictures), fresh)
    assert len(kept) == 2


@pytest.mark.parametrize("path", ["yunet-s"], indirect=True)
def test_a_cache_that_cannot_be_written_is_done_without(
    path: str, kept: list[Compiled], tmp_path: Path, pictures: list[RGB]
) -> None:
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert are_equal(found(path, pictures), found(path, pictures))
    assert len(kept) == 2
    assert (tmp_path / "cache").is_file()


def umask() -> int:
    """Of this process, which has to be set to be read."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
