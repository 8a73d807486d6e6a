"""PyTorch's DataLoader and FiftyOne read outputs back, as the table of docs/formats.md says; `make test-torch`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import ROOT, missing
from tests.readers.whole_outputs import OUTPUTS, assert_same, inputs, read_back, write

__all__ = ["inputs"]
pytestmark = pytest.mark.usefixtures("centerface")
PYTHON = ROOT / ".venv-torch" / "bin" / "python"
READ_BY = {
    "parquet": ("torch parquet",),
    "webdataset": ("torch webdataset",),
    "webdataset gzip": ("torch webdataset",),
    "images": ("torch files", "fiftyone images"),
}


@pytest.fixture(autouse=True, scope="module")
def environment() -> None:
    if not PYTHON.exists():
        missing("needs the environment of make test-torch")


@pytest.fixture(scope="module")
def outputs(inputs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: write(inputs, tmp_path_factory.mktemp("outputs") / "out", *OUTPUTS[name]) for name in READ_BY}


@pytest.mark.parametrize(
    ("written", "reader"), [(written, reader) for written, readers in READ_BY.items() for reader in readers]
)
def test_what_is_written_comes_back(outputs: dict[str, Path], tmp_path: Path, written: str, reader: str) -> None:
    found = read_back(PYTHON, reader, outputs[written], tmp_path / "found.npz")
    assert_same(found, outputs["images"])
    assert len(found) == 10


def test_a_folder_with_labels_of_coco_stays_one(inputs: Path, tmp_path: Path) -> None:
    for split in ("train", "val"):
        pictures = sorted(path for path in (inputs / split).rglob("*.*") if path.is_file() and "cut" not in path.name)
        data = tmp_path / "coco" / split / "data"
        data.mkdir(parents=True)
        images, annotations = [], []
        for number, path in enumerate(pictures, 1):
            name = f"{number}{path.suffix}"
            shutil.copy(path, data / name)
            width, height = Image.open(path).size
            box = [0, 0, width / 2, height / 2]
            images.append({"id": number, "file_name": name, "width": width, "height": height})
            annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": box, "iscrowd": 0})
        labels = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "face"}]}
        (data.parent / "labels.json").write_text(json.dumps(labels))
    output = write(tmp_path / "coco", tmp_path / "out", "--format", "images", "--copy_others")
    for split in ("train", "val"):
        labels_of = [(folder / split / "labels.json").read_bytes() for folder in (tmp_path / "coco", output)]
        assert labels_of[0] == labels_of[1]
    assert_same(read_back(PYTHON, "fiftyone coco", output, tmp_path / "found.npz"), output)
