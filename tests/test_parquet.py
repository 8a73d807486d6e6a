"""Parquet files through the command, as Hugging Face's data sets come; outputs are read with TensorFlow."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.conftest import audit_of, copy_output, noise_image
from tests.test_end_to_end import FAST, examples, faceveil, files, rows
from tests.test_example_features import png
from tests.test_retry import leave_lock

pytestmark = pytest.mark.usefixtures("centerface")
COUNT = 12
KEY = "train-00000-of-00001.parquet"


def columns(photos: Path) -> dict[str, list[Any]]:
    originals = sorted(photos.rglob("*.*"))
    paths = [originals[number % len(originals)] for number in range(COUNT)]
    return {
        "image": [{"bytes": path.read_bytes(), "path": path.name} for path in paths],
        "label": list(range(COUNT)),
        "caption": [f"photo {number}" for number in range(COUNT)],
        "score": [0.5, *[None] * (COUNT - 1)],
        "boxes": [[number, 1] for number in range(COUNT)],
    }


@pytest.fixture(scope="module")
def folder(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one file of six row groups, and a table of labels beside it."""
    folder = tmp_path_factory.mktemp("parquet")
    pq.write_table(pa.table(columns(photos)), folder / KEY, row_group_size=2, write_page_checksum=True)
    pq.write_table(pa.table({"label": [1], "name": ["cat"]}), folder / "names.parquet")
    return folder


def part_bytes(folder: Path) -> int:
    return (folder / KEY).stat().st_size // 3 + 1


def job(inputs: object, output: Path, *more: object) -> int:
    return faceveil("run", "--input", inputs, "--output", output, "--method", "solid", *FAST, *more)


@pytest.fixture(scope="module")
def divided(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("divided") / "out"
    assert job(folder, output, "--shard_bytes", part_bytes(folder)) == 0
    return output


def manifest(output: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((output / "manifest.json").read_text())
    return loaded


def test_the_one_column_of_images_is_found_and_all_others_pass(divided: Path, photos: Path) -> None:
    found, trail, original = examples(divided), rows(divided), columns(photos)
    assert list(found) == [f"{KEY}#{number}" for number in range(COUNT)]
    for number, feature in enumerate(found.values()):
        image, before = feature["image"].bytes_list.value[0], original["image"][number]
        row = trail[f"{KEY}#{number}"]
        assert feature["image/face/count"].int64_list.value[0] == len(row["faces"])
        pixels, original_pixels = (np.asarray(Image.open(io.BytesIO(data))) for data in (image, before["bytes"]))
        assert np.array_equal(pixels, original_pixels) == (row["status"] == "no_faces")
        assert feature["image/path"].bytes_list.value == [before["path"].encode()]
        assert feature["label"].int64_list.value == [number]
        assert feature["caption"].bytes_list.value == [f"photo {number}".encode()]
        assert feature["boxes"].int64_list.value == [number, 1]
        assert ("score" in feature) == (number == 0)
    made = manifest(divided)
    assert made["job"]["image_feature"] == ["image"]
    assert made["totals"]["anonymized"] > 0
    assert made["totals"]["records"] == made["totals"]["anonymized"] + made["totals"]["no_faces"] == COUNT
    assert made["ignored"][".parquet"]["reasons"] == {"a Parquet table without a column of bytes": 1}


def test_a_file_becomes_shards_by_row_groups(divided: Path, folder: Path, tmp_path: Path) -> None:
    assert [shard["records"] for shard in manifest(divided)["shards"]] == [4, 4, 4]
    assert job(folder, tmp_path / "whole", "--shard_bytes", "1GiB") == 0
    assert [shard["records"] for shard in manifest(tmp_path / "whole")["shards"]] == [COUNT]
    assert list(examples(tmp_path / "whole").items()) == list(examples(divided).items())


@pytest.mark.workers
def test_two_processes_make_the_same_bytes(divided: Path, folder: Path, tmp_path: Path) -> None:
    processes = ("--direct_running_mode", "multi_processing", "--direct_num_workers", 2)
    assert job(folder, tmp_path / "out", "--shard_bytes", part_bytes(folder), *processes) == 0
    assert files(tmp_path / "out") == files(divided)


def test_a_job_goes_on_within_a_file(divided: Path, folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    copy_output(divided, output)
    leave_lock(output)
    lost = sorted(audit_of(output).glob("*.parquet"))[1]
    lost.unlink()
    kept = {path: path.stat().st_mtime_ns for path in output.glob("*.tfrecord") if path.stem != lost.stem}
    assert job(folder, output, "--shard_bytes", part_bytes(folder)) == 0
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert files(output) == files(divided)


@pytest.mark.parametrize("cut", ["data", "footer"])
def test_a_damaged_file_that_is_repaired_is_made_again(folder: Path, tmp_path: Path, cut: str) -> None:
    inputs, output = tmp_path / "in", tmp_path / "out"
    inputs.mkdir()
    whole = (folder / KEY).read_bytes()
    middle = len(whole) // 2
    bad = whole[:-2] + b"??" if cut == "footer" else whole[:middle] + bytes(1000) + whole[middle + 1000 :]
    (inputs / KEY).write_bytes(bad)
    options = ("--shard_bytes", part_bytes(folder), "--max_quarantined", 1, "--image_feature", "image")
    assert job(inputs, output, *options) == 0
    before = manifest(output)
    assert before["totals"]["quarantined"] > 0
    assert before["totals"]["records"] == sum(before["totals"][k] for k in ("anonymized", "no_faces", "quarantined"))
    (inputs / KEY).write_bytes(whole)
    assert job(inputs, output, *options) == 4
    assert job(inputs, output, *options, "--retry_quarantined") == 0
    after = manifest(output)
    assert len(after["shards"]) == len(before["shards"])
    assert (after["totals"]["quarantined"], after["totals"]["records"]) == (0, COUNT)
    assert list(examples(output)) == [f"{KEY}#{number}" for number in range(COUNT)]


def test_names_are_hidden_in_keys_and_those_in_columns_are_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FACEVEIL_SALT", "a salt of sixteen bytes and more")
    assert job(folder / KEY, tmp_path / "out", "--hash_keys") == 0
    keys = list(rows(tmp_path / "out"))
    assert {key.partition("#")[0] for key in keys} != {KEY}
    assert sorted(int(key.partition("#")[2]) for key in keys) == list(range(COUNT))
    assert "feature image/path holds names of files, which --hash_keys does not hide" in capfd.readouterr().err


def test_boxes_are_keyed_by_row(folder: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(f"key,xmin,ymin,xmax,ymax\n{KEY}#5,0.1,0.1,0.4,0.4\n")
    assert job(folder / KEY, tmp_path / "out", "--boxes", boxes) == 0
    given = {key: row["given_faces"] for key, row in rows(tmp_path / "out").items()}
    assert {key: count for key, count in given.items() if count} == {f"{KEY}#5": 1}


def test_parquet_beside_images_and_an_output_of_before_that_is_no_input(
    divided: Path, folder: Path, photos: Path, tmp_path: Path
) -> None:
    inputs = tmp_path / "in"
    shutil.copytree(photos / "things", inputs / "things")
    shutil.copy(folder / KEY, inputs)
    shutil.copytree(audit_of(divided), inputs / "records")
    assert job(inputs, tmp_path / "out") == 0
    made = rows(tmp_path / "out")
    assert {key.partition("#")[0] for key in made} == {
        KEY,
        "things/coffee.jpg",
        "things/chelsea.jpg",
        "things/rocket.jpg",
    }
    assert manifest(tmp_path / "out")["totals"]["ignored"] == 5


REFUSED = {
    "two columns of images": (
        {"left": b"1", "right": b"1"},
        "Images are in left (png), right (png): name those that are to be anonymized with --image_feature",
    ),
    "no image": ({"left": b"text"}, "--image_feature image/encoded: is no feature of all 1 record"),
    "a type that an Example cannot hold": (
        {"left": b"1", "taken": pa.scalar(1, pa.timestamp("us"))},
        "x.parquet: column taken is of the type timestamp[us], which an Example cannot hold; --drop_features taken",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_before_any_work(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    given, said = REFUSED[name]
    picture = png(noise_image(40, 40))
    arrays = {key: pa.array([picture if value == b"1" else value]) for key, value in given.items()}
    pq.write_table(pa.table(arrays), tmp_path / "x.parquet")
    assert job(tmp_path / "x.parquet", tmp_path / "out") == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_what_options_name_is_taken(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pictures = [png(noise_image(40, 40, seed)) for seed in range(3)]
    table = {"left": pictures[:1], "right": pictures[1:2], "thumb": pictures[2:], "weight": [0.1], "taken": [None]}
    pq.write_table(pa.table(table | {"taken": pa.array([1], pa.date32())}), tmp_path / "x.parquet")
    options = ("--image_feature", "left", "right", "--drop_features", "thumb", "taken")
    assert job(tmp_path / "x.parquet", tmp_path / "out", *options) == 0
    [feature] = examples(tmp_path / "out").values()
    assert {name for name in feature if "/face/" not in name} == {"left", "right", "weight"}
    assert feature["left"].bytes_list.value == [pictures[0]]
    assert "doubles become floats of 32 bits, with fewer digits: in column weight" in capfd.readouterr().err


def test_checksums_in_other_columns_are_those_of_the_new_images(photos: Path, tmp_path: Path) -> None:
    face = (photos / "people" / "portrait.jpeg").read_bytes()
    digest = hashlib.sha256(face).hexdigest()
    pq.write_table(pa.table({"image": [face], "sha256": [digest]}), tmp_path / "x.parquet")
    assert job(tmp_path / "x.parquet", tmp_path / "out") == 0
    [feature] = examples(tmp_path / "out").values()
    image = feature["image"].bytes_list.value[0]
    assert image != face
    assert feature["sha256"].bytes_list.value == [hashlib.sha256(image).hexdigest().encode()]
