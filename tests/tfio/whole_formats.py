"""Jobs on DICOM, OpenEXR, JPEG 2000 and Radiance HDR, with the extra `tfio`; `make test-tfio`.

Every file is by another writer than the one that reads it, and what is expected of its pixels is, too. What is written
is opened with Pillow.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from PIL import Image

from faceveil.transforms.anonymizers.methods import painted_pixels
from faceveil.transforms.anonymizers.style import Style
from faceveil.transforms.formats.audit import read_faces
from tests.tfio.files import BROKEN, FACE, NAMES, REFUSED, SOUND, pillow


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "faceveil", "run", *map(str, arguments), "--detect_size", "512"]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rows(output: Path) -> dict[str, Any]:
    return {row["key"]: row for row in pq.read_table(f"{output}.audit").to_pylist()}


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images made of all files."""
    folder, output = tmp_path_factory.mktemp("in"), tmp_path_factory.mktemp("out") / "out"
    files = {
        **{name: data for name, (data, *_) in SOUND.items()},
        **{name: data for name, (data, _) in REFUSED.items()},
    }
    for name, data in files.items():
        (folder / name).write_bytes(data)
    given = ("--input", folder / "**", "--output", output, "--format", "images", "--method", "solid")
    done = run(*given, "--max_quarantined", 1)
    assert done.returncode == 0, done.stderr
    return output


@pytest.mark.parametrize("name", SOUND)
def test_faces_are_masked_and_nothing_else_changes(output: Path, name: str) -> None:
    row = rows(output)[name]
    assert row["shard"] == f"{name}.png"
    assert row["detail"].endswith("written as png")
    _, expected, tolerance = SOUND[name]
    with Image.open(output / row["shard"]) as image:
        assert image.format == "PNG"
        written = np.asarray(image).astype(np.int64)
    assert written.shape == expected.shape
    difference = np.abs(written - expected).reshape(*written.shape[:2], -1).max(axis=2)
    faces = read_faces(row["faces"])
    assert bool(len(faces)) == (name != "cat.dcm")
    painted = painted_pixels("solid", faces, Style(), *written.shape[:2])
    assert difference[~painted].max() <= tolerance
    if len(faces):
        assert row["status"] == "anonymized"
        assert (difference[painted] > 0).mean() > 0.9
        x0, y0, x1, y1 = faces.boxes[0]
        assert x0 < 240 < x1  # the astronaut's nose
        assert y0 < 130 < y1


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_damaged_or_of_another_kind_is_quarantined(output: Path, name: str) -> None:
    row = rows(output)[name]
    assert (row["status"], row["reason"]) == ("quarantined", REFUSED[name][1])


def test_the_manifest_tells_how_many_were_converted(output: Path) -> None:
    totals = json.loads((output / "manifest.json").read_text())["totals"]
    assert totals["converted"] == len(SOUND)
    assert totals["quarantined"] == len(REFUSED)


def test_nobodys_name_gets_out(output: Path) -> None:
    assert {name for data, *_ in SOUND.values() for name in NAMES if name in data} == set(NAMES)
    written = [path for path in output.rglob("*") if path.is_file()]
    assert {str(path.relative_to(output)) for path in written} >= {f"{name}.png" for name in SOUND}
    for path in written:
        data = path.read_bytes()
        assert not [name for name in NAMES if name in data], path
        if path.suffix == ".png":
            assert not Image.open(path).info.keys() & {"exif", "xmp", "comment", "Comment"}


def test_a_file_that_ends_the_process_costs_itself_alone(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name, data in {"broken.exr": BROKEN, "face.dcm": SOUND["rgb.dcm"][0], "face.exr": SOUND["zip.exr"][0]}.items():
        (tmp_path / "in" / name).write_bytes(data)
    done = run(
        "--input", tmp_path / "in" / "**", "--output", tmp_path / "out", "--max_quarantined", 1, "--num_shards", 1
    )
    assert done.returncode == 0, done.stderr
    reasons = {key: row["reason"] for key, row in rows(tmp_path / "out").items()}
    assert reasons == {"broken.exr": "crashed", "face.dcm": None, "face.exr": None}


def test_an_example_names_the_format_that_it_now_holds(tmp_path: Path) -> None:
    features = {"image/encoded": pillow(FACE, "JPEG2000"), "image/format": b"jp2", "label": b"astronaut"}
    example = tf.train.Example(
        features=tf.train.Features(
            feature={name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for name, v in features.items()}
        )
    )
    with tf.io.TFRecordWriter(str(tmp_path / "in.tfrecord")) as writer:
        writer.write(example.SerializeToString())
    done = run("--input", tmp_path / "in.tfrecord", "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    [record] = tf.data.TFRecordDataset(list(map(str, (tmp_path / "out").glob("*.tfrecord")))).as_numpy_iterator()
    found = tf.train.Example.FromString(record).features.feature
    assert found["image/format"].bytes_list.value == [b"png"]
    assert found["label"].bytes_list.value == [b"astronaut"]
    assert found["image/encoded"].bytes_list.value[0].startswith(b"\x89PNG")
    assert found["image/face/count"].int64_list.value == [1]
