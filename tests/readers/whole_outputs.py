"""The table of docs/outputs.md: each format of outputs read back by each library that reads it; `make test-readers`.

Expected are the images of a folder that the same job has written, decoded by Pillow here. Decoders of JPEG differ by
rounding, so pixels may differ by a little; those of PNG are the same.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT, SKIMAGE_DATA, missing
from tests.test_end_to_end import FAST, faceveil

pytestmark = pytest.mark.usefixtures("centerface")
PYTHON = ROOT / ".venv-readers" / "bin" / "python"
OUTPUTS: dict[str, tuple[str, ...]] = {
    "tfrecord": ("--format", "tfrecord", "--tfds"),
    "tfrecord gzip": ("--format", "tfrecord", "--compression", "gzip"),
    "parquet": ("--format", "parquet"),
    "parquet none": ("--format", "parquet", "--compression", "none"),
    "webdataset": ("--format", "webdataset"),
    "webdataset gzip": ("--format", "webdataset", "--compression", "gzip"),
    "images": ("--format", "images"),
}
READ_BY = {
    "tfrecord": ("tf.data", "tfds"),
    "tfrecord gzip": ("tf.data",),
    "parquet": ("datasets parquet", "datasets parquet streaming", "pandas", "duckdb"),
    "parquet none": ("pandas", "duckdb"),
    "webdataset": ("webdataset", "datasets webdataset"),
    "webdataset gzip": ("webdataset", "datasets webdataset"),
    "images": ("datasets imagefolder", "tf.data files"),
}
_ROUNDING = 20  # of 255, at single pixels of chroma that is scaled up in another way


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JPEGs for training, PNGs for validation, some with names that readers could trip over."""
    folder = tmp_path_factory.mktemp("readers")
    face = Image.open(SKIMAGE_DATA / "astronaut.png")
    cat = Image.open(SKIMAGE_DATA / "chelsea.png")
    pictures = {"a/face": face, "v1.2/a.b.c": face.resize((300, 300)), "a/face.2": cat, "caf\u00e9": cat}
    for split, ending in (("train", "jpg"), ("val", "png")):
        for name, picture in pictures.items():
            path = folder / split / f"{name}.{ending}"
            path.parent.mkdir(parents=True, exist_ok=True)
            picture.save(path)
        (folder / split / f"cut.{ending}").write_bytes((folder / split / f"a/face.{ending}").read_bytes()[:900])
    cat.convert("L").save(folder / "train" / "grey.JPG")
    shutil.copy(folder / "train" / "caf\u00e9.jpg", folder / "train" / "a" / "face.jpeg")
    return folder


@pytest.fixture(scope="module")
def outputs(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {}
    for name, options in OUTPUTS.items():
        made[name] = tmp_path_factory.mktemp("outputs") / "out"
        splits = [f"{split}={inputs}/{split}/**" for split in ("train", "val")]
        given = ("--input", *splits, "--output", made[name], "--num_shards", 2, "--max_quarantined", 1)
        assert faceveil("run", *given, "--method", "solid", *FAST, *options) == 0
    return made


@pytest.mark.parametrize(
    ("written", "reader"), [(written, reader) for written, readers in READ_BY.items() for reader in readers]
)
def test_what_is_written_comes_back(outputs: dict[str, Path], tmp_path: Path, written: str, reader: str) -> None:
    if not PYTHON.exists():
        missing("needs the readers' environment: make test-readers")
    for split in ("train", "val"):
        found = read_back(reader, outputs[written], split, tmp_path / f"{split}.npz")
        folder = outputs["images"]
        expected = {str(path.relative_to(folder)): path for path in (folder / split).rglob("*.*") if path.is_file()}
        assert sorted(found) == sorted(expected)
        assert len(found) == (6 if split == "train" else 4)
        for name, path in expected.items():
            pixels = np.asarray(Image.open(path).convert("RGB"), int)
            difference = np.abs(found[name].astype(int) - pixels)
            assert difference.max() <= (0 if split == "val" else _ROUNDING), name
            assert difference.mean() < 0.5, name


def read_back(reader: str, output: Path, split: str, result: Path) -> dict[str, np.ndarray]:
    """What a reader finds, by name; nothing is fetched from anywhere, nor kept."""
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(result.parent / "cache"), "CUDA_VISIBLE_DEVICES": ""}
    command = [PYTHON, ROOT / "tests" / "readers" / "read_back.py", reader, output, split, result]
    made = subprocess.run(command, env=os.environ | offline, capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr[-3000:]
    with np.load(result) as arrays:
        return {str(name): arrays[str(number)] for number, name in enumerate(arrays["names"])}
