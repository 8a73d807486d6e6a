"""Folders of TensorFlow Datasets through the command, and features of several images; outputs read with TensorFlow."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.conftest import SKIMAGE_DATA
from tests.test_end_to_end import FAST, examples, faceveil, rows
from tests.test_example_features import bytes_feature, png
from tests.transforms.formats.test_tfds import LABEL, dictionary, image, sequence

pytestmark = pytest.mark.usefixtures("centerface")


def write(folder: Path, declaration: Any, *records: dict[str, tf.train.Feature]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "features.json").write_text(json.dumps(declaration))
    (folder / "dataset_info.json").write_text(json.dumps({"name": "people", "fileFormat": "tfrecord"}))
    with tf.io.TFRecordWriter(str(folder / "people-train.tfrecord-00000-of-00001")) as writer:
        for record in records:
            writer.write(tf.train.Example(features=tf.train.Features(feature=record)).SerializeToString())
    return folder


@pytest.fixture(scope="module")
def pictures() -> tuple[bytes, bytes, bytes]:
    """A face, the same turned round, and none."""
    face = np.asarray(Image.open(SKIMAGE_DATA / "astronaut.png"))
    none = np.asarray(Image.open(SKIMAGE_DATA / "coffee.png").convert("RGB"))
    return png(face), png(face[:, ::-1]), png(none)


def job(inputs: Path, output: Path, *more: object) -> int:
    return faceveil("run", "--input", inputs, "--output", output, "--method", "solid", *FAST, *more)


def test_images_that_are_declared_need_no_option(tmp_path: Path, pictures: tuple[bytes, bytes, bytes]) -> None:
    face, turned, none = pictures
    label = tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))
    record = {"image": bytes_feature(face), "cameras/rear": bytes_feature(none), "label": label}
    declaration = dictionary(image=image(), cameras=dictionary(rear=image()), label=LABEL)
    folder = write(tmp_path / "people" / "1.0.0", declaration, record, {**record, "image": bytes_feature(turned)})
    assert job(tmp_path / "people", tmp_path / "out") == 0
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["job"]["image_feature"] == ["image", "cameras/rear"]
    assert (manifest["totals"]["faces"], manifest["totals"]["ignored"]) == (2, 2)
    for feature in examples(tmp_path / "out").values():
        assert feature["image/face/count"].int64_list.value == [1]
        assert feature["cameras/rear/face/count"].int64_list.value == [0]
        assert feature["label"].int64_list.value == [1]
        assert feature["image"].bytes_list.value[0] not in (face, turned)
    assert folder.name == "1.0.0"


def test_every_image_of_a_sequence_is_anonymized(tmp_path: Path, pictures: tuple[bytes, bytes, bytes]) -> None:
    face, turned, none = pictures
    frames = [none, face, none, turned]
    records = [{"frames": bytes_feature(*frames), "steps/view": bytes_feature(none, face)}]
    declaration = dictionary(frames=sequence(image()), steps=sequence(dictionary(view=image())))
    write(tmp_path / "in", declaration, *records, {"frames": bytes_feature(none), "steps/view": bytes_feature(none)})
    assert job(tmp_path / "in", tmp_path / "out") == 0
    first, second = examples(tmp_path / "out").values()
    made = list(first["frames"].bytes_list.value)
    for number, (before, after) in enumerate(zip(frames, made, strict=True)):
        pixels = [np.asarray(Image.open(io.BytesIO(data))) for data in (before, after)]
        changed = (pixels[0] != pixels[1]).any(axis=-1)
        assert changed.any() == (number in (1, 3))
        assert changed.mean() < 0.2
    assert first["image/face/count"].int64_list.value == [2]
    assert first["image/face/index"].int64_list.value == [1, 3]
    assert len(first["image/face/bbox/xmin"].float_list.value) == len(first["image/face/score"].float_list.value) == 2
    left, right = first["image/face/bbox/xmin"].float_list.value
    assert left != right
    assert first["steps/view/face/count"].int64_list.value == [1]
    assert first["steps/view/face/index"].int64_list.value == [1]
    assert "image/face/index" not in second
    row = next(iter(rows(tmp_path / "out").values()))
    assert [other["feature"] for other in row["other_images"]] == ["frames"] * 3 + ["steps/view"] * 2
    assert [len(other["faces"]) for other in row["other_images"]] == [1, 0, 1, 0, 1]
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["totals"]["faces"] == 3


def test_raw_pixels_of_all_images_hold_the_record_back(tmp_path: Path) -> None:
    """Such as a depth map of each frame, which TensorFlow Datasets puts into one list."""
    frames = [png(np.random.default_rng(seed).integers(0, 256, (41, 61, 3), np.uint8)) for seed in range(5)]
    depth = np.random.default_rng(0).random(5 * 41 * 61).astype(np.float32).tolist()
    values = {"frames": bytes_feature(*frames), "depth": tf.train.Feature(float_list=tf.train.FloatList(value=depth))}
    write(tmp_path / "in", dictionary(frames=sequence(image())), values)
    assert job(tmp_path / "in", tmp_path / "out", "--max_quarantined", 1) == 0
    [row] = rows(tmp_path / "out").values()
    assert row["reason"] == "embedded_image"
    assert "(it has 12505 numbers, as many as the raw pixels of 5 images of 61 x 41 px" in row["detail"]


def test_one_image_of_several_that_is_broken_holds_the_record_back(
    tmp_path: Path, pictures: tuple[bytes, bytes, bytes]
) -> None:
    none = pictures[2]
    records = [{"frames": bytes_feature(*values)} for values in ([none, none[:500]], [none, b"text"], [none], [])]
    write(tmp_path / "in", dictionary(frames=sequence(image())), *records)
    assert job(tmp_path / "in", tmp_path / "out", "--max_quarantined", 1) == 0
    reasons = [row["reason"] for row in rows(tmp_path / "out").values()]
    assert reasons == ["truncated", "not_an_image", None, "missing_image"]


def test_more_images_than_can_be_worked_on_at_once_are_too_large(
    tmp_path: Path, pictures: tuple[bytes, bytes, bytes]
) -> None:
    write(tmp_path / "in", dictionary(frames=sequence(image())), {"frames": bytes_feature(*[pictures[2]] * 3)})
    options = ("--max_quarantined", 1, "--max_pixels", 600 * 400 * 2)
    assert job(tmp_path / "in", tmp_path / "out", *options) == 0
    [row] = rows(tmp_path / "out").values()
    assert row["reason"] == "too_large"
    assert row["detail"].startswith("the record's 3 images have too many pixels together")


def test_boxes_of_one_image_do_not_go_with_several(tmp_path: Path, pictures: tuple[bytes, bytes, bytes]) -> None:
    write(tmp_path / "in", dictionary(frames=sequence(image())), {"frames": bytes_feature(*[pictures[2]] * 2)})
    (tmp_path / "boxes.csv").write_text("key,xmin,ymin,xmax,ymax\npeople-train.tfrecord-00000-of-00001#0,0,0,0.5,0.5\n")
    for mode in ("add", "replace"):
        options = ("--boxes", tmp_path / "boxes.csv", "--boxes_mode", mode, "--max_quarantined", 1)
        assert faceveil("run", "--input", tmp_path / "in", "--output", tmp_path / mode, *options) == 0
        [row] = rows(tmp_path / mode).values()
        assert row["reason"] == "invalid_boxes"
        assert row["detail"] == "--boxes: they are of one image, and feature frames holds several"


def test_an_output_declares_what_it_holds(
    tmp_path: Path, pictures: tuple[bytes, bytes, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    face, _, none = pictures
    declaration = dictionary(image=image(), label=LABEL)
    label = tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))
    records = [{"image": bytes_feature(data), "label": label} for data in (face, none[:400], none)]
    write(tmp_path / "in", declaration, *records)
    output = tmp_path / "out"
    options = ("--max_quarantined", 1, "--drop_features", "label")
    assert job(tmp_path / "in", output, *options) == 0
    declared = json.loads((output / "features.json").read_text())["featuresDict"]["features"]
    assert "label" not in declared
    assert {"image", "image/face/count", "image/face/bbox/xmin"} < declared.keys()
    [split] = json.loads((output / "dataset_info.json").read_text())["splits"]
    assert (split["name"], split["shardLengths"]) == ("data", ["2"])
    # Repaired, and among files of others.
    write(tmp_path / "in", declaration, records[0], records[0], records[2])
    assert job(tmp_path / "in", output, *options, "--image_feature", "image", "--retry_quarantined") == 0
    assert json.loads((output / "dataset_info.json").read_text())["splits"][0]["shardLengths"] == ["3"]
    assert job(tmp_path / "in", output, "--format", "parquet", "--overwrite") == 0
    assert not (output / "features.json").exists()
    (output / "features.json").write_text("{}")
    assert job(tmp_path / "in", output, "--overwrite") == 4
    assert "features.json: no job has written it, and this one would replace it" in capsys.readouterr().err
    assert job(SKIMAGE_DATA / "coffee.png", tmp_path / "file", "--tfds", "--format", "parquet") == 2
    (tmp_path / "in" / "features.json").unlink()
    assert job(tmp_path / "in", tmp_path / "undeclared", "--tfds", "--image_feature", "image") == 2
    assert "--tfds: is for image files, or for TFRecords that all have one" in capsys.readouterr().err
