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


def test_images_in_lists_of_sequence_examples_hold_the_record_back(output: Path) -> None:
    row = rows(output)["stereo.tfrecord#3"]
    assert (row["status"], row["reason"]) == ("quarantined", "embedded_image")
    assert row["detail"].startswith("feature frames holds an image too; name it with --image_feature")


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


def kept(output: Path) -> set[str]:
    [names] = {frozenset(feature) for key, feature in examples(output).items() if key != "stereo.tfrecord#3"}
    return {name for name in names if "/face/" not in name}


def test_with_strict_features_only_those_pass_that_are_named(originals: tuple[Path, Any], tmp_path: Path) -> None:
    given = ("run", "--input", originals[0], "--output", tmp_path, "--max_quarantined", 1, *FAST, "--strict_features")
    assert faceveil(*given, "--image_feature", "left/encoded", "--allow_features", "label", "left/key/sha256") == 0
    assert kept(tmp_path) == {"left/encoded", "label", "left/key/sha256"}
    for key, feature in examples(tmp_path).items():
        assert feature["image/face/count"].int64_list.value
        if key == "stereo.tfrecord#3":
            continue
        digest = hashlib.sha256(feature["left/encoded"].bytes_list.value[0]).hexdigest()
        assert feature["left/key/sha256"].bytes_list.value == [digest.encode()]
    # Those that are left out quarantine no record, nor does the list of the SequenceExample.
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["quarantined_for"] == {}
    written = b"".join(path.read_bytes() for path in tmp_path.glob("*.tfrecord"))
    assert b"frames" not in written
    assert manifest["job"]["strict_features"] is True


def test_another_choice_of_strict_features_is_another_job(
    originals: tuple[Path, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("run", "--input", originals[0], "--output", tmp_path, "--max_quarantined", 1, *FAST, *ROLES)
    assert faceveil(*given) == 0
    assert "strict_features" not in json.loads((tmp_path / "manifest.json").read_text())["job"]
    capsys.readouterr()
    assert faceveil(*given, "--strict_features") == 4
    assert "strict_features: False there, True here" in capsys.readouterr().err
    assert faceveil(*given, "--strict_features", "--overwrite") == 0
    capsys.readouterr()
    assert faceveil(*given) == 4
    assert "strict_features: True there, False here" in capsys.readouterr().err


def test_pixels_of_the_size_of_the_image_quarantine_the_record_until_they_are_allowed(tmp_path: Path) -> None:
    picture = np.asarray(Image.open(SKIMAGE_DATA / "coffee.png").convert("RGB"))[:61, :97]
    mask = np.random.default_rng(0).integers(0, 2, (61, 97), np.uint8)
    features = {"image/encoded": bytes_feature(png(picture)), "mask": bytes_feature(mask.tobytes())}
    with tf.io.TFRecordWriter(str(tmp_path / "x.tfrecord")) as writer:
        writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())
    given = ("run", "--input", tmp_path / "x.tfrecord", *FAST)
    assert faceveil(*given, "--output", tmp_path / "held") == 3
    row = rows(tmp_path / "held")["x.tfrecord#0"]
    assert row["reason"] == "embedded_image"
    assert row["detail"].startswith(
        "feature mask may hold an image too; name it with --drop_features or --allow_features (it has 5917 bytes"
    )
    assert faceveil(*given, "--output", tmp_path / "allowed", "--allow_features", "mask") == 0
    [after] = examples(tmp_path / "allowed").values()
    assert after["mask"].bytes_list.value == [mask.tobytes()]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ("--drop_features", "tumbnail"),
            "--drop_features tumbnail: is no feature of all 4 records; did you mean thumbnail?",
        ),
        (
            ("--drop_features", "zebra"),
            "--drop_features zebra: is no feature of all 4 records. They have: depth, frames, label",
        ),
        (("--allow_features", "dept"), "--allow_features dept: is no feature of all 4 records; did you mean depth?"),
        (
            ("--image_feature", "left/encodet"),
            "--image_feature left/encodet: is no feature of all 4 records; did you mean left/",
        ),
        (("--strict_features", "--allow_features", "lable"), "--allow_features lable: is no feature of"),
        ((), "--image_feature image/encoded: is no feature of all 4 records; did you mean"),
    ],
)
def test_a_name_that_no_record_has_is_an_error_before_any_work(
    originals: tuple[Path, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], said: str
) -> None:
    named = options if "--image_feature" in options or not options else (*options, "--image_feature", "left/encoded")
    assert faceveil("run", "--input", originals[0], "--output", tmp_path / "out", *FAST, *named) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_image_files_have_the_features_that_the_job_writes(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("run", "--input", f"{photos}/things/*", "--output", tmp_path / "out", *FAST)
    assert faceveil(*given, "--drop_features", "image/filname") == 2
    assert "did you mean image/filename?" in capsys.readouterr().err
    assert faceveil(*given, "--drop_features", "image/filename", "--strict_features") == 0
    assert kept(tmp_path / "out") == {"image/encoded", "image/format", "image/height", "image/width"}
