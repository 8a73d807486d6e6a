"""Examples through the command: several images, features that are dropped, allowed or renewed; read with TensorFlow."""

from __future__ import annotations

import hashlib
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

pytestmark = pytest.mark.usefixtures("centerface")
ROLES = (
    *("--image_feature", "left/encoded", "right/encoded"),
    *("--drop_features", "thumbnail", "left/filename"),
    *("--allow_features", "depth"),
)


def bytes_feature(*values: bytes) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "png")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, tf.train.Feature]]]:
    """Three records of two cameras: a face left, a face right, a face nowhere; and a SequenceExample."""
    face = np.asarray(Image.open(SKIMAGE_DATA / "astronaut.png"))
    none = np.asarray(Image.open(SKIMAGE_DATA / "coffee.png").convert("RGB"))
    records = []
    for left, right in ((face, none), (none, face[:, ::-1]), (none, none)):
        images = png(left), png(right)
        records.append(
            {
                "left/encoded": bytes_feature(images[0]),
                "right/encoded": bytes_feature(images[1]),
                "left/key/sha256": bytes_feature(hashlib.sha256(images[0]).hexdigest().encode()),
                "right/md5": bytes_feature(hashlib.md5(images[1]).digest()),  # noqa: S324  as data sets have it
                "left/filename": bytes_feature(b"anna.png"),
                "thumbnail": bytes_feature(images[0]),
                "depth": bytes_feature(png(left[..., 0])),
                "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[-1, 2**62])),
                "weights": tf.train.Feature(float_list=tf.train.FloatList(value=[0.1, float("nan")])),
                "nothing": tf.train.Feature(),
            }
        )
    path = tmp_path_factory.mktemp("stereo") / "stereo.tfrecord"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(tf.train.Example(features=tf.train.Features(feature=record)).SerializeToString())
        sequence = tf.train.SequenceExample()
        sequence.context.feature["left/encoded"].bytes_list.value.append(png(face))
        sequence.feature_lists.feature_list["frames"].feature.add().bytes_list.value.append(png(face))
        writer.write(sequence.SerializeToString())
    return path, records


@pytest.fixture(scope="module")
def output(originals: tuple[Path, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stereo") / "out"
    given = ("run", "--input", originals[0], "--output", folder, "--method", "solid", "--max_quarantined", 1)
    assert faceveil(*given, *FAST, *ROLES) == 0
    return folder


def pixels(feature: Any, name: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(feature[name].bytes_list.value[0])))


def test_each_image_is_anonymized_and_counted(output: Path, originals: tuple[Path, Any]) -> None:
    found, trail = examples(output), rows(output)
    faces = {"left": [], "right": []}  # type: dict[str, list[int]]
    for number, record in enumerate(originals[1]):
        after, row = found[f"stereo.tfrecord#{number}"], trail[f"stereo.tfrecord#{number}"]
        [right] = row["other_images"]
        for camera, prefix, boxes in (("left", "image", row["faces"]), ("right", "right/encoded", right["faces"])):
            name = f"{camera}/encoded"
            [count] = after[f"{prefix}/face/count"].int64_list.value
            faces[camera].append(count)
            assert count == len(boxes) == len(after[f"{prefix}/face/bbox/xmin"].float_list.value)
            assert count == len(after[f"{prefix}/face/score"].float_list.value)
            before, masked = pixels(record, name), pixels(after, name)
            height, width = before.shape[:2]
            inside = np.zeros((height, width), bool)
            for box in boxes:
                inside[round(box["y0"]) : round(box["y1"]), round(box["x0"]) : round(box["x1"])] = True
            assert not count or masked[inside].max() == 0
            assert (before == masked).mean() > 0.8
        assert right["feature"] == "right/encoded"
        assert row["status"] == ("no_faces" if number == 2 else "anonymized")
    assert faces == {"left": [1, 0, 0], "right": [0, 1, 0]}
    manifest = json.loads((output / "manifest.json").read_text())
    assert manifest["totals"]["faces"] == 2
    assert manifest["faces_per_image"] == {"0": 1, "1": 2}
    assert manifest["job"]["drop_features"] == ["thumbnail", "left/filename"]


def test_checksums_are_those_of_the_new_images(output: Path) -> None:
    for number in range(3):
        after = examples(output)[f"stereo.tfrecord#{number}"]
        left, right = (after[f"{camera}/encoded"].bytes_list.value[0] for camera in ("left", "right"))
        assert after["left/key/sha256"].bytes_list.value == [hashlib.sha256(left).hexdigest().encode()]
        assert after["right/md5"].bytes_list.value == [hashlib.md5(right).digest()]  # noqa: S324


def test_dropped_features_are_gone_and_all_others_as_they_were(output: Path, originals: tuple[Path, Any]) -> None:
    for number, record in enumerate(originals[1]):
        after = examples(output)[f"stereo.tfrecord#{number}"]
        assert not {"thumbnail", "left/filename"} & set(after)
        for name in ("depth", "label", "weights", "nothing"):
            assert after[name].SerializeToString() == record[name].SerializeToString()


def test_sequence_examples_are_held_back(output: Path) -> None:
    row = rows(output)["stereo.tfrecord#3"]
    assert (row["status"], row["reason"]) == ("quarantined", "sequence_example")


def test_an_image_that_is_not_named_holds_the_record_back(originals: tuple[Path, Any], tmp_path: Path) -> None:
    given = ("run", "--input", originals[0], "--output", tmp_path, "--image_feature", "left/encoded", *FAST)
    assert faceveil(*given, "--drop_features", "thumbnail", "--allow_features", "depth") == 3
    row = rows(tmp_path)["stereo.tfrecord#0"]
    assert row["reason"] == "embedded_image"
    assert row["detail"].startswith("feature right/encoded holds an image too; name it with --image_feature")


def test_features_of_image_files_can_be_dropped_too(photos: Path, tmp_path: Path) -> None:
    given = ("run", "--input", f"{photos}/things/*", "--output", tmp_path, *FAST, *ROLES)
    assert faceveil(*given, "--drop_features", "image/filename", "image/encoded") == 0
    for feature in examples(tmp_path).values():
        assert "image/filename" not in feature
        assert feature["image/encoded"].bytes_list.value
