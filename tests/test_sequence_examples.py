"""SequenceExamples through the command: every image of every step; read with TensorFlow."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.conftest import SKIMAGE_DATA
from tests.test_end_to_end import FAST, faceveil, rows
from tests.test_example_features import png

pytestmark = pytest.mark.usefixtures("centerface")


@pytest.fixture(scope="module")
def frames() -> list[bytes]:
    """Of which the second and the last show a face."""
    face = np.asarray(Image.open(SKIMAGE_DATA / "astronaut.png"))
    none = np.asarray(Image.open(SKIMAGE_DATA / "coffee.png").convert("RGB"))
    return [png(none), png(face), png(none), png(face[:, ::-1])]


def episode(frames: list[bytes]) -> tf.train.SequenceExample:
    made = tf.train.SequenceExample()
    made.context.feature["id"].bytes_list.value.append(b"episode 1")
    lists = made.feature_lists.feature_list
    for number, frame in enumerate(frames):
        lists["frames"].feature.add().bytes_list.value.append(frame)
        lists["action"].feature.add().float_list.value.extend([number, 0.5])
        lists["note"].feature.add()
    lists["empty"].SetInParent()
    return made


def job(folder: Path, records: list[bytes], *more: object) -> Path:
    folder.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(folder / "x.tfrecord")) as writer:
        for record in records:
            writer.write(record)
    given = ("run", "--input", folder / "x.tfrecord", "--output", folder / "out", "--method", "solid", *FAST)
    assert faceveil(*given, "--max_quarantined", 1, "--image_feature", "frames", *more) == 0
    return folder / "out"


def written(output: Path) -> list[tf.train.SequenceExample]:
    [path] = output.glob("*.tfrecord")
    return [tf.train.SequenceExample.FromString(r) for r in tf.data.TFRecordDataset(str(path)).as_numpy_iterator()]


def test_every_frame_is_anonymized_and_all_else_is_as_it_was(tmp_path: Path, frames: list[bytes]) -> None:
    original = episode(frames)
    [made] = written(job(tmp_path, [original.SerializeToString()]))
    lists = made.feature_lists.feature_list
    assert set(lists) == {"frames", "action", "note", "empty"}
    for name in ("action", "note", "empty"):
        assert lists[name] == original.feature_lists.feature_list[name]
    assert made.context.feature["id"] == original.context.feature["id"]
    for number, (step, before) in enumerate(zip(lists["frames"].feature, frames, strict=True)):
        [after] = step.bytes_list.value
        pixels = [np.asarray(Image.open(io.BytesIO(data))) for data in (before, after)]
        changed = (pixels[0] != pixels[1]).any(axis=-1)
        assert changed.any() == (number in (1, 3))
        assert changed.mean() < 0.2
    context = made.context.feature
    assert context["image/face/count"].int64_list.value == [2]
    assert context["image/face/index"].int64_list.value == [1, 3]
    [row] = rows(tmp_path / "out").values()
    assert [len(other["faces"]) for other in row["other_images"]] == [1, 0, 1]


def test_one_frame_that_is_broken_holds_the_record_back(tmp_path: Path, frames: list[bytes]) -> None:
    broken = episode([frames[0], frames[1][:500]])
    both = episode(frames[:1])
    both.context.feature["frames"].bytes_list.value.append(frames[1])
    output = job(tmp_path, [each.SerializeToString() for each in (broken, both, episode([]), episode(frames[:1]))])
    found = [(row["reason"], row["detail"]) for row in rows(output).values()]
    assert [reason for reason, _ in found] == ["truncated", "invalid_example", "missing_image", None]
    assert found[1][1] == "frames is both a feature and a list of features"
    assert len(written(output)) == 1


def test_lists_that_are_dropped_are_gone(tmp_path: Path, frames: list[bytes]) -> None:
    [made] = written(job(tmp_path, [episode(frames[:2]).SerializeToString()], "--drop_features", "action"))
    assert set(made.feature_lists.feature_list) == {"frames", "note", "empty"}
