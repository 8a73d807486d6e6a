"""The table of docs/formats.md: each format of outputs read back by each library that reads it; `make test-readers`.

Expected are the images of a folder that the same job has written, decoded by Pillow here. Decoders of JPEG differ by
rounding, so pixels may differ by a little; those of PNG are the same.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.conftest import ROOT, SKIMAGE_DATA, missing
from tests.test_end_to_end import FAST, faceveil
from tests.test_example_features import bytes_feature
from tests.transforms.formats.test_tfds import LABEL, dictionary, image, sequence

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
    "tfrecord of tfds": ("tf.data", "tfds"),
    "tfrecord gzip": ("tf.data",),
    "parquet": ("datasets parquet", "datasets parquet streaming", "pandas", "duckdb"),
    "parquet none": ("pandas", "duckdb"),
    "webdataset": ("webdataset", "datasets webdataset"),
    "webdataset gzip": ("webdataset", "datasets webdataset"),
    "images": ("datasets imagefolder", "tf.data files"),
}
_ROUNDING = 2  # of 255, in the mean: TensorFlow decodes JPEG by a faster transform


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
    if not PYTHON.exists():
        missing("needs the readers' environment: make test-readers")
    made = {name: write(inputs, tmp_path_factory.mktemp("outputs") / "out", *OUTPUTS[name]) for name in OUTPUTS}
    made["tfrecord of tfds"] = tmp_path_factory.mktemp("outputs") / "out"
    splits = [f"{split}={write_tfds(inputs, split)}" for split in ("train", "val")]
    given = (
        "--input",
        *splits,
        "--output",
        made["tfrecord of tfds"],
        "--max_quarantined",
        1,
        "--drop_features",
        "secret",
    )
    assert faceveil("run", *given, "--method", "solid", *FAST) == 0
    return made


def write(inputs: Path, output: Path, *options: str) -> Path:
    """An output of these inputs with some options."""
    splits = [f"{split}={inputs}/{split}/**" for split in ("train", "val")]
    given = ("--input", *splits, "--output", output, "--num_shards", 2, "--max_quarantined", 1)
    assert faceveil("run", *given, "--method", "solid", *FAST, *options) == 0
    return output


def write_tfds(inputs: Path, split: str) -> Path:
    """The same images as TensorFlow Datasets would hold them, with labels and more."""
    folder = inputs.parent / f"{inputs.name}-tfds"
    folder.mkdir(exist_ok=True)
    text = {"pythonClassName": "tensorflow_datasets.core.features.text_feature.Text", "text": {}}
    declared = {"image": dictionary(encoded=image(), filename=text), "labels": sequence(LABEL), "secret": text}
    (folder / "features.json").write_text(json.dumps(dictionary(**declared)))
    path = folder / f"people-{split}.tfrecord-00000-of-00001"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for file in sorted(inputs.glob(f"{split}/**/*.*")):
            if file.is_file():
                name = str(file.relative_to(inputs)).encode()
                features = {"image/encoded": bytes_feature(file.read_bytes()), "image/filename": bytes_feature(name)}
                features["labels"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[1] * (len(features) % 3)))
                features["secret"] = bytes_feature(b"Anna")
                writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    return path


@pytest.mark.parametrize(
    ("written", "reader"), [(written, reader) for written, readers in READ_BY.items() for reader in readers]
)
def test_what_is_written_comes_back(outputs: dict[str, Path], tmp_path: Path, written: str, reader: str) -> None:
    found = read_back(PYTHON, reader, outputs[written], tmp_path / "found.npz")
    assert_same(found, outputs["images"])
    assert len(found) == 10


def assert_same(found: dict[str, np.ndarray], folder: Path) -> None:
    """Makes sure that a reader has found the images of a folder, and those alone."""
    expected = {
        str(path.relative_to(folder)): path
        for path in folder.glob("*/**/*.*")
        if path.is_file() and path.suffix != ".json"
    }
    assert sorted(found) == sorted(expected)
    for name, path in expected.items():
        pixels = np.asarray(Image.open(path).convert("RGB"), int)
        difference = np.abs(found[name].astype(int) - pixels)
        assert difference.mean() <= (_ROUNDING if name.startswith("train") else 0), name


def read_back(python: Path, reader: str, output: Path, result: Path) -> dict[str, np.ndarray]:
    """What a reader finds, by name; nothing is fetched from anywhere, nor kept."""
    home = str(result.parent / "cache")
    offline = {"HF_HUB_OFFLINE": "1", "HF_HOME": home, "HOME": home, "CUDA_VISIBLE_DEVICES": ""}
    command = [python, ROOT / "tests" / "readers" / "read_back.py", reader, output, result, "train", "val"]
    made = subprocess.run(
        list(map(str, command)), env=os.environ | offline, capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr[-3000:]
    with np.load(result) as arrays:
        return {str(name): arrays[str(number)] for number, name in enumerate(arrays["names"])}
